"""
One input partition while it is ours: its events, its sums, its transactions.

The sums of the next flush are made while the transaction of the last one is
on its way. What a failed transaction held is read again: the fold goes back
to the last commit, and the consumer with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from guardian.names import Millis
from streams.deadletters import DeadLetter
from streams.fold import Counts, Fold, FoldConfig, Savepoint
from streams.folding.wire import Record
from streams.observing.entries import Journalist, dead_letters
from streams.observing.metrics import count_events
from streams.observing.transactions import TransactionFailed, Transactions
from streams.settings import Settings

log = structlog.get_logger()

RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
FENCED_WAIT_S = 3.0
"""Somebody else took our partition over: the group must tell us within a few heartbeats. If it does not, it is ours."""
STOP_S = 1.0
POSITION_S = 0.02
BEHIND_RECORDS, BEHIND_FLUSH_MS = 20_000, 200
BATCH_RECORDS = 4_000
"""Records folded at a stretch, some 15 ms of work."""


@dataclass(slots=True)
class Committed:
    """
    A fold and its state at the last commit, to which a failed transaction goes back; it survives a rebalance.

    ``offset`` is None as long as nothing was ever committed.
    """

    fold: Fold
    point: Savepoint
    offset: int | None


def now_ms() -> Millis:
    """Return the clock."""
    return time.time_ns() // 1_000_000


class Source:
    """
    Reads one input partition, from being assigned to being revoked.

    ``take`` is given what the consumer read; all else happens in the task
    that ``start`` begins. ``call`` returns the number of the consumer's
    read that is going on, or was the last.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        consumer: AIOKafkaConsumer,
        at: TopicPartition,
        *,
        call: Callable[[], int],
        kept: Committed | None = None,
    ) -> None:
        self.at = at
        self.name = f"{at.topic}/{at.partition}"
        self.transactions = Transactions(settings, group, at)
        self.why = f"{self.name}: not started"
        self._settings = settings
        self._consumer = consumer
        self._call = call
        self._set_at_call = 0
        self._base = kept
        self._is_reading = False
        self._on_its_way: tuple[Savepoint, int] | None = None
        self._journalist: Journalist | None = None
        self._letters: list[DeadLetter] = []
        self._unfolded: list[Record] = []
        self._arrivals: list[tuple[int, Millis]] = []
        self._first: int | None = None
        self._next = 0
        self._waiting = 0
        self._full = asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def take(self, records: Sequence[Record]) -> None:
        """
        Take what the consumer's last read returned.

        Records of a read that began before the position was last set, or that
        lie before it, are left, and the consumer is sent back: what was on its
        way meanwhile must neither be lost nor counted twice.
        """
        if not self._is_reading or self._base is None:
            return
        if self._call() <= self._set_at_call or records[0].offset < self._next:
            self._set_position()
            return
        if self._first is None:
            self._first = records[0].offset
        self._next = records[-1].offset + 1
        self._unfolded += records
        self._arrivals.append((len(records), now_ms()))
        self._waiting += len(records)
        if self._waiting >= self._settings.observe.max_flush_records:
            self._consumer.pause(self.at)
            self._full.set()

    @property
    def is_batch_full(self) -> bool:
        """Whether enough was taken to be folded at once, and not only with the next flush."""
        return len(self._unfolded) >= BATCH_RECORDS

    def fold(self) -> None:
        """Fold what was taken: in batches as large as a flush allows, since that is where the speed comes from."""
        if not self._unfolded or self._base is None:
            return
        fold = self._base.fold
        counts, times_ms = zip(*self._arrivals, strict=True)
        self._letters += fold.take(self._unfolded, np.repeat(np.array(times_ms, dtype=np.int64), counts))
        self._unfolded, self._arrivals = [], []

    def start(self) -> None:
        """Begin: fence earlier owners, find the committed offset, read from there, flush till stopped."""
        self._consumer.pause(self.at)
        self._task = asyncio.create_task(self._run(), name=f"observe {self.name}")

    async def stop(self, *, flush: bool = False) -> Committed | None:
        """
        End, waiting for the open transaction no longer than one may take; return the state of the last commit.

        With ``flush``, what has been read goes out first.
        """
        try:
            async with asyncio.timeout(self._settings.observe.stuck_after_s), self._lock:
                if flush and self._is_reading:
                    await self._flush()
                self._is_reading = False
        except (TimeoutError, TransactionFailed) as error:
            log.warning("transaction_left_open", source=self.name, reason=repr(error))
        self._is_reading = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self.transactions.stop(STOP_S)
        if self._base is not None:
            self._base.fold.rollback(self._base.point)
        return self._base

    # ------------------------------------------------------------------ what it says of itself

    @property
    def counts(self) -> Counts:
        """What became of the events that are committed, since we read this partition."""
        return self._base.point.counts if self._base is not None else Counts()

    def lag(self) -> int:
        """Return how many records are not yet read, as far as the broker has told."""
        end = self._end()
        return 0 if end is None or not self._is_reading else max(end - self._next, 0)

    def heard_ms(self) -> Millis | None:
        """Return when the broker last answered for this partition, None if never."""
        if self.at not in self._consumer.assignment():
            return None
        found: Millis | None = self._consumer.last_poll_timestamp(self.at)
        return found

    def _end(self) -> int | None:
        """Return the offset up to which could be read when the broker last answered."""
        if self.at not in self._consumer.assignment():
            return None
        stable: int | None = self._consumer.last_stable_offset(self.at)
        high: int | None = self._consumer.highwater(self.at)
        return high if stable is None or stable < 0 else stable

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
                self._is_reading = False
                self.why = f"{self.name}: a transaction failed: {failed}"
                log.warning("transaction_failed", source=self.name, reason=str(failed), fenced=failed.fenced)
                retry_s = FENCED_WAIT_S if failed.fenced else RETRY_MIN_S
            except KafkaError as error:
                self._is_reading = False
                self.why = f"{self.name}: waiting for Kafka: {error!r}"
                log.warning("source_not_started", source=self.name, reason=repr(error))
                retry_s = min(max(2 * retry_s, RETRY_MIN_S), RETRY_MAX_S)

    async def _begin(self) -> None:
        """Start a producer, which settles what came before; read on from what is then committed."""
        self.why = f"{self.name}: starting its transactions"
        await self.transactions.start()
        offset, note = await self._committed()
        if not self._continues(offset, note):
            position = await self._beginning() if offset is None else offset
            fold = Fold(self.name, fold_config(self._settings, self.at.topic), position=position, note=note)
            self._base = Committed(fold, fold.savepoint(), offset)
            self._journalist = None
        assert self._base is not None
        if self._journalist is None:
            topic = self._settings.topics.journal
            self._journalist = Journalist(self.name, topic, await self.transactions.partitions(topic))
        self._base.fold.rollback(self._base.point)
        self._next = self._base.fold.position
        self._letters, self._first, self._waiting = [], None, 0
        self._unfolded, self._arrivals = [], []
        self._set_position()
        self._consumer.resume(self.at)
        self._is_reading = True
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

    async def _committed(self) -> tuple[int | None, str]:
        # The public ``committed()`` leaves out what is written beside the offset.
        found: dict[TopicPartition, Any] = await self._consumer._coordinator.fetch_committed_offsets([self.at])
        if self.at not in found or found[self.at].offset < 0:
            return None, ""
        return found[self.at].offset, found[self.at].metadata or ""

    async def _beginning(self) -> int:
        first: dict[TopicPartition, int] = await self._consumer.beginning_offsets([self.at])
        return first[self.at]

    def _set_position(self) -> None:
        self._set_at_call = self._call()
        if self.at in self._consumer.assignment():
            self._consumer.seek(self.at, self._next)

    # ------------------------------------------------------------------ flushing

    async def _until_flush(self) -> None:
        flush_ms = self._settings.observe.flush_ms
        if self.lag() > BEHIND_RECORDS:
            # What is late already is caught up sooner with fewer transactions.
            flush_ms = max(flush_ms, BEHIND_FLUSH_MS)
        try:
            async with asyncio.timeout(flush_ms / 1000):
                await self._full.wait()
        except TimeoutError:
            pass  # the usual case: it is time, and there is room

    async def _flush(self) -> None:
        """Write what was read since the last flush, and commit its offset, in one transaction."""
        base, journalist, is_at_end = self._base, self._journalist, await self._is_at_end()
        assert base is not None
        assert journalist is not None
        fold = base.fold
        self.fold()
        if not fold.is_due:
            if not is_at_end:
                return
            fold.pass_gap()
            self._next = fold.position
        end = self._next
        at_ms = now_ms()
        passed_ms = min((self.heard_ms() if is_at_end else None) or fold.reached_ms, at_ms)
        flags, letters = fold.flush(at_ms), self._letters
        point = fold.savepoint()
        offsets = [] if self._first is None else [self._first, end - 1]
        self._letters, self._first, self._waiting = [], None, 0
        if self._full.is_set():
            self._full.clear()
            self._consumer.resume(self.at)
        journalist = journalist.copy()
        messages = [
            *journalist.entries(flags, offsets, at_ms, passed_ms),
            *dead_letters(self._settings.topics.dead_letters, letters),
        ]
        if not messages:
            return
        self._on_its_way = point, end
        await self.transactions.commit(messages, end, point.note)
        if self._settings.kafka.embedded:
            await self._commit_plainly(end, point.note)
        self._on_its_way, self._journalist = None, journalist
        self._confirm(base, point, end)
        for letter in letters:
            log.warning("event_not_readable", **asdict(letter.origin), reason=letter.reason)

    async def _commit_plainly(self, end: int, note: str) -> None:
        """Commit the offset once more: the embedded broker forgets those that come in transactions."""
        try:
            await self._consumer.commit({self.at: OffsetAndMetadata(end, note)})
        except KafkaError as error:
            log.warning("offset_not_committed", source=self.name, reason=repr(error))

    def _confirm(self, base: Committed, point: Savepoint, end: int) -> None:
        base.fold.confirm(point)
        count_events(self.at.topic, point.counts - base.point.counts)
        base.point, base.offset = point, end

    async def _is_at_end(self) -> bool:
        """Whether all is read that could be read when the broker last answered."""
        end = self._end()
        if end is None:
            return False
        if self._next >= end:
            return True
        # Markers of the producers' transactions have offsets too, but are no records.
        try:
            async with asyncio.timeout(POSITION_S):
                position: int = await self._consumer.position(self.at)
        except (TimeoutError, KafkaError):
            return False
        return position >= end


def fold_config(settings: Settings, topic: str) -> FoldConfig:
    """Return how a topic's partitions are folded."""
    return FoldConfig(
        bare=topic in settings.observe.bare_topics,
        duplicates_window=settings.observe.duplicates_window,
        future_tolerance_ms=settings.observe.future_tolerance_ms,
    )
