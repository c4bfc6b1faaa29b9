"""
``report``: tells people and machines what was decided and what became of it. ``act`` never waits for it.

Each decision and receipt becomes one log line and one notice; channels take what concerns them. A record is
acknowledged once every channel has taken its notice or was given up, in the order of its partition, so a
crash repeats notices rather than losing them: the book of incidents knows who was told what, and of what is left
receivers know a repeat by its id, PagerDuty by its dedup key. What is due by the clock is told by whoever holds the
incident's partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import aiohttp
import structlog
from aiokafka import TopicPartition

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt, Refusal
from guardian.errors import ConfigError, EventError, Problem
from streams.alerts.base import Channel, ChannelMemory
from streams.alerts.dispatch import Dispatch
from streams.alerts.messages import Messages
from streams.alerts.table import CHANNELS, Tools
from streams.cloudevents import from_event
from streams.faust_app import build_app, raw_topic, run_beside
from streams.keys import UNSIGNED, Keys, SignatureError
from streams.outlet import Outlet, open_outlet
from streams.reading import read_partition
from streams.settings import Settings
from streams.status import Status
from streams.telemetry import DEAD_LETTERS
from streams.telling.archived import Archived
from streams.telling.book import Book, Memory
from streams.telling.heartbeat import Heartbeats, JudgeBeats
from streams.telling.lines import InOrder
from streams.telling.reporter import Reporter
from streams.telling.timers import Timers
from streams.topics import Topics

log = structlog.get_logger()

IN_FLIGHT = 500
"""Notices told at the same time; when channels are down, reading waits here rather than filling memory."""
DRAIN_S = 0.4
"""With the 2.5 s that Faust may take to stop it ends within 3 s."""


def register(app: Any, reporter: Reporter, topics: Topics, keys: Keys = UNSIGNED) -> InOrder:
    """Let *app* read decisions and receipts for *reporter*; where *keys* trust any, signed ones alone."""
    in_order = InOrder(IN_FLIGHT)

    @app.agent(raw_topic(app, topics.decisions), name="report_decisions")
    async def decisions(stream: Any) -> None:
        stream = stream.noack()
        async for event in app.in_sequence.events(stream):
            work = read(event, Decision, DECISION_TYPE, reporter.handle_decision, reporter, keys)
            await in_order.handle(stream, event, work)

    @app.agent(raw_topic(app, topics.receipts), name="report_receipts")
    async def receipts(stream: Any) -> None:
        stream = stream.noack()
        async for event in app.in_sequence.events(stream):
            work = read(event, Receipt, RECEIPT_TYPE, reporter.handle_receipt, reporter, keys)
            await in_order.handle(stream, event, work)

    return in_order


async def read(
    event: Any,
    model: type[Any],
    type: str,  # noqa: A002
    handle: Callable[[Any, int], Awaitable[None]],
    reporter: Reporter,
    keys: Keys = UNSIGNED,
) -> None:
    """Decode an event and handle it; what cannot be read is logged and counted, and what is not signed is told, too."""
    message = event.message
    try:
        given = from_event(event.value, model, type=type, keys=keys)
    except EventError as error:
        DEAD_LETTERS.labels(message.topic).inc()
        log.warning(
            "record_not_readable",
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            reason=str(error),
        )
        if isinstance(error, SignatureError):
            at = datetime.fromtimestamp(message.timestamp, UTC).isoformat(timespec="milliseconds")
            refusal = Refusal(
                topic=message.topic, partition=message.partition, offset=message.offset, reason=str(error)
            )
            await reporter.handle_refused(refusal, at.replace("+00:00", "Z"))
        return
    await handle(given, message.partition)


def channels(settings: Settings, session: aiohttp.ClientSession, memory: ChannelMemory) -> list[Channel]:
    """
    Return the channels that the settings name; what they must know later they keep in *memory*.

    Raises:
        ValueError: an address, key or secret that cannot be right; the text names the setting, not its value.
    """
    tools = Tools(session, memory)
    sections = {name: getattr(settings.alerts, name) for name in CHANNELS}
    return [CHANNELS[name](tools, section.options()) for name, section in sections.items() if section.is_set]


async def run_report(settings: Settings, status: Status) -> None:
    """
    Tell until cancelled; then end within 3 s.

    Raises:
        ConfigError: a route, the fallback or the stakeholders name a channel that has no settings.
        ValueError: a channel's settings cannot be right.
        FaustCrashed: reading failed for good.
    """
    async with aiohttp.ClientSession() as session, open_outlet(settings, "report", status) as outlet:
        incidents = settings.topics.incidents
        book = Book(incidents, outlet, lambda number: read_partition(settings, TopicPartition(incidents, number)))
        told = channels(settings, session, Memory(book))
        check_named(settings, told)
        log.info("report_started", channels=[channel.name for channel in told])
        alerts = settings.alerts
        dispatch = Dispatch(told, fallback=alerts.fallback, unreachable_after_s=alerts.unreachable_after_s)
        messages = Messages(alerts.page_url)
        timers = Timers(book, dispatch, messages, schedule=alerts.schedule, stakeholders=alerts.stakeholders)
        reporter = Reporter(dispatch, book, routing=alerts.routing, messages=messages, ended=timers.wake)
        app = build_app(settings, "report")
        in_order = register(app, reporter, settings.topics, settings.signing.keys)
        _hold_assigned(app, settings.topics.decisions, book, (in_order.leave, reporter.leave, timers.leave))
        beside = [_saying(app, book, dispatch, outlet, status), timers.run(), Archived(settings, book, timers.end).run()]
        beside += _heartbeat(settings, session, outlet, status)
        try:
            # What is told at the end, while Faust still runs, is acknowledged, and committed as that stops.
            await run_beside(app, beside, last=lambda: reporter.drain(DRAIN_S))
        finally:
            await book.stop()


def check_named(settings: Settings, told: list[Channel]) -> None:
    """
    Check that every channel that is named has settings of its own.

    Raises:
        ConfigError: each that has none, with the setting that names it.
    """
    there = {channel.name for channel in told}
    problems = [
        Problem("settings", None, setting, repr(name), f"this channel has no settings; write alerts.{name}, or name another")
        for setting, names in settings.alerts.named_channels.items()
        for name in names
        if name not in there
    ]
    if problems:
        raise ConfigError(problems)


def _heartbeat(
    settings: Settings, session: aiohttp.ClientSession, outlet: Outlet, status: Status
) -> list[Coroutine[Any, Any, None]]:
    given = settings.alerts.heartbeat
    if not given.url:
        return []
    beats = JudgeBeats()
    is_well = lambda: status.is_ready and beats.is_heard  # noqa: E731
    calling = Heartbeats(session, url=given.url, every_s=given.every_s, method=given.method, is_well=is_well)
    return [beats.follow(settings, outlet), calling.run()]


def _hold_assigned(app: Any, topic: str, book: Book, leave: tuple[Callable[[set[int]], None], ...]) -> None:
    """Let the book follow what the group assigns to this worker, and work on what it has lost end."""

    async def assigned(_: Any, partitions: Any, **__: Any) -> None:
        lost = book.hold(at.partition for at in partitions if at.topic == topic)
        for one in leave:
            one(lost)

    app.on_partitions_assigned.connect(assigned, weak=False)


async def _saying(app: Any, book: Book, dispatch: Dispatch, outlet: Outlet, status: Status) -> None:
    while True:
        outlet.check()
        why = "reading the incidents" if not book.is_loaded else ""
        if app.rebalancing or not app.started or not book.is_assigned:
            why = "waiting for partitions of decisions and receipts"
        if outlet.failing_s:
            why = f"Kafka has taken nothing for {outlet.failing_s:.0f} s"
        is_open = sum(one.is_open for _, one in book.all())
        status.ready(not why, why, incidents_open=is_open, channels_failing=dispatch.failing.channels)
        await asyncio.sleep(0.5 if not why else 0.1)
