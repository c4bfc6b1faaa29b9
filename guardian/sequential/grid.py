"""
The fixed alternatives that every test bets on.

One e-value needs one alternative in mind. Which effect a bug has is unknown, so a test holds K small bets,
one an alternative, and averages their wealth. The averaging costs at most log K nats, in practice about one.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from guardian.sequential.checks import Floats, as_floats

RATIO_MAX = 1e9


@lru_cache(maxsize=64)
def ratio_grid(k: int = 8, lo: float = 1.25, hi: float = 60.0) -> Floats:
    """
    Return ``k`` odds ratios from ``lo`` to ``hi``, evenly spaced in ``log log g``.

    g_j = exp(exp(linspace(log log lo, log log hi, k)))``: dense near 1, where neighbouring effects are hard
    to tell apart, sparse above. 1.25 to 60 with 8 components loses 1.1 to 2.6 nats against knowing the effect, for
    effects from 1.25x to 20x.

    The array is read-only and shared. Raises ValueError unless ``k >= 1`` and ``1 < lo < hi <= 1e9`` (``lo ==
    hi`` for ``k == 1``).
    """
    if k != int(k) or k < 1:
        raise ValueError(f"k is {k!r}: a grid needs a whole number of components, at least 1")
    if not 1.0 < lo <= RATIO_MAX:
        raise ValueError(f"lo is {lo!r}: the smallest ratio must be above 1 and at most {RATIO_MAX:g}")
    if not lo <= hi <= RATIO_MAX or (k > 1 and lo == hi):
        raise ValueError(
            f"hi is {hi!r}: the largest ratio must be above lo, which is {lo!r}, and at most {RATIO_MAX:g}"
        )
    grid = np.exp(np.exp(np.linspace(math.log(math.log(lo)), math.log(math.log(hi)), int(k))))
    grid[0] = lo
    if k > 1:
        grid[-1] = hi
    grid.setflags(write=False)
    return grid


def as_grid(grid: Any) -> Floats:
    """
    Return ``grid`` as a float array, or raise ValueError unless every ratio lies in ``(1, 1e9]``.

    A ratio of 1 or less would bet on the null itself, and its e-value could exceed 1 on average.
    """
    ratios = as_floats("grid", grid)
    if not (ratios.min() > 1.0 and ratios.max() <= RATIO_MAX):
        wrong = ratios[~((ratios > 1.0) & (ratios <= RATIO_MAX))][0]
        raise ValueError(f"grid holds {float(wrong)!r}: every ratio must be above 1 and at most {RATIO_MAX:g}")
    return ratios


def _table(*ratios: float) -> Floats:
    grid = np.array(ratios)
    grid.setflags(write=False)
    return grid


#: The odds ratios of every two-sample, count and threshold test unless told otherwise. Chosen by simulation: against
#: the even spacing of ``ratio_grid(8, 1.25, 60)`` it gives up 0.2 nats at 1.5x, where harm is found late anyway, and
#: gains 0.4 at 3x to 10x, where bugs are. Effects below about 1.1x are never acted on: a built-in soft margin.
DEFAULT_GRID: Floats = _table(1.22, 1.45, 1.8, 2.4, 3.5, 5.5, 10.0, 32.0)

#: For rates that must not *drop* (logins, conversions), with the arms swapped: a few percent less of something frequent
#: is harm already, and shows in an odds ratio of 1.05.
DROP_GRID: Floats = _table(1.04, 1.07, 1.12, 1.2, 1.35, 1.7, 3.0, 12.0)
