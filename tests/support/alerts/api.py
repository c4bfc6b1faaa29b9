"""What all of them share: faults that are asked for, reasons for what is refused, and lengths as the vendors count them."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SILENT = -1
"""A status for no answer at all, while the connection stays."""
DROPPED = 0
"""A status for a connection that ends without an answer."""


class NotTaken(Exception):
    """A request that the vendor does not take, with the answer that it gives instead."""

    def __init__(self, status: int, why: str, answer: Any = None) -> None:
        self.status = status
        self.answer = {"message": why} if answer is None else answer
        super().__init__(why)


@dataclass
class FakeApi:
    """A server: what came, what was refused and why, and what goes wrong next."""

    url: str = ""
    requests: int = 0
    refused: list[str] = field(default_factory=list)
    faults: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)

    def fail(self, *statuses: int, **headers: str) -> None:
        """Answer the next requests with these statuses, quoting all that was sent: no vendor would, but proxies do."""
        self.faults.extend((status, {name.replace("_", "-"): value for name, value in headers.items()}) for status in statuses)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        body = await request.read()
        if self.faults:
            return await self._fault(request, body)
        try:
            return await self.answer(request, body)
        except NotTaken as error:
            self.refused.append(str(error))
            if isinstance(error.answer, str):
                return web.Response(text=error.answer, status=error.status)
            return web.json_response(error.answer, status=error.status)

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        """What the vendor does; raises ``NotTaken``."""
        raise NotImplementedError

    async def _fault(self, request: web.Request, body: bytes) -> web.Response:
        status, headers = self.faults.popleft()
        if status == SILENT:
            await asyncio.sleep(30.0)
        if status in (SILENT, DROPPED):
            assert request.transport is not None
            request.transport.abort()
        quoted = f"{request.url} {dict(request.headers)} ".encode() + body
        return web.Response(body=quoted, status=max(status, 500) if status < 100 else status, headers=headers)


def document_of(request: web.Request, body: bytes) -> Any:
    """The JSON of a request that says that it is JSON."""
    if request.content_type != "application/json":
        raise NotTaken(415, f"content type is {request.content_type}")
    try:
        return json.loads(body)
    except ValueError:
        raise NotTaken(400, "is not JSON") from None


def units(text: str) -> int:
    """The length of a text as JavaScript and Java count it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def need_text(where: str, value: Any, longest: int, *, least: int = 0) -> None:
    """Refuse what is no text or has another length."""
    if not isinstance(value, str):
        raise NotTaken(400, f"{where} is no text")
    if not least <= units(value) <= longest:
        raise NotTaken(400, f"{where} has {units(value)} characters, not {least} to {longest}")
    if any("\ud800" <= one <= "\udfff" for one in value):
        raise NotTaken(400, f"{where} has half a character")


def need_only(where: str, given: Any, known: set[str]) -> None:
    """Refuse what is no object or has other fields."""
    if not isinstance(given, dict):
        raise NotTaken(400, f"{where} is no object")
    if unknown := sorted(given.keys() - known):
        raise NotTaken(400, f"{where} has fields that are not known: {', '.join(unknown)}")


@asynccontextmanager
async def serving(api: Any) -> AsyncIterator[None]:
    """Run a server on a free local port; ``url`` is its address."""
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield
    finally:
        await runner.cleanup()
