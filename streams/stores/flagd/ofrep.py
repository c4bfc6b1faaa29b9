"""
The OpenFeature Remote Evaluation Protocol (OFREP 0.3): flags are evaluated here, so every client gets the same answer.

One flag for services, all of them for web clients, who ask again with ``If-None-Match`` and mostly hear 304. It shares
an event loop with the push to flagd's clients: what takes long is done in slices, one request at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from guardian.errors import shown
from guardian.flagdoc import Document
from streams.stores.flagd.answers import Answer, Evaluator, failure, quieten
from streams.stores.flagd.callers import Callers
from streams.stores.flagd.documents import Documents

BODY_MAX_BYTES = 64 * 1024
BODY_S = 5.0
"""So long a request may take to arrive."""
SLICE_S = 0.002
"""After so long of evaluating for one client, the others have their turn."""
WAITING_MAX = 256
"""So many may wait for all flags; who comes then is told to come back."""
IDLE_S = 75.0
_PATH = "/ofrep/v1/evaluate/flags"
_STATUS = {"FLAG_NOT_FOUND": 404}


class Refused(Exception):
    """A request that cannot be answered; *code* is the protocol's."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code


class OfrepServer:
    """
    Answers for *documents* on ``host:port``; port 0 takes a free one, to be read from ``port`` after ``start``.

    Whatever is sent, the answer is one of the protocol.
    """

    def __init__(self, host: str, port: int, documents: Documents, callers: Callers) -> None:
        self.host, self.port = host, port
        self.answered = 0
        """How many requests have got their flags."""
        self._documents, self._callers = documents, callers
        self._evaluator = Evaluator()
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._timeless: tuple[Document | None, bytes] = (None, b"")
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """
        Open the port.

        Raises:
            OSError: it cannot be had.
        """
        quieten()
        app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[self._guarded])
        app.router.add_post(_PATH, self._all)
        app.router.add_post(f"{_PATH}/{{key:.+}}", self._one)
        # Bodies are taken as they come: unpacked, a small one could be of any size.
        self._runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, keepalive_timeout=IDLE_S, shutdown_timeout=0.5
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            why = os.strerror(error.errno) if error.errno else str(error)
            where = f"flagd.host {self.host}, flagd.ofrep_port {self.port}"
            raise OSError(error.errno, f"{where}: {why}") from None
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port; clients keep what they have."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _one(self, request: web.Request) -> web.Response:
        context = _context(await _body(request))
        answer = self._evaluator.answer(self._documents.document, request.match_info["key"], context)
        self.answered += 1
        return _json(answer, status=_STATUS.get(answer["errorCode"], 400) if "errorCode" in answer else 200)

    async def _all(self, request: web.Request) -> web.Response:
        body = await _body(request)
        context = _context(body)
        known = {tag.value for tag in request.if_none_match or ()}
        etag = self._etag_before(body)
        if etag in known:
            self.answered += 1
            return web.Response(status=304, headers={"ETag": f'"{etag}"'})
        if self._waiting >= WAITING_MAX:
            return _json(failure("", "GENERAL", "too many ask at once"), status=429, headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            async with self._turn:
                answer, etag = await self._evaluated(context, body)
        finally:
            self._waiting -= 1
        self.answered += 1
        headers = {"ETag": f'"{etag}"'}
        if etag in known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=answer, content_type="application/json", headers=headers)

    async def _evaluated(self, context: dict[str, Any], body: bytes) -> tuple[bytes, str]:
        """All flags of the document as it is now, for one client; and the answer's ETag."""
        document, answers = self._documents.document, list[Answer]()
        until_s = time.perf_counter() + SLICE_S
        for key in document["flags"]:
            answers.append(self._evaluator.answer(document, key, context))
            if time.perf_counter() > until_s:
                await asyncio.sleep(0)
                until_s = time.perf_counter() + SLICE_S
        answer = msgspec.json.encode({"flags": answers, "metadata": document.get("metadata") or {}})
        if document is self._documents.document and self._evaluator.is_timeless(document):
            self._timeless = (document, hashlib.sha256(self._documents.text.encode()).digest())
        return answer, self._etag_before(body) or _digest(answer)

    def _etag_before(self, body: bytes) -> str:
        """
        The ETag of an answer that need not be made: of a document that was answered from before, and asks for no time.

        Where rules ask for the time it is empty, and the ETag is that of the answer. Two servers behind one address, or one
        after a restart, have the same in either case.
        """
        document, digest = self._timeless
        return _digest(digest + body) if document is self._documents.document else ""

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """What is the same for all: who may ask, what browsers are told, and errors in the protocol's words."""
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=self._callers.headers(request.headers, preflight=True))
        response: web.StreamResponse
        if self._callers.admits(request.headers):
            try:
                response = await handler(request)
            except Refused as error:
                response = _json(failure(request.match_info.get("key", ""), error.code, str(error)), status=400)
            except web.HTTPException as error:
                response = _json({"errorDetails": error.reason}, status=error.status)
        else:
            details = {"errorDetails": "a token is needed: Authorization: Bearer"}
            response = _json(details, status=401, headers={"WWW-Authenticate": "Bearer"})
        response.headers.update({"X-Content-Type-Options": "nosniff", **self._callers.headers(request.headers)})
        return response


async def _body(request: web.Request) -> bytes:
    """
    What was sent.

    Raises:
        Refused: it is too long.
    """
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused("INVALID_CONTEXT", f"the request is longer than {BODY_MAX_BYTES} bytes") from None
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


def _context(body: bytes) -> dict[str, Any]:
    """
    The context that was sent.

    Raises:
        Refused: there is none that can be used.
    """
    try:
        given = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused("PARSE_ERROR", f"the request is no JSON that can be read: {type(error).__name__}") from None
    if not isinstance(given, dict):
        raise Refused("PARSE_ERROR", 'the request is no object; write {"context": {"targetingKey": "..."}}')
    context = given.get("context", {})
    if not isinstance(context, dict):
        raise Refused("INVALID_CONTEXT", f"context: {shown(context)} is no object")
    key = context.get("targetingKey")
    if key is not None and not isinstance(key, str):
        raise Refused("INVALID_CONTEXT", f"context.targetingKey: {shown(key)} is no text")
    return context


def _json(answer: Answer, *, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer), status=status, content_type="application/json", headers=headers
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
