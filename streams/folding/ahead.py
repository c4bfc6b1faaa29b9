"""
What has been taken for flushes to come.

A flush of few events costs what numpy takes for each call. Where events need not be waited for, those of many flushes
are taken together, and cut here by flush.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from streams.folding.chunk import Chunk, Int64s, Pairs
from streams.folding.sights import Told


@dataclass(slots=True)
class Part:
    """What waits for one flush: pairs to be summed, and what is to be told with the sums."""

    chunks: list[Chunk] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)


class Ahead:
    """Parts by flush; flushes are numbered from the next one on, which is 0."""

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}
        self._now = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._parts

    def put(self, chunk: Chunk, flush: Int64s) -> None:
        """Let the events of a chunk wait, each for its flush; ``flush`` never falls."""
        for number, part in cut(chunk, flush):
            self._part(number).chunks.append(part)

    def tell(self, told: Iterable[Told], flush: Int64s) -> None:
        """Let this wait; ``flush`` has an entry for each of the pairs that were seen."""
        for one in told:
            self._part(int(flush[one.at])).told.append(one)

    def _part(self, number: int) -> Part:
        return self._parts.setdefault(self._now + number, Part())

    def next(self) -> Part:
        """Return what waits for the next flush; the one after it is then the next."""
        part = self._parts.pop(self._now, None)
        self._now += 1
        return part or Part()


def cut(chunk: Chunk, flush: Int64s) -> Iterator[tuple[int, Chunk]]:
    """Yield the flushes that events of a chunk are for, with its part; pairs and rows keep their order there."""
    of_pair = flush[chunk.event]
    of_row = of_pair[chunk.pair]
    # Pairs of segments, and rows of one kind after the other, stand behind those of all events.
    by_flush, rows = np.argsort(of_pair, kind="stable"), np.argsort(of_row, kind="stable")
    place = np.empty(by_flush.size, dtype=np.int64)
    place[by_flush] = np.arange(by_flush.size)
    pairs = Pairs(
        event=chunk.event[by_flush], arm=chunk.arm[by_flush], marks=chunk.marks[by_flush],
        pair=place[chunk.pair[rows]], column=chunk.column[rows], place=chunk.place[rows],
    )  # fmt: skip
    numbers, first = np.unique(flush, return_index=True)
    starts = (np.searchsorted(of, numbers) for of in (of_pair[by_flush], of_row[rows]))
    bounds = np.column_stack((first, *starts)).tolist()
    for number, begin, end in zip(numbers.tolist(), bounds, [*bounds[1:], (None, None, None)], strict=True):
        yield number, _part(chunk, pairs, *map(slice, begin, end))


def _part(chunk: Chunk, pairs: Pairs, e: slice, p: slice, r: slice) -> Chunk:
    """Return the part with these events, pairs and rows."""
    return Chunk(
        tick=chunk.tick[e], kind=chunk.kind[e], error=chunk.error[e], weight=chunk.weight[e],
        latency_ms=chunk.latency_ms[e], unit=chunk.unit[e], delay_ms=chunk.delay_ms[e], company=chunk.company[e],
        event=pairs.event[p] - e.start, arm=pairs.arm[p], marks=pairs.marks[p],
        pair=pairs.pair[r] - p.start, column=pairs.column[r], place=pairs.place[r],
    )  # fmt: skip
