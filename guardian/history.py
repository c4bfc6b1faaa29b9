"""
The recent past of a rollout in one-second steps: for the numbers people read, never for the verdict.

A decision names the stretch in which the harm lives ("since 14:02:31"), not
the diluted totals of a long good history. The stretch is the one that speaks
loudest; that choice makes its numbers a description, not a test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from guardian.names import Millis
from guardian.population import Cell, Cells
from guardian.steps import Steps

STEP_MS = 1_000
STEPS_MAX = 120
COARSE = 30
COARSE_MAX = 30
RECENT_MS = 30_000
REACH_MS = (STEPS_MAX + COARSE * COARSE_MAX) * STEP_MS
"""How far back it reaches."""


class Stretch(msgspec.Struct, frozen=True):
    """Sums of a variation and of control over the same starts ``[from_ms, to_ms)``."""

    from_ms: Millis
    to_ms: Millis
    arm: Cell
    control: Cell


class History:
    """Sums per second of start time for the last two minutes, then by half minutes for a quarter of an hour."""

    __slots__ = ("coarse", "fine")

    def __init__(self) -> None:
        self.fine = Steps(STEPS_MAX)
        self.coarse = Steps(COARSE_MAX)

    def add(self, start_ms: Millis, variation: str, cell: Cell) -> None:
        """Add a tick's sums to the second in which it starts."""
        second = start_ms // STEP_MS
        if not self.fine.takes(second):
            self._add_coarse(second, variation, cell)
            return
        gone = self.fine.add(second, variation, cell)
        if gone is not None:
            for name, sums in gone[1].items():
                self._add_coarse(gone[0], name, sums)

    def _add_coarse(self, second: int, variation: str, cell: Cell) -> None:
        if self.coarse.takes(second // COARSE):
            self.coarse.add(second // COARSE, variation, cell)

    def at(self, second: int) -> Cells:
        """Return the sums of one second; of its half minute where it is no longer kept singly."""
        cells = self.fine.cells(second)
        if cells is None:
            cells = self.coarse.cells(second // COARSE)
        return cells or {}

    def add_to(self, cells: Iterable[tuple[str, Cell]], second: int) -> None:
        """Add what ``at`` returns of these variations to their cells."""
        steps, step = (self.fine, second) if self.fine.holds(second) else (self.coarse, second // COARSE)
        if steps.holds(step):
            for variation, cell in cells:
                steps.add_to(cell, step, variation)

    def steps(self) -> list[tuple[int, Cells]]:
        """Return all steps, latest first, each with the second in which it begins."""
        fine = [(second, self.fine.cells(second) or {}) for second in self.fine.numbers()]
        coarse = [(step * COARSE, self.coarse.cells(step) or {}) for step in self.coarse.numbers()]
        return sorted([*fine, *coarse], key=lambda step: -step[0])

    def failed_units(self, variation: str) -> float:
        """Return how many units failed for the first time under the variation, as far as the history reaches."""
        return self.fine.first(variation) + self.coarse.first(variation)

    def state(self) -> tuple[Any, Any]:
        """Return the history as plain values, the same for the same past."""
        return self.fine.state(), self.coarse.state()

    def restore(self, state: tuple[Any, Any]) -> None:
        """Take what ``state`` returned."""
        self.fine.restore(state[0])
        self.coarse.restore(state[1])

    def recent(self, from_ms: Millis, variation: str) -> Cell:
        """Return the variation's sums from ``from_ms`` on, half minutes as a whole where seconds are no longer kept."""
        second = from_ms // STEP_MS
        cell = self.fine.sum(second, variation)
        cell.add(self.coarse.sum(-(-second // COARSE), variation))
        return cell

    def since(self, from_ms: Millis, variation: str, control: str) -> Stretch:
        """Return both arms' sums from ``from_ms`` on, as in `recent`."""
        second = from_ms // STEP_MS
        last, before = self.fine.last_since(second), self.coarse.last_since(-(-second // COARSE))
        end = last + 1 if last >= 0 else before * COARSE + 1
        arm, base = self.recent(from_ms, variation), self.recent(from_ms, control)
        return Stretch(from_ms, max(end, second) * STEP_MS, arm, base)

    def onset(self, variation: str, control: str, bound: float | None) -> Stretch:
        """
        Return the latest stretch up to now in which the variation looks worst.

        Maximises the log likelihood ratio of "worse" against "the same" over
        all starting seconds: against control of the same seconds, or against
        ``bound`` where one is given.
        """
        best, best_gain = Stretch(0, 0, Cell(), Cell()), -1.0
        arm, base, end = Cell(), Cell(), 0
        for second, cells in self.steps():
            end = end or second + 1
            arm.add(cells.get(variation, _NOTHING))
            base.add(cells.get(control, _NOTHING))
            gain = _gain(arm, base, bound)
            if gain > best_gain:
                best, best_gain = Stretch(second * STEP_MS, end * STEP_MS, _copy(arm), _copy(base)), gain
        return best


_NOTHING = Cell()


def _copy(cell: Cell) -> Cell:
    return Cell(cell.exposures, cell.outcomes, cell.errors, cell.first)


def _gain(arm: Cell, base: Cell, bound: float | None) -> float:
    n_t, x_t, n_c, x_c = arm.outcomes, arm.first, base.outcomes, base.first
    if n_t <= 0:
        return -0.5
    p_t = x_t / n_t
    if bound is not None:
        return _log_likelihood(n_t, x_t, p_t) - _log_likelihood(n_t, x_t, bound) if p_t > bound else 0.0
    if n_c <= 0 or p_t <= x_c / n_c:
        return 0.0
    pooled = (x_t + x_c) / (n_t + n_c)
    apart = _log_likelihood(n_t, x_t, p_t) + _log_likelihood(n_c, x_c, x_c / n_c)
    return apart - _log_likelihood(n_t + n_c, x_t + x_c, pooled)


def _log_likelihood(n: float, x: float, p: float) -> float:
    total = 0.0
    if x > 0.0:
        total += x * math.log(max(p, 1e-300))
    if n > x:
        total += (n - x) * math.log(max(1.0 - p, 1e-300))
    return total
