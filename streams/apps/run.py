"""``guardian run``: what comes before and around the supervisor: the broker, the topics, the policies, health."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from guardian.errors import ConfigError, GuardianError, Problem, ProblemsError
from guardian.policy import Policy
from streams import telemetry
from streams.access import check_access
from streams.admin import ensure_topics
from streams.apps.check import besides
from streams.apps.reload import Reload
from streams.changelog import changelog_topic
from streams.environment import METRICS_VARIABLE
from streams.health import Health
from streams.outlet import NotDelivered, open_outlet
from streams.policies import load_default, load_policies, read_policies
from streams.publish import publish_policies
from streams.scaling import Scaling
from streams.settings import Settings, load_settings
from streams.status import Status
from streams.supervisor import Overrides, Supervisor
from streams.wiring import PROCESSORS, processors_of

log = structlog.get_logger()

RETRY_S = 1.0
WRONG = 2
"""Exit code for settings and policies that cannot be used."""
FAILED = 1


class BrokerEnded(GuardianError):
    """The embedded broker is gone, and with it all that it held in memory."""


def main(config: Path | None, only: str, *, embedded: bool) -> int:
    """Run until told to end; return the exit code: 2 if what people wrote is wrong, after every error was printed."""
    try:
        settings = load_settings(config)
        names = processors(only, settings)
        policies = load_policies(map(Path, settings.policies))
        if settings.policies_default:
            load_default(Path(settings.policies_default))
    except ProblemsError as error:
        print(error, file=sys.stderr)
        return WRONG
    telemetry.configure("guardian", as_json=settings.log.json_lines, level=settings.log.level)
    _tell_unfit(settings)
    if embedded:
        settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"embedded": True})})
    try:
        asyncio.run(run(settings, policies, names, None if config is None else str(config)))
    except (GuardianError, OSError) as error:
        log.error("stopped", reason=str(error))  # noqa: TRY400 - said in one line
        return FAILED
    return 0


def _tell_unfit(settings: Settings) -> None:
    """
    Warn of policies that do not fit the flag document. They are in force all the same.

    A flag may be written after its policy, and one that is gone is no reason to watch none of the others.
    """
    try:
        beside = replace(besides(settings), now=None)
    except ValueError as error:
        log.warning("flags_not_compared", reason=str(error))
        return
    for file in read_policies(map(Path, settings.policies), beside=beside):
        for problem in file.problems:
            log.warning("policy_unfit", reason=str(problem))


def processors(only: str, settings: Settings) -> list[str]:
    """
    The processors that ``--only`` names, in the order of starting; all that the settings ask for if it names none.

    Raises:
        ConfigError: a name that is no processor's, or that of one that these settings have no use for.
    """
    known, wanted = processors_of(settings), [name.strip() for name in only.split(",") if name.strip()]
    right = f"is no processor; write some of {', '.join(known)}"
    idle = "serves flags of flagd, and the settings name no such store; leave it out"
    problems = [
        Problem("--only", None, "", repr(name), idle if name in PROCESSORS else right) for name in wanted if name not in known
    ]
    if problems:
        raise ConfigError(problems)
    return [name for name in known if not wanted or name in wanted]


async def run(settings: Settings, policies: Sequence[Policy], names: Sequence[str], config: str | None) -> None:
    """
    Run processors *names* until SIGTERM or SIGINT; each reads its settings from *config* itself.

    Raises:
        BrokerEnded: the embedded broker ended by itself.
        OSError: the port of the health server cannot be had.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(names, config, Scaling("observe", workers_at_most(settings)))
    reload = Reload(map(Path, settings.policies), policies)
    health = Health(
        lambda: supervisor.readiness() | {"policies": reload.state()},
        host=settings.health.host,
        port=settings.health.port,
        metrics_directory=os.environ.get(METRICS_VARIABLE, ""),
    )
    await health.start()
    log.info("health_served", address=f"http://{settings.health.host}:{health.port}/readyz")
    supervisor.start()
    working = asyncio.ensure_future(_work(supervisor, settings, policies, reload))
    told = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
    finally:
        if supervisor.waiting_for:
            working.cancel()  # it only waits; once the children work, the embedded broker must outlive them
        await supervisor.stop()
        working.cancel()
        await asyncio.wait({working}, timeout=1.0)
        await health.stop()
    if working.done() and not working.cancelled():
        working.result()


def workers_at_most(settings: Settings) -> int:
    """Return how many workers of observe this host may have; the embedded broker lets in one process a group."""
    return 1 if settings.kafka.embedded else min(settings.observe.workers, os.cpu_count() or 1)


async def _work(supervisor: Supervisor, settings: Settings, policies: Sequence[Policy], reload: Reload) -> None:
    """Prepare what the children wait for, let them go; then follow the policy files, and watch over the embedded broker."""
    async with contextlib.AsyncExitStack() as stack:
        overrides: Overrides = {}
        ended: Awaitable[Any] = asyncio.get_running_loop().create_future()
        if settings.kafka.embedded:
            supervisor.waiting_for = "the embedded broker"
            bootstrap, ended = await stack.enter_async_context(_embedded_broker(settings))
            overrides = {"kafka": {"bootstrap": bootstrap, "embedded": True}}
            settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=overrides["kafka"])})
        names = [child.name for child in supervisor.children]
        supervisor.waiting_for = f"Kafka at {settings.kafka.bootstrap}"
        await check_access(settings, names, supervisor.wait_for)
        supervisor.waiting_for = f"topics in Kafka at {settings.kafka.bootstrap}"
        await ensure_topics(settings, inputs=settings.kafka.embedded)
        # Again: before, some topics may not have been there.
        await check_access(settings, names, supervisor.wait_for)
        supervisor.waiting_for = "policies to be published"
        await _publish(settings, policies)
        supervisor.go(overrides)
        following = asyncio.ensure_future(reload.run(functools.partial(_publish, settings)))
        stack.callback(following.cancel)
        await ended
        raise BrokerEnded("the embedded broker ended; what it held in memory is lost")


@contextlib.asynccontextmanager
async def _embedded_broker(settings: Settings) -> AsyncIterator[tuple[str, Awaitable[Any]]]:
    """Start the broker; yields its address, and what ends when it does."""
    topics = [*settings.topics.inputs, *settings.topics.own, changelog_topic(settings)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.broker", "--end-with-stdin"),
        *(f"--topic={topic}:{settings.partitions}" for topic in topics),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # a terminal's Ctrl-C reaches all at once, and it must end last
    )
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if not line:
            raise BrokerEnded(f"the embedded broker did not start: exit code {await process.wait()}")
        bootstrap = json.loads(line)["bootstrap"]
        log.info("embedded_broker_started", bootstrap=bootstrap)
        yield bootstrap, process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()


async def _publish(settings: Settings, policies: Sequence[Policy]) -> None:
    if not policies:
        return  # a guardian without policies of its own needs no right to write any
    async with open_outlet(settings, "policies", Status("policies")) as outlet:
        while True:
            try:
                await publish_policies(settings, outlet, policies, by="files")
                return
            except NotDelivered as error:
                log.warning("policies_not_published", reason=str(error))
                await asyncio.sleep(RETRY_S)
