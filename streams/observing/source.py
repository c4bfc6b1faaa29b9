"""
One input partition while it is ours: its events, its sums, its transactions.

The sums of the next flush are made while the transaction of the last one is
on its way. What a failed transaction held is read again: the fold goes back
to the last commit, and the consumer with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from guardian.journal import Beat, encode
from streams.clock import now_ms
from streams.fold import Counts, Fold, FoldConfig, Savepoint
from streams.folding.keyed import unit_key
from streams.observing.complaints import Complaints
from streams.observing.entries import Journalist, dead_letters
from streams.observing.excess import Excess
from streams.observing.metrics import count_events
from streams.observing.offsets import EmbeddedOffsets, Offsets, Place
from streams.observing.plans import Plans
from streams.observing.reading import Reading
from streams.observing.transactions import Message, TransactionFailed, Transactions
from streams.settings import Settings

log = structlog.get_logger()

RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
FENCED_WAIT_S = 3.0
"""Somebody else took our partition over: the group must tell us within a few heartbeats. If it does not, it is ours."""
STOP_S = 1.0
BEHIND_RECORDS, BEHIND_FLUSH_S = 20_000, 0.2
REST_PART = 0.25
"""Of the time between flushes, that which passes in any case after a transaction: slow ones must not follow each other."""
REMEMBERED_RECORDS = 10_000
"""
Of those before the committed offset, so many are read again by whoever takes a partition over: what comes twice, who is
under two variations and who is new is then known as the worker before knew it. Some 50 ms of work.
"""
GATHER_S = 0.01
"""After a silence, what comes with the first event goes with it."""


@dataclass(slots=True)
class Committed:
    """
    A fold and its state at the last commit, to which a failed transaction goes back; it survives a rebalance.

    ``offset`` is None as long as nothing was ever committed.
    """

    fold: Fold
    point: Savepoint
    offset: int | None

    @property
    def place(self) -> Place | None:
        """The committed offset and the note beside it, None as long as there is none."""
        return None if self.offset is None else (self.offset, self.point.note)


class Source:
    """
    Reads one input partition, from being assigned to being revoked.

    ``reading.take`` is given what the consumer read; all else happens in the
    task that ``start`` begins. ``why`` says why it is not read now, if so.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        consumer: AIOKafkaConsumer,
        at: TopicPartition,
        plans: Plans,
        *,
        call: Callable[[], int],
        kept: Committed | None = None,
    ) -> None:
        self.at = at
        self.name = f"{at.topic}/{at.partition}"
        self.why = f"{self.name}: not started"
        self.reading = Reading(consumer, at, plans, settings.observe.max_flush_records, call)
        self.transactions = Transactions(settings, group, at)
        self._offsets = (EmbeddedOffsets if settings.kafka.embedded else Offsets)(consumer, at)
        self._settings = settings
        self._consumer = consumer
        self._base = kept
        self._on_its_way: tuple[Savepoint, int] | None = None
        self._journalist: Journalist | None = None
        self._complaints = Complaints(self.name)
        self._excess = Excess(self.name)
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._flushed_s = 0.0

    @property
    def counts(self) -> Counts:
        """What became of the events that are committed, since we read this partition."""
        return self._base.point.counts if self._base is not None else Counts()

    def start(self) -> None:
        """Begin: fence earlier owners, find the committed offset, read from there, flush till stopped."""
        self.reading.pause()
        self._task = asyncio.create_task(self._run(), name=f"observe {self.name}")

    def check(self) -> None:
        """Raise what ended the source before it was stopped; nothing if it goes on."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def stop(self, *, flush: bool = False) -> Committed | None:
        """
        End, waiting for the open transaction no longer than one may take; return the state of the last commit.

        With ``flush``, what has been read goes out first.
        """
        try:
            async with asyncio.timeout(self._settings.observe.stuck_after_s), self._lock:
                if flush and not self.why:
                    await self._flush()
                self.reading.end()
        except (TimeoutError, TransactionFailed) as error:
            log.warning("transaction_left_open", source=self.name, reason=repr(error))
        self.reading.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self.transactions.stop(STOP_S)
        if self._base is not None:
            self._base.fold.rollback(self._base.point)
        return self._base

    # ------------------------------------------------------------------ beginning, and beginning again

    async def _run(self) -> None:
        retry_s = 0.0
        while True:
            await asyncio.sleep(retry_s)
            try:
                async with self._lock:
                    await self._begin()
                retry_s = 0.0
                while True:
                    await self._until_flush()
                    async with self._lock:
                        await self._flush()
            except TransactionFailed as failed:
                self.why = f"{self.name}: a transaction failed: {failed}"
                log.warning("transaction_failed", source=self.name, reason=str(failed), fenced=failed.fenced)
                retry_s = FENCED_WAIT_S if failed.fenced else RETRY_MIN_S
            except KafkaError as error:
                self.why = f"{self.name}: waiting for Kafka: {error!r}"
                log.warning("source_not_started", source=self.name, reason=repr(error))
                retry_s = min(max(2 * retry_s, RETRY_MIN_S), RETRY_MAX_S)
            self.reading.end()

    async def _begin(self) -> None:
        """Start a producer, which settles what came before; read on from what is then committed."""
        self.why = f"{self.name}: starting its transactions"
        await self.transactions.start()
        topic = self._settings.topics.journal
        partitions = await self.transactions.partitions(topic)
        if not self._settings.kafka.embedded:
            nothing = encode(Beat(source=self.name, at_ms=0, passed_ms=0))
            await self.transactions.settle([Message(topic, nothing, number) for number in range(partitions)])
        offset, note = await self._offsets.committed(self._base.place if self._base is not None else None)
        if not self._continues(offset, note):
            first = await self._offsets.beginning()
            position = first if offset is None else offset
            config, back_to = fold_config(self._settings, self.at.topic), max(position - REMEMBERED_RECORDS, first)
            fold = Fold(self.name, config, position=position, note=note, back_to=min(back_to, position))
            self._base = Committed(fold, fold.savepoint(), offset)
            self._journalist = None
        assert self._base is not None
        if self._journalist is None:
            self._journalist = Journalist(self.name, topic, partitions)
        self._base.fold.rollback(self._base.point)
        self.reading.begin(self._base.fold)
        self.why = ""

    def _continues(self, offset: int | None, note: str) -> bool:
        """
        Whether our state of the last commit, or of the transaction that was on its way, is what is committed.

        Otherwise somebody else has read on, or the offsets were set by hand.
        """
        pending, self._on_its_way = self._on_its_way, None
        if self._base is None:
            return False
        if pending is not None and (pending[1], pending[0].note) == (offset, note):
            self._confirm(self._base, *pending)
            return True
        if (self._base.offset, self._base.point.note) == (offset, note):
            return True
        log.info("read_by_others", source=self.name, ours=self._base.offset, committed=offset)
        return False

    # ------------------------------------------------------------------ flushing

    async def _until_flush(self) -> None:
        """
        Wait until a flush is due: ``flush_ms`` after the last one began, and at once for what comes after a silence.

        What decides is when events came, never what they say.
        """
        clock_s = asyncio.get_running_loop().time
        flush_s = self._settings.observe.flush_ms / 1000
        if self.reading.lag() > BEHIND_RECORDS:
            # What is late already is caught up sooner with fewer transactions.
            flush_s = max(flush_s, BEHIND_FLUSH_S)
        due_s = max(self._flushed_s + flush_s, clock_s() + REST_PART * flush_s)
        if not self.reading.has_some.is_set():
            await _within(self.reading.has_some, flush_s)
            due_s = max(due_s, clock_s() + GATHER_S)
        await _within(self.reading.is_full, due_s - clock_s())
        self._flushed_s = clock_s()

    async def _flush(self) -> None:
        """Write what was read since the last flush, and commit its offset, in one transaction."""
        base, journalist, is_at_end = self._base, self._journalist, await self.reading.is_at_end()
        assert base is not None
        assert journalist is not None
        fold = base.fold
        self.reading.fold()
        if is_at_end:
            fold.pass_gap()
        if not fold.is_due:
            return
        at_ms = now_ms()
        passed_ms = min((self.reading.heard_ms() if is_at_end else None) or fold.reached_ms, at_ms)
        flags, taken = fold.flush(at_ms), self.reading.cut()
        point = fold.savepoint()
        journalist = journalist.copy()
        messages = [
            *journalist.entries(flags, taken.offsets, at_ms, passed_ms),
            *dead_letters(self._settings.topics.dead_letters, taken.letters),
        ]
        if not messages:
            return
        self._on_its_way = point, taken.end
        await self.transactions.commit(messages, taken.end, point.note)
        await self._offsets.confirm((taken.end, point.note))
        self._on_its_way, self._journalist = None, journalist
        self._confirm(base, point, taken.end)
        self._complaints.tell(taken.letters)

    def _confirm(self, base: Committed, point: Savepoint, end: int) -> None:
        base.fold.confirm(point)
        count_events(self.at.topic, point.counts - base.point.counts)
        self._excess.tell(point.counts, base.fold.examples)
        base.point, base.offset = point, end


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, so long at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()


def fold_config(settings: Settings, topic: str) -> FoldConfig:
    """Return how a topic's partitions are folded."""
    return FoldConfig(
        bare=topic in settings.observe.bare_topics,
        duplicates_window=settings.observe.duplicates_window,
        future_tolerance_ms=settings.observe.future_tolerance_ms,
        unit_key=unit_key(settings.privacy.salt.get_secret_value()),
    )
