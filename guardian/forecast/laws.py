"""How scores are distributed: a few positions in their range, and how likely each of them is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betainc

from guardian.levels import BEST, MIDDLE, WORST, lower, upper
from guardian.plan import GRID
from guardian.sequential.checks import Floats

CSAT: Floats = np.array([0.05, 0.05, 0.10, 0.30, 0.50])
"""How often each rating from 1 to 5 is given where people are mostly content: 4.15 on average."""
CELLS = 12
"""In so many parts of its range a measure that spreads is counted."""
WHOLE = [WORST, BEST]
"""The positions of a measure that is all or nothing."""
_NEAR_COIN = 0.99
_TILT_MAX = 700.0


class Law(NamedTuple):
    """Positions in the range, ascending, and the chance of each, both of shape ``(L,)``."""

    positions: NDArray[np.int64]
    chances: Floats

    @property
    def mean(self) -> float:
        """The mean, as a part of the range."""
        return float(_middles(self.positions) @ self.chances)

    @property
    def reach(self) -> tuple[float, float]:
        """The lowest and the highest mean, parts of the range, that ``moved`` does not come to any more."""
        parts = _middles(self.positions)
        return float(parts[0]), float(parts[-1])

    @property
    def beyond(self) -> Floats:
        """The chances to lie above each position but the last, shape ``(L - 1,)``."""
        return np.cumsum(self.chances[::-1])[::-1][1:]

    def moved(self, mean: float) -> Law:
        """
        Return the law over the same positions that is nearest to this one and has another mean, a part of the range.

        Nearest in Kullback and Leibler's sense: every chance is tilted by the same exponential. Raises ValueError for a
        mean that is not between the lowest and the highest position.
        """
        parts, (low, high) = _middles(self.positions), self.reach
        if not low < mean < high:
            raise ValueError(f"mean is {mean!r}: it must lie between {low!r} and {high!r}")
        theta = brentq(lambda by: float(_tilted(self.chances, parts, by) @ parts) - mean, -_TILT_MAX, _TILT_MAX)
        return Law(self.positions, _tilted(self.chances, parts, theta))

    def changed_to(self, other: Law) -> float:
        """Return the part of the scores that must change for this law to become the other."""
        return float(np.abs(self.chances - other.chances).sum() / 2.0)


def csat_law(mean: float) -> Law:
    """Return ratings from 1 to 5 of this mean."""
    return Law(np.arange(5) * (BEST // 4), CSAT).moved((mean - 1.0) / 4.0)


def nps_law(parts: tuple[float, float, float]) -> Law:
    """Return detractors, passives and promoters in these parts."""
    return Law(np.array([WORST, MIDDLE, BEST]), np.array(parts))


def measure_law(mean: float, spread: float) -> Law:
    """
    Return a measure of this mean and standard deviation, both parts of its range.

    The spread can be no larger than that of a measure that is all or nothing; such a large one, or more, means just that.
    """
    most = math.sqrt(mean * (1.0 - mean))
    if spread >= _NEAR_COIN * most:
        return Law(np.array(WHOLE), np.array([1.0 - mean, mean]))
    strength = (most / spread) ** 2 - 1.0
    chances = np.diff(betainc(mean * strength, (1.0 - mean) * strength, np.linspace(0.0, 1.0, CELLS + 1)))
    # Hardly any value lies exactly on a step of the grid.
    positions = 2 * ((np.arange(CELLS) + 0.5) * GRID / CELLS).astype(np.int64) + 1
    return Law(positions, np.maximum(chances, 1e-12) / np.maximum(chances, 1e-12).sum()).moved(mean)


def _middles(positions: NDArray[np.int64]) -> Floats:
    return (lower(positions) + upper(positions)) / 2.0


def _tilted(chances: Floats, parts: Floats, theta: float) -> Floats:
    with np.errstate(divide="ignore"):
        logs = np.log(chances) + theta * parts
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())
