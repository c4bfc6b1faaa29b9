"""
The page and its API, a process of its own: neither a crash nor a rebalance of the detector takes it away.

What it serves comes from the guardian's topics; what people want goes into the journal. Nothing here decides.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import nullcontext
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from streams.apps.board import Board
from streams.apps.feed import Feed
from streams.apps.live import Hub
from streams.apps.policy_files import PolicyFiles
from streams.apps.routes import Served, router
from streams.apps.shield import Shield
from streams.outlet import open_outlet
from streams.settings import Settings
from streams.status import Status

log = structlog.get_logger()

WEB = Path(__file__).parent / "web"
END_S = 1.5


def build_api(served: Served, host: str) -> FastAPI:
    """Return the application; *host* is the address it is bound to."""
    app = FastAPI(title="Rollout Guardian", openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)
    app.state.served = served
    app.include_router(router)
    app.mount("/assets", StaticFiles(directory=WEB), name="assets")
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_api_route("/favicon.ico", _icon, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    if is_loopback(host):
        # Another site's page may reach this machine under a name of its own (DNS rebinding).
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])
    app.add_middleware(Shield)
    return app


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _page() -> Response:
    return FileResponse(WEB / "index.html", headers={"cache-control": "no-cache"})


def _icon() -> Response:
    return FileResponse(WEB / "favicon.svg", media_type="image/svg+xml")


def _metrics() -> Response:
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Server(uvicorn.Server):
    """Signals belong to the process around it."""

    def capture_signals(self) -> Any:
        return nullcontext()


async def run_api(settings: Settings, status: Status) -> None:
    """
    Serve until cancelled; open streams are ended at once, so that ending takes less than 2 s.

    Raises:
        OSError: the address is taken or cannot be bound.
    """
    listening = _listen(settings.api.host, settings.api.port)
    board, hub = Board(), Hub()
    feed = Feed(settings, board, hub, status)
    served = Served(board, hub, feed, settings.topics.journal, PolicyFiles(map(Path, settings.policies)))
    server = _Server(_config(build_api(served, settings.api.host)))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    feeding = asyncio.create_task(_feed(settings, served, status))
    host, port = listening.getsockname()[:2]
    log.info("page_served", url=f"http://{host}:{port}/")
    status.ready(False, "reading what the guardian published", port=port)
    try:
        done, _ = await asyncio.wait({serving, feeding}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise RuntimeError("the page's server ended by itself")
    finally:
        hub.close()
        server.should_exit = True
        feeding.cancel()
        await asyncio.wait({serving, feeding}, timeout=END_S)
        serving.cancel()
        listening.close()


async def _feed(settings: Settings, served: Served, status: Status) -> None:
    """Read and be able to write; the page is served meanwhile, and says that it waits for Kafka."""
    async with open_outlet(settings, "api", status) as outlet:
        served.outlet = outlet
        await served.feed.run()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise OSError(error.errno, f"api.host {host}, api.port {port}: {error.strerror}") from None


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
