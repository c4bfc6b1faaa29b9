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

Spans = tuple[tuple[int, int], ...]
"""Places, each span from one up to another."""


class Steps:
    """
    Sums of each variation in so many numbered steps of time; a step takes the place of the one ``size`` before it.

    A variation's row holds its exposures of all places, then its outcomes, errors and first failures: as bytes, until a
    sum is larger or no whole number. Then all of them take two bytes, at last four. Counts are exact up to 16 million a step.
    """

    __slots__ = ("_arms", "_held", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._held = array("q", [_NONE]) * size
        self._arms: dict[str, array[Any]] = {}

    def takes(self, step: int) -> bool:
        """Say whether the step is there, or newer than what is in its place."""
        return self._held[step % self.size] <= step

    def add(self, step: int, variation: str, cell: Cell) -> tuple[int, Cells] | None:
        """Add to a step that it ``takes``; return the step, and its sums, that had to make room."""
        size = self.size
        at = step % size
        gone = None
        if self._held[at] != step:
            gone = self._clear(at)
            self._held[at] = step
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
        held = self._held[at]
        gone = None if held == _NONE else (held, self._cells(at))
        for row in self._arms.values():
            for field in range(at, _FIELDS * self.size, self.size):
                row[field] = 0
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
        at = step % self.size
        return 0 if row is None else int(row[at if by_exposures else self.size + at])

    def last_since(self, from_step: int) -> int:
        """Return the latest step from this one on, whoever is in it; -1 if there is none."""
        newest = max(self._held)
        return newest if newest >= from_step else _NONE

    def sum(self, from_step: int, variation: str) -> Cell:
        """Return the variation's sums from a step on."""
        row, newest, size = self._arms.get(variation), max(self._held), self.size
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
        held = self._held
        if all(min(held[begin:end], default=from_step) >= from_step for begin, end in spans):
            return row
        kept = row[:]
        for at in (at for begin, end in spans for at in range(begin, end) if held[at] < from_step):
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
        last = max(self._held)
        ages = [_NONE if step == _NONE else last - step for step in self._held]
        return last, ages, {name: (row.typecode, _little(row).tobytes()) for name, row in self._arms.items()}

    def restore(self, state: Any) -> None:
        """Take what ``state`` returned of steps of the same size."""
        last, ages, rows = state
        self._held = array("q", [_NONE if age == _NONE else last - age for age in ages])
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
