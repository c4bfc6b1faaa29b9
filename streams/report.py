"""
``report``: tells people and machines what was decided and what became of it. ``act`` never waits for it.

Each decision and receipt becomes one log line and one notice; channels take what concerns them. A record is
acknowledged once every channel has taken its notice or was given up, in the order of its partition, so a
crash repeats notices rather than losing them: receivers know a repeat by its id, PagerDuty by its dedup key.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
import structlog

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, REFUSAL_TYPE, Decision, Receipt, Refusal
from guardian.errors import EventError
from guardian.explain import explain_receipt
from streams.alerts.base import Channel, ChannelMemory, Report
from streams.alerts.dispatch import Dispatch
from streams.alerts.memory import ShortMemory
from streams.alerts.table import CHANNELS, Tools
from streams.cloudevents import from_event
from streams.faust_app import build_app, raw_topic, run_app
from streams.keys import UNSIGNED, Keys, SignatureError
from streams.settings import Settings
from streams.status import Status
from streams.telemetry import DEAD_LETTERS
from streams.topics import Topics

log = structlog.get_logger()

REMEMBERED = 10_000
"""Ids of notices, and decisions for the receipts that follow them."""
IN_FLIGHT = 500
"""Notices told at the same time; when channels are down, reading waits here rather than filling memory."""
DRAIN_S = 0.4
"""With the 2.5 s that Faust may take to stop it ends within 3 s."""
_HOUR = len("2026-11-21T01")
_KILLS = frozenset({"kill", "kill_flag"})

T = TypeVar("T")


class Reporter:
    """Decisions and receipts in, notices out; the same id is told once, however often it comes."""

    def __init__(self, dispatch: Dispatch, *, remembered: int = REMEMBERED) -> None:
        self._dispatch = dispatch
        self._told: _Recent[None] = _Recent(remembered)
        self._decisions: _Recent[Decision] = _Recent(remembered)
        self._telling: dict[str, asyncio.Task[None]] = {}

    async def handle_decision(self, decision: Decision) -> None:
        """Log it and tell it, once; return when every channel is done with it."""
        self._decisions.put(decision.decision_id, decision)
        notice = Report(
            notice_id=f"decision:{decision.decision_id}",
            flag_key=decision.flag_key,
            environment=decision.environment,
            owner=decision.owner,
            urgent=decision.action in _KILLS and decision.mode == "enforce" and bool(decision.owner),
            text=decision.explanation,
            type=DECISION_TYPE,
            at=decision.decided_at,
            variation=decision.variant,
            data=decision,
        )
        await self._once(notice)

    async def handle_receipt(self, receipt: Receipt) -> None:
        """Log it and tell it, once; return when every channel is done with it."""
        decision = self._decisions.get(receipt.decision_id)
        is_kill = receipt.action in _KILLS
        undone = is_kill and receipt.status in ("conflict", "expired", "waiting")
        arrived = is_kill and receipt.status in ("applied", "already") and receipt.waited_s > 0.0
        notice = Report(
            notice_id=f"receipt:{receipt.receipt_id}",
            flag_key=receipt.flag_key,
            environment=receipt.environment,
            owner=decision.owner if decision is not None else "",
            urgent=undone or arrived or receipt.status in ("failed", "not_effective"),
            text=explain_receipt(receipt, decision),
            type=RECEIPT_TYPE,
            at=receipt.at,
            variation=receipt.variant,
            data=receipt,
        )
        await self._once(notice)

    async def handle_refused(self, refusal: Refusal, at: str) -> None:
        """
        Log it, and wake somebody: who else writes decisions? Once an hour and topic, however many there are.

        *at* is when the record was written (RFC 3339).
        """
        where = f"{refusal.topic}/{refusal.partition}/{refusal.offset}"
        notice = Report(
            notice_id=f"refusal:{refusal.topic}:{at[:_HOUR]}",
            flag_key="",
            environment="",
            owner="",
            urgent=True,
            text=f"Somebody else has written what looks like one of the guardian's records: {where}: {refusal.reason}. "
            "Nothing was done on it; see who may write there.",
            type=REFUSAL_TYPE,
            at=at,
            variation=refusal.topic,
            data=refusal,
        )
        await self._once(notice)

    async def drain(self, for_s: float) -> None:
        """Give what is being told *for_s* to end, then leave it: what was not acknowledged comes again."""
        if not self._telling:
            return
        _, late = await asyncio.wait(self._telling.values(), timeout=for_s)
        for task in late:
            task.cancel()

    async def _once(self, notice: Report) -> None:
        if notice.notice_id in self._told:
            return
        telling = self._telling.get(notice.notice_id)
        if telling is None:
            telling = self._telling[notice.notice_id] = asyncio.create_task(self._tell(notice))
        # A repeat waits for the first: it must not be acknowledged before anybody was told.
        await asyncio.shield(telling)

    async def _tell(self, notice: Report) -> None:
        try:
            _log(notice)
            await self._dispatch.tell(notice)
            self._told.put(notice.notice_id, None)
        finally:
            del self._telling[notice.notice_id]


class InOrder:
    """
    Handles events side by side and acknowledges each partition's in order.

    Faust commits past a gap when a partition has no offset committed yet, so an event may be acknowledged
    only after those before it.
    """

    def __init__(self, most: int) -> None:
        self._room = asyncio.Semaphore(most)
        self._last: dict[Any, asyncio.Task[None]] = {}

    async def handle(self, stream: Any, event: Any, work: Coroutine[Any, Any, None]) -> None:
        """Start *work* on an event; wait while too many are at work."""
        await self._room.acquire()
        partition = event.message.tp
        task = asyncio.create_task(self._handle(stream, event, work, self._last.get(partition)))
        self._last[partition] = task
        task.add_done_callback(lambda _: self._room.release())

    @staticmethod
    async def _handle(
        stream: Any, event: Any, work: Coroutine[Any, Any, None], before: asyncio.Task[None] | None
    ) -> None:
        try:
            await work
        except Exception:
            log.exception("report_failed")
        if before is not None:
            await asyncio.wait({before})
            if before.cancelled():
                raise asyncio.CancelledError
        await stream.ack(event)


def register(app: Any, reporter: Reporter, topics: Topics, keys: Keys = UNSIGNED) -> None:
    """Let *app* read decisions and receipts for *reporter*; where *keys* trust any, signed ones alone."""
    in_order = InOrder(IN_FLIGHT)

    @app.agent(raw_topic(app, topics.decisions), name="report_decisions")
    async def decisions(stream: Any) -> None:
        stream = stream.noack()
        async for event in stream.events():
            work = read(event, Decision, DECISION_TYPE, reporter.handle_decision, reporter, keys)
            await in_order.handle(stream, event, work)

    @app.agent(raw_topic(app, topics.receipts), name="report_receipts")
    async def receipts(stream: Any) -> None:
        stream = stream.noack()
        async for event in stream.events():
            work = read(event, Receipt, RECEIPT_TYPE, reporter.handle_receipt, reporter, keys)
            await in_order.handle(stream, event, work)


async def read(
    event: Any,
    model: type[Any],
    type: str,  # noqa: A002
    handle: Callable[[Any], Awaitable[None]],
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
    await handle(given)


def channels(
    settings: Settings, session: aiohttp.ClientSession, memory: ChannelMemory | None = None
) -> list[Channel]:
    """
    Return the channels that the settings name; what they must know later they keep in *memory*.

    Raises:
        ValueError: an address, key or secret that cannot be right; the text names the setting, not its value.
    """
    tools = Tools(session, memory or ShortMemory())
    sections = {name: getattr(settings.alerts, name) for name in CHANNELS}
    return [CHANNELS[name](tools, section.options()) for name, section in sections.items() if section.is_set]


async def run_report(settings: Settings, status: Status) -> None:
    """
    Tell until cancelled; then end within 3 s.

    Raises:
        ValueError: a channel's settings cannot be right.
        FaustCrashed: reading failed for good.
    """
    async with aiohttp.ClientSession() as session:
        told = channels(settings, session)
        log.info("report_started", channels=[channel.name for channel in told])
        reporter = Reporter(Dispatch(told))
        app = build_app(settings, "report")
        register(app, reporter, settings.topics, settings.signing.keys)
        watch = asyncio.create_task(_say_ready(_assigned(app), status))
        running = asyncio.create_task(run_app(app))
        try:
            await asyncio.wait({running})
            running.result()
        finally:
            watch.cancel()
            # Before Faust stops: what is told now is acknowledged, and committed as it stops.
            await reporter.drain(DRAIN_S)
            running.cancel()
            await asyncio.wait({running})


async def _say_ready(assigned: asyncio.Event, status: Status) -> None:
    while True:
        ready = assigned.is_set()
        status.ready(ready, "" if ready else "waiting for partitions of decisions and receipts")
        await asyncio.sleep(1.0 if ready else 0.1)


def _assigned(app: Any) -> asyncio.Event:
    """Return an event that is set while the group has a place for this worker, be it one without partitions."""
    has_place = asyncio.Event()

    async def assigned(*_: Any, **__: Any) -> None:
        has_place.set()

    async def revoked(*_: Any, **__: Any) -> None:
        has_place.clear()

    app.on_partitions_assigned.connect(assigned)
    app.on_partitions_revoked.connect(revoked)
    return has_place


def _log(notice: Report) -> None:
    event = notice.data
    if isinstance(event, Refusal):
        log.error("refused", text=notice.text, at=notice.at, **event.model_dump())
        return
    fields: dict[str, Any] = {
        "rollout": notice.order,
        "variation": notice.variation,
        "action": event.action,
        "decision_id": event.decision_id,
        "text": notice.text,
        "at": notice.at,
    }
    if isinstance(event, Decision):
        log.info("decision", mode=event.mode, guardrail=event.guardrail, owner=event.owner, **fields)
    else:
        log.info("receipt", status=event.status, store=event.store, attempts=event.attempts, **fields)


class _Recent(OrderedDict[str, T]):
    """The newest entries, at most so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: str, value: T) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)
