"""
Where one input partition has been read to, and what of it waits for the next flush.

The consumer's position and ours must agree whatever happens in between: a
rebalance, a failed transaction, records that were on their way meanwhile.
"""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from guardian.names import Millis
from streams.clock import now_ms
from streams.deadletters import DeadLetter
from streams.fold import Fold
from streams.folding.wire import Record
from streams.observing.behind import Behind
from streams.observing.plans import Plans

BATCH_RECORDS, BATCH_BYTES = 8_000, 2**22
"""Records folded at a stretch, some 20 ms of work; only who is behind has so many at once, or whose records are huge."""
WAITING_BYTES_MAX = 2**24
"""So many bytes of records may wait for one flush: they may all be dead letters, and then stand in its transaction."""
SAMPLE = 32
POSITION_S = 0.02
_value_of = operator.attrgetter("value")


@dataclass(frozen=True, slots=True)
class Taken:
    """What was read for one flush: first and last offset (or none), the offset behind it, and what could not be read."""

    offsets: list[int]
    end: int
    letters: list[DeadLetter]


class Reading:
    """
    Takes what the consumer read of one partition, and folds it by the plans of that moment.

    ``call`` returns the number of the consumer's read that is going on, or
    was the last. ``has_some`` is set while anything waits for a flush,
    ``is_full`` when so much does that reading pauses.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, at: TopicPartition, plans: Plans, waiting_max: int, call: Callable[[], int]
    ) -> None:
        self.has_some = asyncio.Event()
        self.is_full = asyncio.Event()
        self._consumer = consumer
        self._at = at
        self._plans = plans
        self._waiting_max = waiting_max
        self._call = call
        self._set_at_call = 0
        self._fold: Fold | None = None
        self._next = 0
        self._unfolded: list[Record] = []
        self._arrivals: list[tuple[int, Millis]] = []
        self._letters: list[DeadLetter] = []
        self._behind = Behind()
        self._first: int | None = None
        self._waiting = 0
        self._waiting_bytes = self._unfolded_bytes = 0

    def begin(self, fold: Fold) -> None:
        """Read on where the fold is, into the fold."""
        self._fold = fold
        self._next = fold.position
        self._clear()
        self._set_position()
        self.is_full.clear()
        self._consumer.resume(self._at)

    def end(self) -> None:
        """Take nothing more."""
        self._fold = None

    def pause(self) -> None:
        """Let the consumer leave the partition alone until reading begins."""
        self._consumer.pause(self._at)

    def take(self, records: Sequence[Record]) -> None:
        """
        Take what the consumer's last read returned.

        Records of a read that began before the position was last set, or that
        lie before it, are left, and the consumer is sent back: what was on its
        way meanwhile must neither be lost nor counted twice.
        """
        if self._fold is None:
            return
        if self._call() <= self._set_at_call or records[0].offset < self._next:
            self._set_position()
            return
        if self._first is None:
            self._first = records[0].offset
        # Offsets may have gaps: markers of transactions, and what compaction took away.
        self._next = records[-1].offset + 1
        self._unfolded += records
        self._arrivals.append((len(records), now_ms()))
        self._waiting += len(records)
        size = _size(records, self._waiting)
        self._waiting_bytes += size
        self._unfolded_bytes += size
        self.has_some.set()
        if self._waiting >= self._waiting_max or self._waiting_bytes >= WAITING_BYTES_MAX:
            self._consumer.pause(self._at)
            self.is_full.set()

    @property
    def position(self) -> int | None:
        """Where reading goes on; None while nothing is to be read: it has not begun, or so much waits that it pauses."""
        return None if self._fold is None or self.is_full.is_set() else self._next

    @property
    def is_batch_full(self) -> bool:
        """Whether enough was taken to be folded at once, and not only with the next flush."""
        return len(self._unfolded) >= BATCH_RECORDS or self._unfolded_bytes >= BATCH_BYTES

    def fold(self) -> None:
        """Fold what was taken: in batches as large as a flush allows, since that is where the speed comes from."""
        if self._unfolded and self._fold is not None:
            if self._fold.plans is not self._plans.now:
                self._fold.plans = self._plans.now
            if self._fold.known is not self._plans.known:
                self._fold.known = self._plans.known
            if self._fold.proofs is not self._plans.proofs:
                self._fold.proofs = self._plans.proofs
            counts, times_ms = zip(*self._arrivals, strict=True)
            self._letters += self._fold.take(self._unfolded, np.repeat(np.array(times_ms, dtype=np.int64), counts))
            self._unfolded, self._arrivals, self._unfolded_bytes = [], [], 0

    def cut(self) -> Taken:
        """Return what was taken since the last cut, all of it folded, and make room."""
        assert self._fold is not None
        # The fold knows of gaps that no record has told of.
        self._next = max(self._next, self._fold.position)
        offsets = [] if self._first is None else [self._first, self._next - 1]
        taken = Taken(offsets, self._next, self._letters)
        self._clear()
        if self.is_full.is_set():
            self.is_full.clear()
            self._consumer.resume(self._at)
        return taken

    async def is_at_end(self) -> bool:
        """Whether all is read that could be read when the broker last answered."""
        end = self._readable()
        if end is None:
            return False
        if self._next >= end:
            return True
        # Markers of the producers' transactions have offsets too, but are no records.
        try:
            async with asyncio.timeout(POSITION_S):
                position: int = await self._consumer.position(self._at)
        except (TimeoutError, KafkaError):
            return False
        return position >= end

    def lag(self) -> int:
        """Return how many records are not yet read, as far as the broker has told."""
        end = self._readable()
        return 0 if end is None or self._fold is None else max(end - self._next, 0)

    def behind_s(self) -> float:
        """Return for how long what is read next has waited to be read, in seconds; at least, where that began before us."""
        end = self._readable()
        if end is None or self._fold is None:
            return 0.0
        now_s = time.monotonic()
        self._behind.saw(end, now_s)
        return self._behind.seconds(self._next, now_s)

    def heard_ms(self) -> Millis | None:
        """Return when the broker last answered for this partition, None if never."""
        if self._at not in self._consumer.assignment():
            return None
        found: Millis | None = self._consumer.last_poll_timestamp(self._at)
        return found

    def _readable(self) -> int | None:
        """Return the offset up to which could be read when the broker last answered."""
        if self._at not in self._consumer.assignment():
            return None
        stable: int | None = self._consumer.last_stable_offset(self._at)
        high: int | None = self._consumer.highwater(self._at)
        return high if stable is None or stable < 0 else stable

    def _set_position(self) -> None:
        self._set_at_call = self._call()
        if self._at in self._consumer.assignment():
            self._consumer.seek(self._at, self._next)

    def _clear(self) -> None:
        self._unfolded, self._arrivals, self._letters = [], [], []
        self._first, self._waiting = None, 0
        self._waiting_bytes = self._unfolded_bytes = 0
        self.has_some.clear()


def _size(records: Sequence[Record], before: int) -> int:
    """
    Return about how many bytes records have, of which so many others came *before*.

    Headers are looked at in one of ``SAMPLE``, which stands for all: to count them would cost as much as a fifth of the fold.
    """
    size = sum(map(len, filter(None, map(_value_of, records))))
    some = records[before % SAMPLE :: SAMPLE]
    return size + SAMPLE * sum(len(name) + len(content or b"") for one in some for name, content in one.headers or ())
