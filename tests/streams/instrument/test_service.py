"""A real service on uvicorn, instrumented by the lines that people are told to write."""

from __future__ import annotations

import asyncio
import re
import statistics
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import streams.instrument
from streams.instrument import GuardianEmitter, OutcomeMiddleware
from tests.streams.instrument.kafka import Broker, data_of, eventually, read
from tests.streams.instrument.recorder import Recorder, client_with, unit

pytestmark = pytest.mark.usefixtures("clean_openfeature")


def shop(seen: list[str]) -> Starlette:
    """Return a shop that looks at its flag through whatever hooks are set."""
    from openfeature import api

    async def checkout(request: Request) -> Response:
        user = request.query_params["user"]
        seen.append(user)
        api.get_client().get_boolean_value("checkout-v2", False, unit(user))
        if "body" in request.query_params:
            await request.body()
        return JSONResponse({"total": 100 // int(request.query_params.get("parts", "1"))})

    return Starlette(routes=[Route("/checkout", checkout, methods=["POST"])])


def with_snippet(app: Starlette, bootstrap: str) -> GuardianEmitter:
    """Run the lines of the package's docstring, as they stand but for the broker's address."""
    found = re.search(r"service::\n\n(.*?)\n\n[A-Z]", streams.instrument.__doc__ or "", re.DOTALL)
    assert found
    code = textwrap.dedent(found[1])
    assert '"localhost:9092"' in code
    names: dict[str, Any] = {"app": app}
    exec(code.replace("localhost:9092", bootstrap), names)
    emitter: GuardianEmitter = names["emitter"]
    return emitter


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


async def test_five_lines_are_enough(broker: Broker):
    """The docstring's five lines make a running service tell its exposures and outcomes, all of them, by its end."""
    client_with(Recorder())
    app = shop([])
    emitter = with_snippet(app, broker.bootstrap)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        for number in range(20):
            await client.post("/checkout", params={"user": f"u-{number}", "parts": number % 5})
    exposures = await read(broker.bootstrap, "flag.exposures.v1", 20)
    outcomes = [data_of(record) for record in await read(broker.bootstrap, "flag.outcomes.v1", 20)]

    assert {f"u-{number}": "treatment" for number in range(20)} == {
        data_of(record)["context_id"]: data_of(record)["variant"] for record in exposures
    }
    assert {f"u-{number}": "error" if number % 5 == 0 else "ok" for number in range(20)} == {
        outcome["context_id"]: outcome["outcome"] for outcome in outcomes
    }
    assert {"POST /checkout"} == {outcome["operation"] for outcome in outcomes}
    assert {None, "ZeroDivisionError"} == {outcome.get("error_type") for outcome in outcomes}
    assert (0, 40, 0) == emitter.stats()


async def test_a_service_without_kafka_serves_all_the_same():
    """With Kafka out of reach every request is answered, and the service still ends when it is told to."""
    client_with(Recorder())
    app = shop([])
    emitter = with_snippet(app, "127.0.0.1:1")
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        answers = [await client.post("/checkout", params={"user": "u-1"}) for _ in range(50)]
        began_s = time.perf_counter()
    ended_s = time.perf_counter() - began_s

    assert [200] * 50 == [answer.status_code for answer in answers]
    assert (0, 0, 100) == emitter.stats()
    assert ended_s < 8


async def test_a_client_that_goes_away_is_no_error(flags_recorder: Recorder):
    """A client that hangs up in the middle of its request makes the handler raise, but no error of the variation."""
    seen: list[str] = []
    app = OutcomeMiddleware(shop(seen), flags_recorder)
    async with serving(app) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /checkout?user=u-1&body=1 HTTP/1.1\r\nhost: shop\r\ncontent-length: 10\r\n\r\nabc")
        await eventually(lambda: seen)
        writer.close()
        await eventually(lambda: flags_recorder.outcomes)
        outcome = flags_recorder.outcome

    assert ("u-1", "ok", None) == (outcome.context_id, outcome.outcome, outcome.error_type)


@pytest.fixture
def flags_recorder() -> Recorder:
    recorder = Recorder()
    client_with(recorder)
    return recorder


def cost_us(call: Callable[[], Any], times: int = 2_000) -> float:
    """Return the median of nine runs, microseconds a call."""

    def run() -> float:
        began_s = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - began_s) / times * 1e6

    return statistics.median(run() for _ in range(9))


def test_what_it_costs(flags_recorder: Recorder, record_property: Callable[[str, object], None]):
    """
    A request pays some ten microseconds for being watched: far below a millisecond, whatever the machine.

    The bound is wide because machines that run tests are busy; the figures are in the report's properties.
    """

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        request = streams.instrument.context.current()
        assert request is not None
        if request.note("checkout-v2", "treatment", "u-1"):
            flags_recorder.emit_exposure("checkout-v2", "treatment", context_id="u-1", reason="split")
        await bare(scope, receive, send)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        pass

    def ask(app: Any) -> Callable[[], None]:
        def once() -> None:
            scope = {"type": "http", "method": "POST", "path": "/checkout", "path_params": {}}
            coroutine = app(scope, receive, send)
            with pytest.raises(StopIteration):
                coroutine.send(None)

        return once

    flags_recorder._tasks.append(None)  # type: ignore[arg-type]  # as if started: no loop runs here
    watched = cost_us(ask(OutcomeMiddleware(noted, flags_recorder))) - cost_us(ask(bare))
    emit = cost_us(lambda: flags_recorder.emit_exposure("checkout-v2", "treatment", context_id="u-1"))
    record_property("request_us", round(watched, 1))
    record_property("emit_us", round(emit, 2))
    print(f"\na watched request costs {watched:.1f} us more; one emit {emit:.2f} us")

    assert watched < 300
    assert emit < 50
