"""``guardian run``: what comes before and around the supervisor: the broker, the topics, the policies, health."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence

import structlog

from guardian.errors import GuardianError
from guardian.policy import Policy
from streams import telemetry
from streams.admin import ensure_topics
from streams.broker.process import embedded_broker
from streams.health import Health
from streams.outlet import NotDelivered, open_outlet
from streams.publish import publish_policies
from streams.settings import Settings
from streams.snapshots import changelog_topic
from streams.status import Status
from streams.supervisor import Overrides, Supervisor

log = structlog.get_logger()

RETRY_S = 1.0


class BrokerEnded(GuardianError):
    """The embedded broker is gone, and with it all that it held in memory."""


async def run(
    settings: Settings,
    policies: Sequence[Policy],
    names: Sequence[str],
    arguments: Sequence[str],
    *,
    worker: str,
    metrics_directory: str,
) -> None:
    """
    Run processors *names* until SIGTERM or SIGINT.

    Raises:
        BrokerEnded: the embedded broker ended by itself.
        OSError: the port of the health server cannot be had.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(names, arguments, worker=worker)
    health = Health(
        supervisor.readiness,
        host=settings.health.host,
        port=settings.health.port,
        metrics_directory=metrics_directory,
    )
    await health.start()
    log.info("health_served", address=f"http://{settings.health.host}:{health.port}/readyz")
    supervisor.start()
    preparing = asyncio.ensure_future(_prepare(supervisor, settings, policies))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({preparing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        log.info("stopping")
        await supervisor.stop()
        preparing.cancel()
        await asyncio.wait({preparing})
        await health.stop()
    if not preparing.cancelled():
        preparing.result()


async def _prepare(supervisor: Supervisor, settings: Settings, policies: Sequence[Policy]) -> None:
    """Everything that the children wait for; then watch over the embedded broker, if there is one."""
    async with _broker(settings, supervisor) as (settings, overrides, ended):
        await _topics(supervisor, settings)
        await _policies(supervisor, settings, policies)
        supervisor.go(overrides)
        await ended.wait()
        raise BrokerEnded("the embedded broker ended; what it held in memory is lost")
