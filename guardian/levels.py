"""Scores as levels that a test can bet on: from positions in a range to numbers in [0, 1], higher is better."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardian.conditions import Condition, Margin, Relative
from guardian.plan import GRID, Range
from guardian.remembered import Remembered
from guardian.tally import Tally

Floats = NDArray[np.float64]

WORST, MIDDLE, BEST = 0, GRID, 2 * GRID
"""Positions of what NPS knows: detractors, passives, promoters."""
KNOWN_MAX = 1_024
"""Sets of positions whose levels are remembered: people rate on few."""
_PROMOTER, _PASSIVE = 2 * GRID * 9 // 10, 2 * GRID * 7 // 10


class Levels(NamedTuple):
    """
    Levels of treatment and of control, one a position: treatment may lie ``drop`` lower on average.

    ``t`` lies within [0, 1], ``c_within`` holds those of control cut to it. Shared: nobody writes to them.
    """

    t: Floats
    c: Floats
    c_within: Floats
    drop: float


def nps_counts(counts: dict[int, float]) -> dict[int, float]:
    """Return answers from 0 to 10, by position, as detractors (to 6), passives (7, 8) and promoters (9, 10)."""
    found: dict[int, float] = {}
    for at, count in counts.items():
        to = BEST if at >= _PROMOTER else MIDDLE if at >= _PASSIVE else WORST
        found[to] = found.get(to, 0.0) + count
    return found


def lower(positions: NDArray[np.int64]) -> Floats:
    """Return the lowest that a score at each position can be, as a part of its range."""
    return np.asarray((positions // 2) / GRID)


def upper(positions: NDArray[np.int64]) -> Floats:
    """Return the highest that a score at each position can be, as a part of its range."""
    return np.asarray((positions // 2 + positions % 2) / GRID)


def mean(sums: Tally | Remembered, values: Range) -> float | None:
    """Return the mean of the scores in their own unit; None without any."""
    at, weights = sums.histogram
    if sums.n <= 0.0 or not at.size:
        return None
    part = float(_widths(tuple(at.tolist())) @ weights / (2.0 * np.add.reduce(weights)))
    return values[0] + (values[1] - values[0]) * part


@lru_cache(maxsize=KNOWN_MAX)
def _widths(at: tuple[int, ...]) -> Floats:
    """Return the lowest plus the highest that a score at each position can be, as parts of its range."""
    positions = np.array(at, dtype=np.int64)
    return lower(positions) + upper(positions)


def low_is_harm(condition: Condition) -> bool:
    """Say whether a guardrail is broken by values that are too low."""
    return condition.op in ("<", "<=")


def compared(condition: Condition, positions: NDArray[np.int64], values: Range) -> Levels:
    """
    Return levels such that the guardrail is kept exactly where treatment's mean level is not below control's less drop.

    Between two steps of the grid each arm's level is the one that speaks less for harm. A factor of control's value
    is a factor of values, not of parts of the range: 0.9x of a CSAT of 5 is 4.5.
    """
    return _compared(condition, tuple(positions.tolist()), values)


@lru_cache(maxsize=KNOWN_MAX)
def _compared(condition: Condition, at: tuple[int, ...], values: Range) -> Levels:
    t, c, drop = _rescaled(condition, np.array(at, dtype=np.int64), values)
    return Levels(np.clip(t, 0.0, 1.0), c, np.clip(c, 0.0, 1.0), drop)


def _rescaled(condition: Condition, positions: NDArray[np.int64], values: Range) -> tuple[Floats, Floats, float]:
    bound, (low, high) = condition.bound, values
    worse_t, worse_c = (upper, lower) if low_is_harm(condition) else (lower, upper)
    part_t, part_c = worse_t(positions), worse_c(positions)
    if isinstance(bound, Margin):
        drop = abs(bound.delta) / (high - low)
        return (part_t, part_c, drop) if low_is_harm(condition) else (1.0 - part_t, 1.0 - part_c, drop)
    if not isinstance(bound, Relative):
        raise TypeError(f"guardrail {condition.text!r} compares nothing with control")
    if bound.factor == 1.0:
        return (part_t, part_c, 0.0) if low_is_harm(condition) else (1.0 - part_t, 1.0 - part_c, 0.0)
    value_t, value_c = ((low + (high - low) * part) / high for part in (part_t, part_c))
    if low_is_harm(condition):
        return (value_t, bound.factor * value_c, 0.0)
    return (1.0 - value_t / bound.factor, 1.0 - value_c, 0.0)


def bounded(condition: Condition, positions: NDArray[np.int64], values: Range, bound: float) -> tuple[Floats, float]:
    """Return treatment's levels and the bound that their mean must reach, both in [0, 1], higher is better."""
    part = (bound - values[0]) / (values[1] - values[0])
    if low_is_harm(condition):
        return upper(positions), part
    return 1.0 - lower(positions), 1.0 - part
