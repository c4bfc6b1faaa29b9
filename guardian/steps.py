"""Sums per step of time in little memory: what a rollout's history is made of."""

from __future__ import annotations

import sys
from array import array
from typing import Any

from guardian.population import Cell, Cells

_NONE = -1
_FIELDS = 4
_WIDER = {"B": "H", "H": "f"}
"""How wide the numbers of a row are, as `array` names it, and what comes next."""
_MOST = {"B": 255, "H": 65_535}
"""The largest whole number of a narrow row."""
_WIDER_AGE = {"B": "H", "H": "Q"}

Spans = tuple[tuple[int, int], ...]
"""Places, each span from one up to another."""


class Steps:
    """
    Sums of each variation in so many numbered steps of time; a step takes the place of the one ``size`` before it.

    A place's age is how many rounds ago it was filled, 1 for the last ``size`` steps up to the latest one, 0 for never.
    A variation's row holds its exposures of all places, then its outcomes, errors and first failures: as bytes, until a
    sum is larger or no whole number. Then all of them take two bytes, at last four. Counts are exact up to 16 million a step.
    """

    __slots__ = ("_ages", "_arms", "_last", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._last = _NONE
        self._ages = _row("B", bytes(size))
        self._arms: dict[str, array[Any]] = {}

    def takes(self, step: int) -> bool:
        """Say whether the step is there, or newer than what is in its place."""
        return self._held(step % self.size) <= step

    def _held(self, at: int) -> int:
        """Return the step in a place; -1 for none."""
        age = self._ages[at]
        return self._last - (self._last - at) % self.size - (age - 1) * self.size if age else _NONE

    def _hold(self, step: int) -> None:
        """Put a step into its place."""
        size = self.size
        if step > self._last:
            # The places that the latest step passes are a round older then.
            rounds, rest = divmod(step - self._last, size)
            for at in range(size) if rounds else ((self._last + 1 + over) % size for over in range(rest)):
                if self._ages[at]:
                    self._age(at, self._ages[at] + rounds + ((at - self._last - 1) % size < rest))
            self._last = step
        self._age(step % size, (self._last - step) // size + 1)

    def _age(self, at: int, age: int) -> None:
        while self._ages.typecode in _WIDER_AGE and age > _MOST[self._ages.typecode]:
            self._ages = _row(_WIDER_AGE[self._ages.typecode], self._ages.tolist())
        self._ages[at] = age

    def add(self, step: int, variation: str, cell: Cell) -> tuple[int, Cells] | None:
        """Add to a step that it ``takes``; return the step, and its sums, that had to make room."""
        size = self.size
        at = step % size
        gone = None
        if self._held(at) != step:
            gone = self._clear(at)
            self._hold(step)
        row = self._arms.get(variation)
        if row is None:
            row = _row("B", bytes(_FIELDS * size))
            # By name, so that the order never tells who came first: a restored state does not know.
            self._arms = dict(sorted({**self._arms, variation: row}.items()))
        exposures, outcomes = row[at] + cell.exposures, row[size + at] + cell.outcomes
        errors = row[2 * size + at] + cell.errors
        first: float = row[3 * size + at] + cell.first
        if row.typecode != "f":
            row = self._wide_enough(variation, row, max(exposures, outcomes, errors, first), first % 1.0 == 0.0)
        row[at], row[size + at], row[2 * size + at] = exposures, outcomes, errors
        row[3 * size + at] = first if row.typecode == "f" else int(first)
        return gone

    def _wide_enough(self, variation: str, row: array[Any], largest: float, is_whole: bool) -> array[Any]:
        kind: str = row.typecode
        while kind in _MOST and (largest > _MOST[kind] or not is_whole):
            kind = _WIDER[kind]
        if kind != row.typecode:
            row = self._arms[variation] = _row(kind, row.tolist())
        return row

    def _clear(self, at: int) -> tuple[int, Cells] | None:
        held = self._held(at)
        gone = None if held == _NONE else (held, self._cells(at))
        for row in self._arms.values():
            for field in range(at, _FIELDS * self.size, self.size):
                row[field] = 0
        return gone

    def numbers(self) -> list[int]:
        """Return the numbers of the steps that are there, latest first."""
        last, size, ages = self._last, self.size, self._ages
        found = [step for step in range(last, last - size, -1) if ages[step % size] == 1]
        older = [self._held(at) for at in range(size) if ages[at] > 1]
        return [*found, *sorted(older, reverse=True)]

    def cells(self, step: int) -> Cells | None:
        """Return the sums of a step by variation; None if it is not there."""
        at = step % self.size
        return self._cells(at) if self._held(at) == step else None

    def holds(self, step: int) -> bool:
        """Say whether a step is there."""
        return self._held(step % self.size) == step

    def add_to(self, cell: Cell, step: int, variation: str) -> None:
        """Add the variation's sums of a step that it ``holds`` to the cell: without looking at all others, however many."""
        row = self._arms.get(variation)
        if row is not None:
            exposures, outcomes, errors, first = row[step % self.size :: self.size]
            cell.exposures += int(exposures)
            cell.outcomes += int(outcomes)
            cell.errors += int(errors)
            cell.first += float(first)

    def starts(self, steps: list[int], variation: str, by_exposures: bool) -> list[int]:
        """Return how many starts of the variation are known in each of these steps, all of which are there."""
        row, size = self._arms.get(variation), self.size
        first = 0 if by_exposures else size
        return [0] * len(steps) if row is None else [int(row[first + step % size]) for step in steps]

    def last_since(self, from_step: int) -> int:
        """Return the latest step from this one on, whoever is in it; -1 if there is none."""
        return self._last if self._last >= from_step else _NONE

    def sum(self, from_step: int, variation: str) -> Cell:
        """Return the variation's sums from a step on."""
        row, newest, size = self._arms.get(variation), self._last, self.size
        if row is None or newest < max(from_step, 0):
            return Cell()
        # No other places can hold what is asked for; in the order in which they lie.
        begin, end = max(from_step, newest - size + 1, 0) % size, newest % size + 1
        spans = ((begin, end),) if begin < end else ((0, end), (begin, size))
        row = self._since(from_step, row, spans)
        exposures, outcomes, errors, first = (_sum(row, at, spans) for at in range(0, _FIELDS * size, size))
        return Cell(int(exposures), int(outcomes), int(errors), first)

    def _since(self, from_step: int, row: array[Any], spans: Spans) -> array[Any]:
        """Return the row without what places in these spans hold of earlier steps, as where nothing came for a while."""
        ages = self._ages
        for begin, end in spans:
            if begin < end and max(ages[begin:end]) > 1:
                break
        else:
            return row
        kept = row[:]
        for at in (at for begin, end in spans for at in range(begin, end) if self._held(at) < from_step):
            for field in range(at, _FIELDS * self.size, self.size):
                kept[field] = 0
        return kept

    def first(self, variation: str) -> float:
        """Return the first failures of the variation over all steps."""
        row = self._arms.get(variation)
        return 0.0 if row is None else float(sum(row[3 * self.size :]))

    def _cells(self, at: int) -> Cells:
        found: Cells = {}
        for variation, row in self._arms.items():
            exposures, outcomes, errors, first = row[at :: self.size]
            if exposures or outcomes or errors or first:
                found[variation] = Cell(int(exposures), int(outcomes), int(errors), float(first))
        return found

    def state(self) -> tuple[int, list[int], dict[str, tuple[str, bytes]]]:
        """
        Return the latest step, how far before it the one in each place is (-1 for none), and the variations' rows.

        A row is how wide its numbers are and these, little-endian. The same for the same past.
        """
        held = [self._held(at) for at in range(self.size)]
        ages = [_NONE if step == _NONE else self._last - step for step in held]
        return self._last, ages, {name: (row.typecode, _little(row).tobytes()) for name, row in self._arms.items()}

    def restore(self, state: Any) -> None:
        """Take what ``state`` returned of steps of the same size."""
        self._last, ages, rows = state
        self._ages = _row("B", bytes(self.size))
        for at, age in enumerate(ages):
            if age != _NONE:
                self._age(at, age // self.size + 1)
        self._arms = {name: _little(_row(kind, raw)) for name, (kind, raw) in rows.items()}


def _sum(row: array[Any], at: int, spans: Spans) -> float:
    """Return the sum of the places in these spans, of the numbers that begin ``at``."""
    total = 0.0
    for begin, end in spans:
        total = sum(row[at + begin : at + end], total)
    return total


def _row(kind: Any, content: bytes | list[Any]) -> array[Any]:
    return array(kind, content)


def _little(row: array[Any]) -> array[Any]:
    """Return numbers of this machine as little-endian ones, or the other way round."""
    if sys.byteorder == "little":
        return row
    turned = row[:]
    turned.byteswap()
    return turned
