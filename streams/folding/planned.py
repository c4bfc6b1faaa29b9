"""
What plans want of the events: which of them count for it, and for which arms.

A heavy user's requests are not independent of each other: for latencies and
measures, a unit's outcomes count once per ten seconds of start time under the
same flags, the first one that this source meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from guardian.plan import Plan
from streams.codecs import FEEDBACK, OUTCOME
from streams.folding import wanted as wish
from streams.folding.chunk import BUCKETED, COUNTED, FRESH, REPORTED, TIMED, Bools, Chunk, Pairs
from streams.folding.columns import Batch
from streams.folding.details import REPORT, SAID, Details
from streams.folding.memory import Memory
from streams.folding.names import Names, Settings
from streams.folding.parts import Parts
from streams.folding.rows import with_rows
from streams.folding.wanted import Wanted

Int64s = npt.NDArray[np.int64]

ONCE_MS = 10_000
"""Within so long of start time, aligned to the epoch, a unit's outcomes count once."""
ONCE_MAX = 32_768
"""Units of ten seconds remembered, to twice as many; beyond, the older ones count again."""
FRESH_MAX = 256
"""When a flush holds more fresh units of a flag, half as many are told from then on."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_REPORT = SAID.index(REPORT)
_NO_ROWS: Int64s = np.zeros(0, dtype=np.int64)


class Planned:
    """
    Remembers, for about ``capacity`` each, which (unit, flags, ten seconds) have counted, and which (flag, unit) are met.

    Beyond that the older ones are forgotten: such a unit counts again, or is
    fresh again. All of it can be taken back to a mark.
    """

    def __init__(self, capacity: int) -> None:
        # Each memory keeps two generations. Ten seconds of a partition fit a table that fits the processor's cache.
        self._once = Memory(min(capacity // 2, ONCE_MAX))
        self._met = Memory(capacity // 2, refresh=True)
        self._shifts: dict[str, int] = {}
        self._parts = Parts()
        self.follow({})

    def follow(self, plans: Mapping[str, Plan]) -> None:
        """From now on, these are the plans."""
        self.plans = plans
        self.details = Details(plans)
        self._wanted: Wanted | None = None
        self._parts.forget_arms()

    def pairs(self, batch: Batch, settings: Settings, start_ms: Int64s, event: Int64s, arm: Int64s) -> Pairs:
        """Return the pairs of a batch, those of segments behind them, with all that is wanted of them."""
        names = settings.names
        has_feedback = bool((batch.kind == FEEDBACK).any())
        if not self.plans:
            return _plain(*(_chosen(batch.kind[event] != FEEDBACK, event, arm) if has_feedback else (event, arm)))
        wanted = self._wanted_of(names)
        wishes = wanted.wishes[names.flag_of_arm[arm]]
        if has_feedback:
            bit = wish.SAID_BIT + batch.said[event]
            heard = (batch.kind[event] != FEEDBACK) | (wishes >> bit & 1 != 0)
            event, arm, wishes = _chosen(heard, event, arm, wishes)
        if not wishes.any():
            return _plain(event, arm)
        marks = self._marks(batch, settings, start_ms, event, arm, wishes)
        told = np.flatnonzero((wishes & wish.PARTS != 0) & (batch.detail[event] >= 0))
        at, part = self._parts.of(wanted, self.details, batch.detail[event[told]], arm[told])
        event, arm = np.concatenate((event, event[told[at]])), np.concatenate((arm, part))
        marks = np.concatenate((marks, marks[told[at]] & ~FRESH))
        return with_rows(replace(_plain(event, arm), marks=marks), batch, wanted)

    def _wanted_of(self, names: Names) -> Wanted:
        if self._wanted is None or self._wanted.names is not names:
            self._wanted = Wanted(names, self.plans)
            self._parts.forget_arms()
        self._wanted.grow()
        return self._wanted

    def _marks(
        self, batch: Batch, settings: Settings, start_ms: Int64s, event: Int64s, arm: Int64s, wishes: Int64s
    ) -> npt.NDArray[np.uint8]:
        marks = np.zeros(arm.size, dtype=np.uint8)
        kind = batch.kind[event]
        counted = np.flatnonzero((kind == OUTCOME) & (wishes & (wish.TIMES | wish.MEASURES) != 0))
        counted = counted[~self._again(batch, settings, start_ms, event[counted])[event[counted]]]
        marks[counted] = COUNTED
        timed = counted[(wishes[counted] & wish.TIMES != 0) & ~np.isnan(batch.latency_ms[event[counted]])]
        marks[timed] |= TIMED
        marks[timed[wishes[timed] & wish.BUCKETS != 0]] |= BUCKETED
        fresh = np.flatnonzero((wishes & wish.FRESH != 0) & (kind != FEEDBACK))
        met = fresh[batch.unit[event[fresh]] != 0]
        names = settings.names
        _, new = self._met.meet(batch.unit[event[met]] ^ names.flag_hash[names.flag_of_arm[arm[met]]])
        marks[met[new]] |= FRESH
        marks[batch.said[event] == _REPORT] |= REPORTED
        return marks

    def _again(self, batch: Batch, settings: Settings, start_ms: Int64s, counted: Int64s) -> Bools:
        """Return, by event, whether its unit has counted under the same flags in the same ten seconds."""
        named = np.zeros(len(batch), dtype=np.bool_)
        named[counted] = True
        at = np.flatnonzero(named & (batch.unit != 0))
        window = (start_ms[at] // ONCE_MS).astype(np.uint64)
        _, first = self._once.meet(batch.unit[at] ^ settings.under[batch.setting[at]] ^ window * _SPREAD)
        again = np.zeros(len(batch), dtype=np.bool_)
        again[at[~first]] = True
        return again

    def thin(self, chunk: Chunk, names: Names) -> tuple[Chunk, Int64s]:
        """
        Return the chunk with those fresh units that are told, and by the flag's number the shift that chose them.

        Where they are many, fewer are told from the next flush on.
        """
        shifts = np.zeros(names.flag_hash.size, dtype=np.int64)
        pairs = np.flatnonzero(chunk.marks & FRESH)
        if not pairs.size:
            return chunk, shifts
        flag = names.flag_of_arm[chunk.arm[pairs]]
        for number in np.unique(flag).tolist():
            shifts[number] = self._shifts.get(names.flag_keys[number], 0)
        told = chunk.unit[chunk.event[pairs]] & (1 << shifts[flag]) - 1 == 0
        marks = chunk.marks.copy()
        marks[pairs[~told]] &= ~FRESH
        for number in np.flatnonzero(np.bincount(flag[told]) > FRESH_MAX).tolist():
            self._shifts[names.flag_keys[number]] = int(shifts[number]) + 1
        return replace(chunk, marks=marks), shifts

    def mark(self) -> tuple[int, int, int, dict[str, int]]:
        """Return a mark of what is remembered now."""
        return self._once.mark(), self._met.mark(), self._parts.mark(), dict(self._shifts)

    def confirm(self, mark: tuple[int, int, int, Any]) -> None:
        """Give up the possibility to go back behind ``mark``."""
        self._once.confirm(mark[0])
        self._met.confirm(mark[1])
        self._parts.confirm(mark[2])

    def undo(self, mark: tuple[int, int, int, dict[str, int]]) -> None:
        """Go back to ``mark``; the plans stay."""
        self._once.undo(mark[0])
        self._met.undo(mark[1])
        self._parts.undo(mark[2])
        self._shifts = dict(mark[3])


def _plain(event: Int64s, arm: Int64s) -> Pairs:
    return Pairs(event, arm, np.zeros(arm.size, dtype=np.uint8), _NO_ROWS, _NO_ROWS, _NO_ROWS)


def _chosen(mask: Bools, *columns: Int64s) -> tuple[Int64s, ...]:
    return tuple(column[mask] for column in columns)
