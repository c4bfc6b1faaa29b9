"""
What plans want of the events: which of them count for it, and for which arms.

A heavy user's requests are not independent of each other: for latencies and
measures, a unit's outcomes count once per ten seconds of start time under the
same flags and variations, the first one that this source meets.
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
from streams.folding.chunk import BUCKETED, COUNTED, FRESH, REPORTED, TIMED, Bools, Bytes, Chunk, Pairs
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

    def again(self, batch: Batch, settings: Settings, start_ms: Int64s, event: Int64s, arm: Int64s) -> Bools | None:
        """
        Return which outcomes of a batch repeat one of their unit under the same flags and variations in the same ten seconds.

        ``event`` and ``arm`` are its pairs. Only outcomes under flags whose plans ask for it are looked up: None if none is.
        """
        if not self.plans:
            return None
        counted = self._wanted_of(settings.names).marks[settings.names.flag_of_arm[arm]] & COUNTED != 0
        if not counted.any():
            return None
        asked: Bools = (batch.kind == OUTCOME) & (batch.unit != 0)
        if not counted.all():
            wanted = np.zeros(len(batch), dtype=np.bool_)
            wanted[event[counted]] = True
            asked &= wanted
        at = np.flatnonzero(asked)
        window = (start_ms[at] // ONCE_MS).astype(np.uint64)
        again = np.zeros(len(batch), dtype=np.bool_)
        _, new = self._once.meet(batch.unit[at] ^ settings.under[batch.setting[at]] ^ window * _SPREAD)
        again[at[~new]] = True
        return again

    def pairs(self, batch: Batch, settings: Settings, event: Int64s, arm: Int64s, again: Bools | None) -> Pairs:
        """Return the pairs of a batch, those of segments behind them, with all that is wanted of them."""
        names = settings.names
        has_feedback = bool((batch.kind == FEEDBACK).any())
        if not self.plans:
            return _plain(*(_chosen(batch.kind[event] != FEEDBACK, event, arm) if has_feedback else (event, arm)))
        wanted = self._wanted_of(names)
        flag = names.flag_of_arm[arm]
        if has_feedback:
            bit = wish.SAID_BIT + batch.said[event]
            heard = (batch.kind[event] != FEEDBACK) | (wanted.wishes[flag] >> bit & 1 != 0)
            event, arm, flag = _chosen(heard, event, arm, flag)
        allowed = wanted.marks[flag]
        has_parts = bool((wanted.wishes & wish.PARTS).any())
        if not (has_parts or has_feedback or allowed.any()):
            return _plain(event, arm)
        marks = self._marks(batch, names, event, flag, allowed, again)
        if has_parts:
            told = np.flatnonzero((wanted.wishes[flag] & wish.PARTS != 0) & (batch.detail[event] >= 0))
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
        self, batch: Batch, names: Names, event: Int64s, flag: Int64s, allowed: Bytes, again: Bools | None
    ) -> Bytes:
        """Return the marks of pairs: those that their flags may have, as far as their events have them."""
        has = np.zeros(len(batch), dtype=np.uint8)
        has[batch.said == _REPORT] = REPORTED
        if again is not None:
            first = (batch.kind == OUTCOME) & ~again
            has[first] = COUNTED
            has[first & ~np.isnan(batch.latency_ms)] |= TIMED | BUCKETED
        marks: Bytes = allowed & has[event]
        fresh = np.flatnonzero(allowed & FRESH)
        if fresh.size:
            met = fresh[(batch.unit[event[fresh]] != 0) & (batch.kind[event[fresh]] != FEEDBACK)]
            _, new = self._met.meet(batch.unit[event[met]] ^ names.flag_hash[flag[met]])
            marks[met[new]] |= FRESH
        return marks

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
