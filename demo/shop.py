"""
The shop: one web process, in memory, with two features behind OpenFeature flags.

Users come with their name in ``x-user``; what they were served stands in the
response's ``x-flags``, as in a shop whose support team wants to know. Lines of
JSON on stdout say when it is ready and when its flags changed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import socket
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo import catalogue, checkout_v1
from demo.cart import Line, Quote
from streams.instrument import ExposureHook, GuardianEmitter, OutcomeMiddleware

BUILDS = {"2.0.0": "demo.checkout_v2", "2.0.1": "demo.checkout_v2_1"}
CARTS_KEPT = 20_000
FOLDER_OF_FLAGS = Path(__file__).parent

Checkout = Callable[[Sequence[Line], int], Quote]


class Shop:
    """The shop's own state: carts by session, and the build of the new checkout that is deployed."""

    def __init__(self, flags: OpenFeatureClient) -> None:
        self._flags = flags
        self._carts: OrderedDict[str, list[Line]] = OrderedDict()
        self._new_checkout: Checkout = importlib.import_module(BUILDS["2.0.0"]).quote

    async def home(self, _: Request) -> Response:
        """The front page; a free sample is offered there."""
        featured = list(catalogue.PRODUCTS)[:8]
        return JSONResponse({"featured": [*featured, catalogue.SAMPLE.sku]})

    async def search(self, request: Request) -> Response:
        """Find products, in the old or the new way."""
        find = catalogue.search_ranked if self._serves(request, "new-search") == "new" else catalogue.search
        return JSONResponse({"found": find(request.query_params.get("q", ""))})

    async def product(self, request: Request) -> Response:
        """One product."""
        found = catalogue.PRODUCTS.get(request.path_params["sku"])
        if found is None:
            return JSONResponse({"error": "no such product"}, 404)
        return JSONResponse({"sku": found.sku, "name": found.name, "price_cents": found.price_cents})

    async def add(self, request: Request) -> Response:
        """Put something into the cart of the session."""
        wanted = await request.json()
        found = catalogue.PRODUCTS.get(wanted.get("sku", ""))
        if found is None:
            return JSONResponse({"error": "no such product"}, 404)
        cart = self._carts.setdefault(request.headers["x-session"], [])
        cart.append(Line(found, int(wanted.get("quantity", 1))))
        if len(self._carts) > CARTS_KEPT:
            self._carts.popitem(last=False)
        return JSONResponse({"lines": len(cart)}, 201)

    async def checkout(self, request: Request) -> Response:
        """Buy what is in the cart, by the old or the new checkout."""
        session = request.headers["x-session"]
        cart = self._carts.get(session)
        if not cart:
            return JSONResponse({"error": "the cart is empty"}, 409)
        quote = self._new_checkout if self._serves(request, "checkout-v2") == "new" else checkout_v1.quote
        quoted = quote(cart, int(request.query_params.get("voucher", "0")))
        del self._carts[session]
        return self._answer(request, {"total_cents": quoted.total_cents, "tax_cents": quoted.tax_cents})

    async def deploy(self, request: Request) -> Response:
        """Swap the build of the new checkout, as a rolling deployment does."""
        build = (await request.json())["checkout-v2"]
        if build not in BUILDS:
            return JSONResponse({"error": f"no build {build}, there are {', '.join(BUILDS)}"}, 404)
        self._new_checkout = importlib.import_module(BUILDS[build]).quote
        return JSONResponse({"checkout-v2": build})

    async def health(self, _: Request) -> Response:
        """Healthy, for it only listens when its flags are there."""
        return JSONResponse({"ready": True})

    def _serves(self, request: Request, flag: str) -> str:
        context = EvaluationContext(targeting_key=request.headers["x-user"])
        details = self._flags.get_string_details(flag, "old", context)
        request.state.flags = f"{flag}={details.variant}"
        return details.value

    @staticmethod
    def _answer(request: Request, body: dict[str, Any], status: int = 200) -> Response:
        headers = {"x-flags": getattr(request.state, "flags", ""), "x-served-ms": str(int(time.time() * 1000))}
        return JSONResponse(body, status, headers)

    async def failed(self, request: Request, err: Exception) -> Response:
        """What a customer sees when the code raised; with the file, for the demo's narrator."""
        where = traceback.extract_tb(err.__traceback__)[-1]
        place = where.filename.replace("\\", "/").rsplit("/", 1)[-1]
        return self._answer(request, {"error": type(err).__name__, "file": place, "line": where.lineno}, 500)

    def app(self, emitter: GuardianEmitter) -> Starlette:
        """Return the web application, instrumented."""
        return Starlette(
            routes=[
                Route("/", self.home),
                Route("/search", self.search),
                Route("/products/{sku}", self.product),
                Route("/cart", self.add, methods=["POST"]),
                Route("/checkout", self.checkout, methods=["POST"]),
                Route("/admin/build", self.deploy, methods=["POST"]),
                Route("/healthz", self.health),
            ],
            middleware=[Middleware(OutcomeMiddleware, emitter=emitter)],
            exception_handlers={500: self.failed},
        )


def provider(source: str) -> FlagdProvider:
    """Return the official flagd provider: in process, for ``host:port``, or for a file of flags."""
    if source.endswith(".json"):
        return FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=source)
    host, _, port = source.rpartition(":")
    return FlagdProvider(
        host=host,
        port=int(port),
        resolver_type=ResolverType.IN_PROCESS,
        deadline_ms=10_000,
        # The defaults would leave a client that lost its stream blind for five seconds.
        retry_backoff_ms=100,
        retry_backoff_max_ms=200,
        stream_deadline_ms=0,
    )


def wait_for(source: str, within_s: float = 60) -> None:
    """Return when ``host:port`` can be connected to: the shop may start before the guardian does."""
    if source.endswith(".json"):
        return
    host, _, port = source.rpartition(":")
    until_s = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)


def say(event: str, **fields: Any) -> None:
    """Print one line of JSON."""
    print(json.dumps({"event": event, "at_ms": int(time.time() * 1000), **fields}), flush=True)


def flags_changed(name: str, details: EventDetails) -> None:
    """Tell that new flags are in force in this process."""
    say("flags_changed", shop=name, flags=sorted(details.flags_changed or ()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo.shop", description=__doc__)
    parser.add_argument("--name", default="shop-1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kafka", required=True, help="host:port of a broker")
    parser.add_argument("--flags", required=True, help="host:port of a flagd-sync server, or a .json file")
    options = parser.parse_args(arguments)

    wait_for(options.flags)
    api.set_provider_and_wait(provider(options.flags))
    api.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, partial(flags_changed, options.name))
    emitter = GuardianEmitter(options.kafka, environment="production", service_name=options.name)
    api.add_hooks([ExposureHook(emitter)])
    app = Shop(api.get_client()).app(emitter)
    config = uvicorn.Config(app, port=options.port, loop="uvloop", access_log=False, log_level="warning")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
