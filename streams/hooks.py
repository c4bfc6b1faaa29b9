"""
Where a flag store may say that something has changed: ``POST /hooks/{store}``, on a port of ``act``.

It is only taken for a hint to look now, and nothing that it says is believed: what has changed, and who did it, is read
from the store's log with the guardian's own token. So a hook needs no secret, and a forged one leads to one more look.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping

import structlog
from aiohttp import web

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def hooks(nudges: Mapping[str, Callable[[], None]], *, host: str, port: int) -> AsyncIterator[int]:
    """
    Listen for as long as the block runs, and call what *nudges* holds under the name of the store that has spoken.

    Yields the port. Raises OSError: it cannot be had.
    """

    async def heard(request: web.Request) -> web.Response:
        name = request.match_info["store"]
        nudge = nudges.get(name)
        if nudge is None:
            said = f"no store {name!r} is watched; there are: {', '.join(nudges) or 'none'}"
            return web.json_response({"error": said}, status=404)
        nudge()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hooks/{store}", heard)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, f"act.hook_host {host}, act.hook_port {port}: {why}") from None
        given = int(runner.addresses[0][1])
        log.info("hears_hooks", host=host, port=given, stores=sorted(nudges))
        yield given
    finally:
        await runner.cleanup()
