"""What strict stand-ins for vendors' APIs have in common: a port of their own, faults on demand, and what came."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from aiohttp import web

FOREVER = 1_000_000


class Refused(Exception):
    """What a vendor does not take, as it answers."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body
        super().__init__(status, body)


@dataclass
class Fault:
    """
    What the next *times* requests (of one *method*, or any) get: a *status* with *headers* and a *body*, or ``hang``,
    ``lost`` (done, and the connection ends) or ``html``.
    """

    kind: str
    times: int = 1
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass
class Came:
    """A request, as it came, and how it was answered."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    status: int = 0


class Vendor:
    """
    One vendor's API; *answer* takes a request and its body, and returns what it answers with 200.

    Its clock is *ahead_s* seconds ahead.
    """

    def __init__(self) -> None:
        self.url = ""
        self.faults: list[Fault] = []
        self.came: list[Came] = []
        self.before_change: Callable[[], None] = lambda: None
        self.ahead_s = 0.0

    def answer(self, request: web.Request, body: Any) -> Any:
        raise NotImplementedError

    @property
    def changes(self) -> list[Came]:
        """What was asked to change something and was done."""
        return [came for came in self.came if came.method != "GET" and came.status == 200]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        came = Came(request.method, request.raw_path.partition("?")[0], dict(request.query), dict(request.headers), text)
        self.came.append(came)
        fault = next((one for one in self.faults if one.times and one.method in ("", request.method)), None)
        if fault is not None:
            fault.times -= 1
        if fault is not None and fault.kind != "lost":
            return await _wrong(fault, came)
        try:
            came.body = json.loads(text) if text else None
            if request.method != "GET":
                self.before_change()
            said = self.answer(request, came.body)
        except json.JSONDecodeError:
            came.status = 400
            return web.json_response({"message": "no JSON"}, status=400)
        except Refused as refused:
            came.status = refused.status
            return web.json_response(refused.body, status=refused.status)
        came.status = 200
        if fault is not None:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(said, headers={"date": formatdate(time.time() + self.ahead_s, usegmt=True)})


async def _wrong(fault: Fault, came: Came) -> web.StreamResponse:
    if fault.kind == "hang":
        await asyncio.Event().wait()
    if fault.kind == "html":
        return web.Response(text="<h1>Log in</h1>", content_type="text/html")
    came.status = int(fault.kind)
    return web.json_response(fault.body or {"message": "told to"}, status=came.status, headers=fault.headers)


@asynccontextmanager
async def serving(vendor: Vendor, prefix: str = "") -> AsyncIterator[None]:
    """The vendor on a local port; its ``url`` ends in *prefix*."""
    app = web.Application()
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = vendor.handle
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        vendor.url = f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
        yield
    finally:
        await runner.cleanup()
