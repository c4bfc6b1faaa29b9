"""
A strict webhook store: it takes what docs/stores.md says that it takes, refuses all else, and fails when it is told to.

``python -m tests.support.receiver PORT FILE`` is one as a process of its own, on flags that stand in a file and outlive it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "whsec_bm90IGEgc2VjcmV0OiBvbmx5IHRlc3RzIHVzZSBpdA=="
FOREVER = 1_000_000
CHANGE = {"command_id", "decision_id", "order", "kind", "variation", "control", "share", "rings"}
BODY = {"flag", "environment", "if_match", "shares", "rings", "guardian", "change"}
LARGEST = 64 * 1024


@dataclass
class Fault:
    """
    What the next *times* requests for a flag get (of one *method*, or any).

    ``hang``, ``slow`` (answers *s* later), ``late`` (does it *s* later, and nobody hears of it), ``lost`` (does it, and ends
    the connection), ``reset``, ``html``, ``malformed``, ``huge``, ``redirect``, or a status, with *s* as Retry-After.
    """

    kind: str
    times: int = 1
    s: float = 0.0
    method: str = ""


class Refused(Exception):
    """What the store does not take."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


@dataclass
class Receiver:
    """Flags by ``environment|flag``; each change that was made; what came and how it was answered; what goes wrong next."""

    flags: dict[str, dict[str, Any]]
    secret: str = SECRET
    path: Path | None = None
    url: str = ""
    effects: list[dict[str, Any]] = field(default_factory=list)
    answered: list[tuple[str, str, int]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)

    def edit(self, flag: str, shares: Mapping[str, float] | None = None, *, by: str = "ada", **fields: Any) -> None:
        """A person's change: of shares, rings, or anything."""
        self._store(f"production|{flag}", {"changed_by": by, **({"shares": dict(shares)} if shares else {}), **fields})

    def fail(self, flag: str, *faults: Fault) -> None:
        self.faults[flag] = list(faults)

    def shares(self, flag: str) -> dict[str, float]:
        found: dict[str, float] = self.flags[f"production|{flag}"]["shares"]
        return found

    def _store(self, key: str, fields: dict[str, Any]) -> None:
        known = self.flags[key]
        self.flags[key] = {**known, **fields, "version": known.get("version", 1) + 1}
        if self.path is not None:
            written = self.path.with_suffix(".new")
            written.write_text(json.dumps({"flags": self.flags, "effects": self.effects}))
            written.replace(self.path)

    # ------------------------------------------------------------------ requests

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body, flag = await request.read(), request.query.get("flag", "")
        fault = self._fault(flag, request.method)
        try:
            answer = await self._with(fault, request, body) if fault else self._answer(request, body)
        except Refused as refused:
            answer = web.json_response({"error": str(refused)}, status=refused.status)
        self.answered.append((request.method, flag, answer.status))
        return answer

    def _fault(self, flag: str, method: str) -> Fault | None:
        for fault in self.faults.get(flag, ()):
            if fault.times and fault.method in ("", method):
                fault.times -= 1
                return fault
        return None

    async def _with(self, fault: Fault, request: web.Request, body: bytes) -> web.StreamResponse:
        kind = fault.kind
        if kind == "hang":
            await asyncio.Event().wait()
        if kind == "late":
            await asyncio.shield(asyncio.ensure_future(self._later(fault.s, request, body)))
        if kind == "slow":
            await asyncio.sleep(fault.s)
            return self._answer(request, body)
        if kind == "lost":
            self._answer(request, body)
        if kind in ("lost", "reset"):
            assert request.transport is not None
            request.transport.abort()
        return _wrong(fault, request)

    async def _later(self, s: float, request: web.Request, body: bytes) -> None:
        await asyncio.sleep(s)
        self._answer(request, body)

    def _answer(self, request: web.Request, body: bytes) -> web.Response:
        if request.method not in ("GET", "PUT"):
            raise Refused(405, "GET and PUT it is")
        if sorted(request.query) != ["environment", "flag"]:
            raise Refused(400, "which flag of which environment?")
        environment, flag = request.query["environment"], request.query["flag"]
        self._check_signature(request, body, environment, flag)
        key = f"{environment}|{flag}"
        if key not in self.flags:
            raise Refused(404, "there is no such flag")
        if request.method == "PUT":
            self._change(key, request, body, environment, flag)
        known = self.flags[key]
        headers = {"etag": self._etag(key)}
        if request.method == "PUT":
            return web.Response(status=204, headers=headers)
        shown = {name: value for name, value in known.items() if name != "version"}
        return web.json_response({"flag": flag, "environment": environment, **shown}, headers=headers)

    def _etag(self, key: str) -> str:
        return f'"{self.flags[key].get("version", 1)}"'

    def _check_signature(self, request: web.Request, body: bytes, environment: str, flag: str) -> None:
        try:
            Webhook(self.secret).verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError as error:
            raise Refused(401, str(error)) from None
        etag, digest = request.headers.get("if-match", ""), hashlib.sha256(body).hexdigest()
        made_of = f"{request.method}\n{environment}\n{flag}\n{etag}\n{digest}"
        if request.headers["webhook-id"] != f"msg_{hashlib.sha256(made_of.encode()).hexdigest()[:32]}":
            raise Refused(401, "the id is of another request")

    def _change(self, key: str, request: web.Request, body: bytes, environment: str, flag: str) -> None:
        if request.content_type != "application/json":
            raise Refused(415, "JSON it is")
        if "if-match" not in request.headers:
            raise Refused(428, "If-Match is missing")
        if len(body) > LARGEST:
            raise Refused(413, "too large")
        asked, known = json.loads(body), self.flags[key]
        if set(asked) != BODY or set(asked["change"]) != CHANGE:
            raise Refused(422, "fields are missing, or there are others")
        if (asked["environment"], asked["flag"], asked["if_match"]) != (environment, flag, request.headers["if-match"]):
            raise Refused(400, "address, If-Match and body are of different flags")
        _check_shares(asked, known)
        if request.headers["if-match"] != self._etag(key):
            raise Refused(412, "the flag has changed")
        self.effects.append({"flag": flag, **asked["change"]})
        self._store(key, {name: asked[name] for name in ("shares", "rings", "guardian")} | {"changed_by": "guardian"})

    # ------------------------------------------------------------------ being told what to do

    async def told(self, request: web.Request) -> web.Response:
        """``{"flag": [fault, …]}`` replaces what goes wrong."""
        self.faults = {flag: [Fault(**one) for one in faults] for flag, faults in (await request.json()).items()}
        return web.Response()

    async def says(self, _: web.Request) -> web.Response:
        """What came and how it was answered."""
        return web.json_response({"answered": self.answered})


def _check_shares(asked: dict[str, Any], known: dict[str, Any]) -> None:
    if set(asked["rings"]) != set(known.get("rings", {})):
        raise Refused(422, "rings are missing, or there are others")
    for shares in (asked["shares"], *filter(None, asked["rings"].values())):
        if set(shares) != set(known["shares"]) or not all(0 <= share <= 1 for share in shares.values()):
            raise Refused(422, "each variation has a share from 0 to 1")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise Refused(422, "shares add up to 1")
    if not isinstance(asked["guardian"], dict):
        raise Refused(422, "guardian is an object")


def _wrong(fault: Fault, request: web.Request) -> web.Response:
    if fault.kind.isdecimal():
        headers = {"retry-after": f"{fault.s:g}"} if fault.s else {}
        return web.json_response({"error": "told to"}, status=int(fault.kind), headers=headers)
    if fault.kind == "redirect":
        return web.Response(status=307, headers={"location": str(request.url)})
    if fault.kind == "html":
        return web.Response(text="<h1>Log in</h1>", content_type="text/html")
    text = {"malformed": '{"flag": ', "huge": " " * 300_000}.get(fault.kind, "{}")
    return web.Response(text=text, content_type="application/json", headers={"etag": '"1"'})


@asynccontextmanager
async def receiving(flags: Mapping[str, Any], *, port: int = 0, path: Path | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a local port; ``url`` is the address that the guardian is given."""
    receiver = Receiver(json.loads(json.dumps(flags)), path=path)
    async with serving(receiver, port):
        yield receiver


@asynccontextmanager
async def serving(receiver: Receiver, port: int = 0) -> AsyncIterator[None]:
    app = web.Application(client_max_size=4 * LARGEST)
    app.router.add_route("*", "/hidden-in-the-path/flags", receiver.handle)
    app.router.add_post("/_told", receiver.told)
    app.router.add_get("/_says", receiver.says)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hidden-in-the-path/flags"
        yield
    finally:
        await runner.cleanup()


def stored_in(path: Path) -> Receiver:
    """The receiver that an earlier life has left there."""
    return Receiver(**json.loads(path.read_text()), path=path)


async def main(port: int, receiver: Receiver) -> None:
    async with serving(receiver, port):
        print(receiver.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), stored_in(Path(sys.argv[2]))))
