"""Sums per step of time in little memory: what a rollout's history is made of."""

from __future__ import annotations

from array import array
from typing import Any

from guardian.population import Cell, Cells

_NONE = -1
_FIELDS = 4


class Steps:
    """
    Sums of each variation in so many numbered steps of time; a step takes the place of the one ``size`` before it.

    A variation takes 16 bytes a step from the first on, whatever comes. Counts are exact up to 16 million a step.
    """

    __slots__ = ("_arms", "_held", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._held = array("q", [_NONE]) * size
        self._arms: dict[str, array[float]] = {}

    def takes(self, step: int) -> bool:
        """Say whether the step is there, or newer than what is in its place."""
        return self._held[step % self.size] <= step

    def add(self, step: int, variation: str, cell: Cell) -> tuple[int, Cells] | None:
        """Add to a step that it ``takes``; return the step, and its sums, that had to make room."""
        at = step % self.size
        gone = None
        if self._held[at] != step:
            gone = self._clear(at)
            self._held[at] = step
        row = self._arms.get(variation)
        if row is None:
            row = array("f", [0.0]) * (_FIELDS * self.size)
            # By name, so that the order never tells who came first: a restored state does not know.
            self._arms = dict(sorted({**self._arms, variation: row}.items()))
        first = _FIELDS * at
        row[first] += cell.exposures
        row[first + 1] += cell.outcomes
        row[first + 2] += cell.errors
        row[first + 3] += cell.first
        return gone

    def _clear(self, at: int) -> tuple[int, Cells] | None:
        held = self._held[at]
        gone = None if held == _NONE else (held, self._cells(at))
        for row in self._arms.values():
            row[_FIELDS * at : _FIELDS * (at + 1)] = array("f", [0.0] * _FIELDS)
        return gone

    def numbers(self) -> list[int]:
        """Return the numbers of the steps that are there, latest first."""
        return sorted((step for step in self._held if step != _NONE), reverse=True)

    def cells(self, step: int) -> Cells | None:
        """Return the sums of a step by variation; None if it is not there."""
        at = step % self.size
        return self._cells(at) if self._held[at] == step else None

    def starts(self, step: int, variation: str, by_exposures: bool) -> int:
        """Return how many starts of the variation are known in a step that is there."""
        row = self._arms.get(variation)
        return 0 if row is None else int(row[_FIELDS * (step % self.size) + (not by_exposures)])

    def sum(self, from_step: int, variation: str) -> tuple[Cell, int]:
        """Return the variation's sums from a step on, and the latest of these steps, whoever is in it; -1 if there is none."""
        row, held, newest = self._arms.get(variation), self._held, max(self._held)
        if newest < max(from_step, 0):
            return Cell(), _NONE
        if row is None:
            return Cell(), newest
        # No other places can hold what is asked for; in the order in which they lie.
        begin, end = max(from_step, newest - self.size + 1, 0) % self.size, newest % self.size + 1
        places = range(begin, end) if begin < end else (*range(end), *range(begin, self.size))
        exposures = outcomes = errors = first = 0.0
        for at in places:
            if held[at] >= from_step:
                at_row = _FIELDS * at
                exposures += row[at_row]
                outcomes += row[at_row + 1]
                errors += row[at_row + 2]
                first += row[at_row + 3]
        return Cell(int(exposures), int(outcomes), int(errors), first), newest

    def first(self, variation: str) -> float:
        """Return the first failures of the variation over all steps."""
        row = self._arms.get(variation)
        return 0.0 if row is None else sum(row[_FIELDS - 1 :: _FIELDS])

    def _cells(self, at: int) -> Cells:
        found: Cells = {}
        for variation, row in self._arms.items():
            exposures, outcomes, errors, first = row[_FIELDS * at : _FIELDS * (at + 1)]
            if exposures or outcomes or errors or first:
                found[variation] = Cell(int(exposures), int(outcomes), int(errors), first)
        return found

    def state(self) -> tuple[list[str], list[list[float]]]:
        """Return names of variations, and of each step its number and four sums a variation; the same for the same past."""
        names = list(self._arms)
        rows = []
        for at, step in enumerate(self._held):
            if step != _NONE:
                sums = [value for name in names for value in self._arms[name][_FIELDS * at : _FIELDS * (at + 1)]]
                rows.append([step, *(int(value) if value.is_integer() else value for value in sums)])
        return names, rows

    def restore(self, state: Any) -> None:
        """Take what ``state`` returned of steps of the same size."""
        names, rows = state
        self._held = array("q", [_NONE]) * self.size
        self._arms = {name: array("f", [0.0]) * (_FIELDS * self.size) for name in names}
        for step, *sums in rows:
            at = step % self.size
            self._held[at] = step
            for number, name in enumerate(names):
                self._arms[name][_FIELDS * at : _FIELDS * (at + 1)] = array("f", sums[_FIELDS * number :][:_FIELDS])
