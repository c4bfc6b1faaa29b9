"""The plans of flags as columns, by the flag's number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from guardian.plan import MEASURE, NO_PLAN, Plan
from streams.folding import chunk
from streams.folding.chunk import spread
from streams.folding.column import Column
from streams.folding.details import REPORT, SAID
from streams.folding.names import Names

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TIMES, BUCKETS, BOUNDS, MEASURES, PARTS, FRESH = (1 << bit for bit in range(6))
"""What a plan wants, as bits; then follows one for each kind of feedback, in the order of ``details.SAID``."""
SAID_BIT = 6


class Lists:
    """A short list for each flag, in one array: the flag's are entries ``first`` to ``first + count``."""

    def __init__(self) -> None:
        self._first, self._count = Column(np.int64), Column(np.int64)
        self._entries = 0

    def append(self, count: int) -> None:
        """Give the next flag the next so many entries."""
        self._first.append(self._entries)
        self._count.append(count)
        self._entries += count

    def __len__(self) -> int:
        return self._entries

    def of(self, flag: Int64s) -> tuple[Int64s, Int64s]:
        """Return the entries of these flags, one after the other: the place in ``flag`` and the entry of each."""
        return spread(self._first.array[flag], self._count.array[flag])


class Wanted:
    """
    What the plans want, for the flags that have a number so far; ``grow`` takes in those that came since.

    ``bounds`` lists bounds of latencies, ``ranges`` measures with the range of
    their scores. ``column`` is the number of ``Names.columns`` in which an
    entry is summed.
    """

    def __init__(self, names: Names, plans: Mapping[str, Plan]) -> None:
        self.names = names
        self._plans = plans
        self._wishes, self._marks = Column(np.int64), Column(np.uint8)
        self.bounds, self._bound_us, self._bound_column = Lists(), Column(np.int64), Column(np.int64)
        self.ranges, self._measure, self._range_column = Lists(), Column(np.int64), Column(np.int64)
        self._low, self._high = Column(np.float64), Column(np.float64)
        self.measures: dict[str, int] = {}
        self.said_column = np.array([names.column(name) for name in SAID])
        self.grow()

    def grow(self) -> None:
        """Take in flags that were numbered since."""
        for key in self.names.flag_keys[len(self._wishes) :]:
            plan = self._plans.get(key, NO_PLAN)
            wishes = _wishes(plan)
            self._wishes.append(wishes)
            self._marks.append(_marks(wishes))
            self._add_bounds(sorted(set(plan.over_us)))
            self._add_ranges([name for name in sorted(plan.scores) if name.startswith(MEASURE)], plan)

    def _add_bounds(self, bounds_us: Sequence[int]) -> None:
        self.bounds.append(len(bounds_us))
        self._bound_us.append(*bounds_us)
        self._bound_column.append(*map(self.names.column, bounds_us))

    def _add_ranges(self, names: Sequence[str], plan: Plan) -> None:
        self.ranges.append(len(names))
        for name in names:
            low, high = plan.scores[name]
            self._measure.append(self.measures.setdefault(name.removeprefix(MEASURE), len(self.measures)))
            self._low.append(low)
            self._high.append(high)
            self._range_column.append(self.names.column(name))

    def plan(self, flag: int) -> Plan:
        """Return the plan of a flag."""
        return self._plans.get(self.names.flag_keys[flag], NO_PLAN)

    @property
    def wishes(self) -> Int64s:
        """What is wanted of each flag."""
        return self._wishes.array

    @property
    def marks(self) -> chunk.Bytes:
        """The marks that pairs of each flag may have."""
        return self._marks.array

    def bound(self, entry: Int64s) -> tuple[Int64s, Int64s]:
        """Return the microseconds of bounds, and the column of each."""
        return self._bound_us.array[entry], self._bound_column.array[entry]

    def measure(self, entry: Int64s) -> Int64s:
        """Return the number (in ``measures``) of the measure of each of these ranges."""
        return self._measure.array[entry]

    def range(self, entry: Int64s) -> tuple[Floats, Floats, Int64s]:
        """Return the lowest and the highest score of ranges, and the column of each."""
        return self._low.array[entry], self._high.array[entry], self._range_column.array[entry]


def _wishes(plan: Plan) -> int:
    wishes = {
        TIMES: plan.latency or plan.over_us,
        BUCKETS: plan.latency,
        BOUNDS: plan.over_us,
        MEASURES: any(name.startswith(MEASURE) for name in plan.scores),
        PARTS: plan.segments or plan.cuts,
        FRESH: plan.fresh,
    }
    for number, name in enumerate(SAID):
        wishes[1 << SAID_BIT + number] = plan.reports if name == REPORT else name in plan.scores
    return sum(bit for bit, is_wanted in wishes.items() if is_wanted)


_MARKS = {
    TIMES: chunk.COUNTED | chunk.TIMED,
    BUCKETS: chunk.BUCKETED,
    MEASURES: chunk.COUNTED,
    FRESH: chunk.FRESH,
    1 << SAID_BIT + SAID.index(REPORT): chunk.REPORTED,
}


def _marks(wishes: int) -> int:
    marks = 0
    for wish, mark in _MARKS.items():
        marks |= int(mark) if wishes & wish else 0
    return marks
