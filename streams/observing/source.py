"""
One input partition while it is ours: its events, its sums, its transactions.

The sums of the next flush are made while the transaction of the last one is
on its way. What a failed transaction held is read again: the fold goes back
to the last commit, and the consumer with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from guardian.names import Millis
from guardian.summaries import FlagSums
from streams.deadletters import DeadLetter
from streams.fold import Fold, FoldConfig, Savepoint
from streams.folding.wire import Record
from streams.observing.entries import BEAT_MS, Journalist, dead_letters
from streams.observing.metrics import count_events
from streams.observing.transactions import TransactionFailed, Transactions
from streams.settings import Settings
from streams.telemetry import DEAD_LETTERS

log = structlog.get_logger()

RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
FENCED_WAIT_S = 3.0
"""Somebody else took our partition over: the group must tell us within a few heartbeats. If it does not, it is ours."""
HEARD_MS = 5_000
"""Without an answer of the broker for so long, a source counts as not being read."""
STOP_S = 1.0


@dataclass(slots=True)
class Committed:
    """The state of the last commit, to which a failed transaction goes back; it survives a rebalance."""

    fold: Fold
    point: Savepoint
    offset: int


@dataclass(slots=True)
class _Flush:
    """One flush on its way: what it held, and the state behind it."""

    flags: list[FlagSums]
    letters: list[DeadLetter]
    offsets: list[int]
    point: Savepoint
    end: int


def now_ms() -> Millis:
    """Return the clock."""
    return time.time_ns() // 1_000_000


class Source:
    """
    Reads one input partition, from being assigned to being revoked.

    ``take`` is given what the consumer read; all else happens in the task
    that ``start`` begins.
    """

    def __init__(
        self, settings: Settings, group: str, consumer: AIOKafkaConsumer, at: TopicPartition, kept: Committed | None
    ) -> None:
        self.at = at
        self.name = f"{at.topic}/{at.partition}"
        self.transactions = Transactions(settings, group, at)
        self.why = "not started"
        self._settings = settings
        self._consumer = consumer
        self._kept = kept
        self._base: Committed | None = None
        self._journalist: Journalist | None = None
        self._letters: list[DeadLetter] = []
        self._first: int | None = None
        self._next = 0
        self._read_call = 0
        self._waiting = 0
        self._flushed_s = 0.0
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ reading

    @property
    def is_reading(self) -> bool:
        """Whether records are taken."""
        return self._base is not None

    @property
    def is_full(self) -> bool:
        """Whether so much waits for its transaction that reading should pause."""
        return self._waiting >= self._settings.observe.max_flush_records

    def take(self, records: Sequence[Record], call: int) -> None:
        """
        Take what read number ``call`` of the consumer returned.

        What does not continue where we are is left, and the consumer sent
        back there: records that were on their way while the position was set
        must neither be lost nor counted twice.
        """
        if self._base is None:
            return
        if call <= self._read_call or records[0].offset < self._next:
            self._seek(call)
            return
        self._letters += self._base.fold.take(records, now_ms())
        if self._first is None:
            self._first = records[0].offset
        self._next = records[-1].offset + 1
        self._waiting += len(records)
        if self.is_full:
            self._consumer.pause(self.at)

    def lag(self) -> int:
        """Return how many records are not yet read, as far as the broker has told."""
        end = self._end()
        return 0 if end is None else max(end - self._next, 0)

    def heard_ms(self) -> Millis | None:
        """Return when the broker last answered for this partition."""
        if self.at not in self._consumer.assignment():
            return None
        found: Millis | None = self._consumer.last_poll_timestamp(self.at)
        return found

    # ------------------------------------------------------------------ life

    def start(self, call: int) -> None:
        """Begin: fence earlier owners, find the committed offset, read from there, flush till stopped."""
        self._read_call = call
        self._consumer.pause(self.at)
        self._task = asyncio.create_task(self._run(), name=f"observe {self.name}")

    async def stop(self, *, flush: bool = False) -> Committed | None:
        """
        End, waiting for the open transaction no longer than one may take; return the state of the last commit.

        With ``flush``, what has been read goes out first.
        """
        base = None
        try:
            async with asyncio.timeout(self._settings.observe.stuck_after_s):
                async with self._lock:
                    if flush and self._base is not None:
                        await self._flush(self._base, final=True)
                    base, self._base = self._base, None
        except TimeoutError:
            log.warning("transaction_left_open", source=self.name)
        self._base = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self.transactions.stop(STOP_S)
        if base is not None:
            base.fold.rollback(base.point)
        return base

    async def _run(self) -> None:
        retry_s = 0.0
        while True:
            await asyncio.sleep(retry_s)
            try:
                async with self._lock:
                    await self._begin()
                retry_s = 0.0
                await self._flush_for_ever()
            except TransactionFailed as failed:
                self.why = f"{self.name}: transaction failed: {failed}"
                log.warning("transaction_failed", source=self.name, reason=str(failed), fenced=failed.fenced)
                retry_s = FENCED_WAIT_S if failed.fenced else max(retry_s, RETRY_MIN_S)
            except KafkaError as error:
                self.why = f"{self.name}: waiting for Kafka: {error!r}"
                log.warning("source_not_started", source=self.name, reason=repr(error))
                retry_s = min(max(2 * retry_s, RETRY_MIN_S), RETRY_MAX_S)

    async def _begin(self) -> None:
        """Start a producer, which settles what came before, and set reading to what is then committed."""
        self.why = f"{self.name}: starting its transactions"
        await self.transactions.start()
        offset, note = await self._committed()
        base = self._continued(offset)
        if base is None:
            position = await self._first_offset() if offset is None else offset
            fold = Fold(self.name, fold_config(self._settings, self.at.topic), position=position, note=note)
            base = Committed(fold, fold.savepoint(), position)
            self._journalist = None
            self._next = fold.read_from
        else:
            self._next = base.offset
        if self._journalist is None:
            topic = self._settings.topics.journal
            self._journalist = Journalist(self.name, topic, await self.transactions.partitions(topic))
        self._letters, self._first, self._waiting = [], None, 0
        self._kept, self._base = None, base
        self._seek(self._read_call)
        self._consumer.resume(self.at)
        self.why = ""

    def _continued(self, offset: int | None) -> Committed | None:
        """Return the state that we have of the committed offset, if any, rolled back to it."""
        kept = self._base or self._kept
        self._base = None
        if kept is None or offset is None and kept.point.note:
            return None
        if offset is not None and kept.offset != offset:
            log.info("read_by_others", source=self.name, kept=kept.offset, committed=offset)
            return None
        kept.fold.rollback(kept.point)
        return kept
