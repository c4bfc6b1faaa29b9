"""Events that wait for the next flush, and the arms that they count for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

COUNTED, TIMED, BUCKETED, FRESH, REPORTED = (np.uint8(1 << bit) for bit in range(5))
"""
Marks of a pair. COUNTED: an outcome whose latency and measures count; TIMED: it has a wanted latency; BUCKETED: and the
histogram of it is wanted; FRESH: the unit was met for the first time; REPORTED: a person reported a problem.
"""

_OF_EVENTS = ("tick", "kind", "error", "weight", "latency_ms", "unit", "delay_ms", "company")
_OF_PAIRS = ("arm", "marks")
_OF_ROWS = ("column", "place")


@dataclass(slots=True, frozen=True)
class Pairs:
    """
    Pairs (event, arm), and rows: what pairs add to columns that only some flags have.

    ``event`` and ``arm`` have one entry a pair, and so have its ``marks``. A
    row belongs to the pair with the index ``pair``; ``column`` numbers the
    name of a score (then ``place`` is its position) or a bound that the
    latency is over (then it is 0).
    """

    event: Int64s
    arm: Int64s
    marks: Bytes
    pair: Int64s
    column: Int64s
    place: Int64s


@dataclass(slots=True, frozen=True)
class Chunk(Pairs):
    """
    Columns of events, and the pairs of each: a request under many flags is one event and many pairs.

    ``tick`` counts ticks since the epoch, ``kind`` is that of ``codecs``,
    ``unit`` is the hashed unit id (52 bits, 0 for none), ``delay_ms`` arrival
    minus start; ``latency_ms`` is NaN where there is none. ``company`` is
    that of the watched flags that an outcome ran under.
    """

    tick: Int64s
    kind: Int64s
    error: Bools
    weight: Int64s
    latency_ms: Floats
    unit: Int64s
    delay_ms: Int64s
    company: Int64s

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return self.arm.size

    def weight_of(self, pairs: Int64s | slice) -> Int64s | None:
        """Return the weight of each of these pairs; None where all weigh 1, as events mostly do: that is counted faster."""
        return None if (self.weight == 1).all() else self.weight[self.event[pairs]]

    def choose(self, pairs: Bools) -> Chunk:
        """Return the part with the pairs that the mask chooses; the columns of events are shared."""
        rows = pairs[self.pair]
        return replace(
            self, event=self.event[pairs], arm=self.arm[pairs], marks=self.marks[pairs],
            pair=(np.cumsum(pairs) - 1)[self.pair[rows]], column=self.column[rows], place=self.place[rows],
        )  # fmt: skip

    def compact(self) -> Chunk:
        """Return the same pairs without the events that none of them needs."""
        events, event = np.unique(self.event, return_inverse=True)
        needed: dict[str, Any] = {name: getattr(self, name)[events] for name in _OF_EVENTS}
        return replace(self, event=event, **needed)


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Return one chunk with the pairs of all, in their order."""
    if len(chunks) == 1:
        return chunks[0]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in (*_OF_EVENTS, *_OF_PAIRS, *_OF_ROWS)
    }
    events = np.cumsum([0, *[chunk.tick.size for chunk in chunks[:-1]]])
    pairs = np.cumsum([0, *[chunk.pairs for chunk in chunks[:-1]]])
    return Chunk(
        event=np.concatenate([chunk.event + before for chunk, before in zip(chunks, events, strict=True)]),
        pair=np.concatenate([chunk.pair + before for chunk, before in zip(chunks, pairs, strict=True)]),
        **columns,
    )


def spread(first: Int64s, count: Int64s) -> tuple[Int64s, Int64s]:
    """Return the numbers ``first`` to ``first + count`` of each entry, one after the other, and whose each one is."""
    owner = np.repeat(np.arange(count.size), count)
    within = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
    return owner, first[owner] + within
