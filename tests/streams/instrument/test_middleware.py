"""The middleware: how a request ended, under which flags, for whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from openfeature.client import OpenFeatureClient
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from streams.instrument import OutcomeMiddleware, annotate, route_operation
from tests.streams.instrument.recorder import Recorder, client_with, unit

pytestmark = pytest.mark.usefixtures("clean_openfeature")

Handler = Callable[[Request], Awaitable[Response]]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def flags(recorder: Recorder) -> OpenFeatureClient:
    return client_with(recorder)


def look(flags: OpenFeatureClient, flag_key: str = "checkout-v2") -> None:
    flags.get_boolean_value(flag_key, False, unit("u-1"))


async def ask(
    recorder: Recorder, handler: Handler, path: str = "/checkout", at: str = "/checkout", **options: Any
) -> httpx.Response:
    app = Starlette(routes=[Route(at, handler, methods=["GET", "POST"])])
    app.add_middleware(OutcomeMiddleware, emitter=recorder, **options)
    return await get(app, path)


async def get(app: Any, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.post(path)


async def test_a_request_that_went_well(recorder: Recorder, flags: OpenFeatureClient):
    """A request under two flags is one ``ok`` outcome with both, its unit, operation, latency and end."""

    async def handler(request: Request) -> Response:
        look(flags)
        look(flags, "new-cart")
        await asyncio.sleep(0.05)
        return PlainTextResponse("done")

    began_ms = time.time() * 1000
    response = await ask(recorder, handler)
    ended_ms = time.time() * 1000
    outcome = recorder.outcome

    assert 200 == response.status_code
    assert {"checkout-v2": "treatment", "new-cart": "control"} == outcome.flags
    assert ("ok", None, "u-1") == (outcome.outcome, outcome.error_type, outcome.context_id)
    assert "POST /checkout" == outcome.operation
    assert outcome.latency_ms is not None
    assert 50 <= outcome.latency_ms <= ended_ms - began_ms + 1
    assert began_ms + 49 <= recorder.outcome_times_ms[0] <= ended_ms + 1


async def test_a_flag_is_one_exposure_a_request(recorder: Recorder, flags: OpenFeatureClient):
    """A flag evaluated five times in one request is one exposure; the next request is another."""

    async def handler(request: Request) -> Response:
        for _ in range(5):
            look(flags)
        return PlainTextResponse("done")

    await ask(recorder, handler)
    await ask(recorder, handler)

    assert (2, 2) == (len(recorder.exposures), len(recorder.outcomes))


async def test_threads_and_tasks_belong_to_their_request(recorder: Recorder, flags: OpenFeatureClient):
    """A flag evaluated in the thread pool or in a task is noted in the request that started it."""

    async def handler(request: Request) -> Response:
        await run_in_threadpool(look, flags)
        await asyncio.create_task(asyncio.to_thread(look, flags, "new-cart"))
        return PlainTextResponse("done")

    await ask(recorder, handler)

    assert {"checkout-v2": "treatment", "new-cart": "control"} == recorder.outcome.flags


async def test_requests_at_the_same_time_keep_apart(recorder: Recorder, flags: OpenFeatureClient):
    """Twenty requests at once, each with its own unit and flag: no note lands in another's outcome."""

    async def handler(request: Request) -> Response:
        number = int(request.path_params["number"])
        await asyncio.sleep(0.001 * (number % 7))
        flag_key = "checkout-v2" if number % 2 else "new-cart"
        flags.get_boolean_value(flag_key, False, unit(f"u-{number}"))
        await asyncio.sleep(0.001 * (number % 5))
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/items/{number}", handler, methods=["POST"])])
    app.add_middleware(OutcomeMiddleware, emitter=recorder)
    await asyncio.gather(*(get(app, f"/items/{number}") for number in range(20)))

    assert {(f"u-{n}", "checkout-v2" if n % 2 else "new-cart") for n in range(20)} == {
        (outcome.context_id, *outcome.flags) for outcome in recorder.outcomes
    }


async def test_an_exception_is_an_error_and_goes_on(recorder: Recorder, flags: OpenFeatureClient):
    """An exception is told by its type, and raised on for the server to see."""

    async def handler(request: Request) -> Response:
        look(flags)
        raise ZeroDivisionError("an empty line")

    response = await ask(recorder, handler)

    assert 500 == response.status_code
    assert ("error", "ZeroDivisionError") == (recorder.outcome.outcome, recorder.outcome.error_type)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        look(flags)
        raise ZeroDivisionError("an empty line")

    with pytest.raises(ZeroDivisionError):
        await OutcomeMiddleware(app, recorder)({"type": "http", "method": "GET", "path": "/"}, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, ("ok", None)),
        (302, ("ok", None)),
        (404, ("ok", None)),
        (429, ("ok", None)),
        (500, ("error", "500")),
        (503, ("error", "503")),
    ],
)
async def test_the_status_says_it(recorder: Recorder, flags: OpenFeatureClient, status: int, verdict: Any):
    """A 5xx is an error by its number; what the client did wrong is not the variation's error."""

    async def handler(request: Request) -> Response:
        look(flags)
        raise HTTPException(status)

    await ask(recorder, handler)

    assert verdict == (recorder.outcome.outcome, recorder.outcome.error_type)


async def test_a_request_without_flags_is_not_told(recorder: Recorder):
    """A request that evaluated no flag says nothing of any variation."""

    async def handler(request: Request) -> Response:
        return PlainTextResponse("done")

    await ask(recorder, handler)

    assert [] == recorder.outcomes


async def test_a_stream_ends_with_its_last_byte(recorder: Recorder, flags: OpenFeatureClient):
    """The latency of a stream runs to its end, and a stream that breaks is an error."""

    async def parts(breaks: bool) -> AsyncIterator[str]:
        look(flags)
        yield "one"
        await asyncio.sleep(0.05)
        if breaks:
            raise KeyError("two")
        yield "two"

    async def whole(request: Request) -> Response:
        return StreamingResponse(parts(breaks=False))

    async def broken(request: Request) -> Response:
        return StreamingResponse(parts(breaks=True))

    await ask(recorder, whole)
    await ask(recorder, broken)

    assert ["ok", "error"] == [outcome.outcome for outcome in recorder.outcomes]
    assert [True, True] == [(outcome.latency_ms or 0) >= 50 for outcome in recorder.outcomes]


async def test_background_work_is_no_part_of_the_request(recorder: Recorder, flags: OpenFeatureClient):
    """Work behind the response neither lengthens the request nor makes it fail."""

    async def later() -> None:
        await asyncio.sleep(0.2)
        raise RuntimeError("the mail server is down")

    async def handler(request: Request) -> Response:
        look(flags)
        return PlainTextResponse("done", background=BackgroundTask(later))

    await ask(recorder, handler)

    assert "ok" == recorder.outcome.outcome
    assert (recorder.outcome.latency_ms or 0) < 150


async def test_a_cancelled_request_is_no_error(recorder: Recorder, flags: OpenFeatureClient):
    """A request that is cancelled before it answers is told as ``ok`` with the time it took."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        look(flags)
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "path": "/"}
    serving = asyncio.ensure_future(OutcomeMiddleware(app, recorder)(scope, None, None))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert ("ok", None) == (recorder.outcome.outcome, recorder.outcome.error_type)


async def test_a_request_that_never_answers_is_an_error(recorder: Recorder, flags: OpenFeatureClient):
    """An application that returns without a response, which servers turn into a 500, is told as an error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        look(flags)

    await OutcomeMiddleware(app, recorder)({"type": "http", "method": "GET", "path": "/"}, None, None)  # type: ignore[arg-type]

    assert ("error", "NoResponse") == (recorder.outcome.outcome, recorder.outcome.error_type)


async def test_operation_is_the_routes_template(recorder: Recorder, flags: OpenFeatureClient):
    """Operations have few names: the template of the route, also under a mount and in FastAPI's routers."""

    async def handler(request: Request) -> Response:
        look(flags)
        return PlainTextResponse("done")

    starlette = Starlette(
        routes=[
            Route("/orders/{order_id}", handler, methods=["POST"]),
            Mount("/api", routes=[Route("/items/{sku}", handler, methods=["POST"])]),
        ]
    )
    router = APIRouter(prefix="/v1")

    @router.post("/carts/{cart}")
    async def cart(cart: str) -> str:
        look(flags)
        return cart

    fastapi = FastAPI()
    fastapi.include_router(router, prefix="/shop")
    for app, path in ((starlette, "/orders/17"), (starlette, "/api/items/9"), (fastapi, "/shop/v1/carts/5")):
        await get(OutcomeMiddleware(app, recorder), path)

    assert ["POST /orders/{order_id}", "POST /api/items/{sku}", "POST /shop/v1/carts/{cart}"] == [
        outcome.operation for outcome in recorder.outcomes
    ]


def test_operation_without_a_route_is_the_path_with_its_names():
    """A framework that leaves path parameters, but no route, gives the template as well."""
    scope = {"method": "GET", "path": "/orders/17/lines/3", "path_params": {"order": 17, "line": "3"}}

    assert "GET /orders/{order}/lines/{line}" == route_operation(scope)


async def test_the_services_own_words(recorder: Recorder, flags: OpenFeatureClient):
    """Unit, operation and attributes are the service's to say; ``annotate`` adds to the running request."""

    async def handler(request: Request) -> Response:
        look(flags)
        annotate(attributes={"plan": "pro"}, measures={"search_quality_score": 0.9}, error_type="PaymentDeclined")
        return PlainTextResponse("done")

    await ask(
        recorder,
        handler,
        unit=lambda scope: "session-9",
        operation=lambda scope: "pay",
        attributes=lambda scope: {"country": "DE"},
    )
    annotate(error_type="outside of a request this does nothing")
    outcome = recorder.outcome

    assert ("session-9", "pay", "error", "PaymentDeclined") == (
        outcome.context_id,
        outcome.operation,
        outcome.outcome,
        outcome.error_type,
    )
    assert {"country": "DE", "plan": "pro"} == outcome.attributes
    assert {"search_quality_score": 0.9} == outcome.measures


async def test_a_broken_description_fails_no_request(recorder: Recorder, flags: OpenFeatureClient):
    """When the service's own ``unit`` raises, the request goes on and is told with what is known."""

    async def handler(request: Request) -> Response:
        look(flags)
        return PlainTextResponse("done")

    def raises(scope: Any) -> str:
        raise LookupError("no session")

    response = await ask(recorder, handler, unit=raises)

    assert 200 == response.status_code
    assert ("ok", "u-1") == (recorder.outcome.outcome, recorder.outcome.context_id)


async def test_websockets_pass_through(recorder: Recorder, flags: OpenFeatureClient):
    """A websocket gets the very messages it would get without the middleware, and is no outcome."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        look(flags)
        seen.extend((scope, receive, send))

    given = ({"type": "websocket", "path": "/talk"}, object(), object())
    await OutcomeMiddleware(app, recorder)(*given)  # type: ignore[arg-type]

    assert list(given) == seen
    assert [] == recorder.outcomes
