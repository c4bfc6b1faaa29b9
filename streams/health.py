"""Health of a whole installation over HTTP: alive, ready, and the metrics of every child."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

Readiness = Callable[[], dict[str, Any]]
"""Returns what ``/readyz`` shows; its ``ready`` decides between 200 and 503."""


class Health:
    """
    Serves ``/healthz``, ``/readyz`` and ``/metrics``.

    The first answers 200 for as long as the supervisor lives, with or without Kafka; the second only if every child
    does its work, and says for each why not; the third adds up the numbers of all children.
    """

    def __init__(self, readiness: Readiness, *, host: str, port: int, metrics_directory: str) -> None:
        self._readiness = readiness
        self._host = host
        self._port = port
        self._metrics_directory = metrics_directory
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; differs from the given one where that was 0."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """
        Listen.

        Raises:
            OSError: the port cannot be had.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            why = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, f"health.host {self._host}, health.port {self._port}: {why}") from None

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _alive(self, _: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _ready(self, _: web.Request) -> web.Response:
        said = self._readiness()
        text = json.dumps(said, ensure_ascii=False, indent=1) + "\n"
        return web.Response(text=text, status=200 if said["ready"] else 503, content_type="application/json")

    async def _metrics(self, _: web.Request) -> web.Response:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=self._metrics_directory)
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
