"""The ASGI middleware: every request that evaluated a flag ends as one outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from streams.instrument.context import RequestFlags, _current
from streams.instrument.emitter import GuardianEmitter

log = logging.getLogger("streams.instrument")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def route_operation(scope: Scope) -> str:
    """
    Return ``"POST /orders/{id}"``: the method and the route's template.

    Starlette and FastAPI leave the route in the scope; where nobody did, the
    path with the values of ``path_params`` put back to their names.
    """
    prefix = scope.get("root_path", "")[len(scope.get("app_root_path", "")) :]
    # FastAPI keeps the path of a router that was included with a prefix apart from the route.
    route = (scope.get("fastapi") or {}).get("effective_route_context") or scope.get("route")
    template = getattr(route, "path", None)
    if template is None:
        prefix, template = "", scope["path"]
        for name, value in (scope.get("path_params") or {}).items():
            template = template.replace(f"/{value}", f"/{{{name}}}", 1)
    return f"{scope['method']} {prefix}{template}"


class OutcomeMiddleware:
    """
    Emits one outcome at the end of each HTTP request that evaluated at least one flag.

    ``error`` is a 5xx, an exception (which is raised on as it came), no
    response at all, or what ``annotate(error_type=...)`` said; everything else
    is ``ok``. A client that goes away, or a request that is cancelled, is no
    error. ``latency_ms`` runs to the last byte of the response, for a stream
    too. Websockets pass through untouched. The emitter is started and stopped
    with the application (its lifespan, or else its first request).

    Args:
        app: the ASGI application.
        emitter: where outcomes go.
        unit: returns the ``context_id`` for a request, looked at when it ends. It must be the
            targeting key of the request's flags; without it, or where it returns ``None``, that key is taken.
        operation: names what was asked for; few different names, so not the raw path.
        attributes: what segments are made of; beside what ``annotate`` adds.

    """

    def __init__(
        self,
        app: App,
        emitter: GuardianEmitter,
        *,
        unit: Callable[[Scope], str | None] | None = None,
        operation: Callable[[Scope], str] = route_operation,
        attributes: Callable[[Scope], Mapping[str, str]] | None = None,
    ) -> None:
        self.app = app
        self._emitter = emitter
        self._unit = unit
        self._operation = operation
        self._attributes = attributes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, connection or lifespan."""
        if not self._emitter.is_started:
            await self._emitter.start()
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self._stopping_with(send))
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _stopping_with(self, send: Send) -> Send:
        async def stop_then_send(message: Message) -> None:
            # Before the server hears of it: having heard, it ends the loop.
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self._emitter.stop()
            await send(message)

        return stop_then_send

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = _Watch(receive, send, at_end=lambda: self._tell(scope, watch))
        token = _current.set(watch.request)
        try:
            await self.app(scope, watch.receive, watch.send)
        except Exception as err:
            # Nobody was there any more to be hurt by what a request raises after its client went away.
            if not watch.is_deserted:
                watch.error_type = type(err).__name__
            raise
        except BaseException:
            watch.is_deserted = True  # cancelled, by the server or a timeout of the service's own
            raise
        finally:
            _current.reset(token)
            watch.end()

    def _tell(self, scope: Scope, watch: _Watch) -> None:
        request, error_type = watch.request, watch.verdict()
        if not request.flags:
            return
        try:
            unit = self._unit(scope) if self._unit is not None else None
            attributes = dict(self._attributes(scope)) if self._attributes is not None else {}
            operation = self._operation(scope)
        except Exception:  # the service's own callables: a request must not fail of them
            log.warning("cannot describe a request for its outcome", exc_info=True)
            unit, attributes, operation = None, {}, ""
        latency_ms = watch.latency_ms()
        self._emitter.emit_outcome(
            request.flags,
            "ok" if error_type is None else "error",
            latency_ms=latency_ms,
            operation=operation or None,
            error_type=error_type,
            context_id=unit or request.context_id,
            attributes={**attributes, **request.attributes},
            measures=request.measures,
            at_ms=watch.started_ms + round(latency_ms),
        )


class _Watch:
    """Sees one request's messages pass: its status, its end, whether its client is still there."""

    def __init__(self, receive: Receive, send: Send, at_end: Callable[[], None]) -> None:
        self.request = RequestFlags()
        self.error_type: str | None = None
        self.is_deserted = False
        self._status = 0
        self._receive = receive
        self._send = send
        self._at_end = at_end
        self._is_ended = False
        self._started_s = time.perf_counter()
        self.started_ms = int(time.time() * 1000)

    async def receive(self) -> Message:
        message = await self._receive()
        # After its response every request gets this message; before, it means that the client went away.
        if message["type"] == "http.disconnect" and not self._is_ended:
            self.is_deserted = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.is_deserted:
            self._status = message["status"]
        try:
            await self._send(message)
        except OSError:  # as ASGI 2.4 wants it when the client is gone
            self.is_deserted = True
            raise
        # The last byte ends the request; what goes on behind it (background tasks) is no part of it.
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.end()

    def end(self) -> None:
        """Call ``at_end`` if this is the first end that is seen."""
        if not self._is_ended:
            self._is_ended = True
            self._at_end()

    def latency_ms(self) -> float:
        return (time.perf_counter() - self._started_s) * 1000

    def verdict(self) -> str | None:
        """Return the error's type, ``None`` if the request went well."""
        if self.error_type or self.request.error_type:
            return self.error_type or self.request.error_type
        if self._status >= 500:
            return str(self._status)
        if not self._status and not self.is_deserted:
            return "NoResponse"
        return None
