"""
Whether ratings (CSAT, NPS, thumbs) of treatment fell against those of control.

A rating lies on a few levels between 0 (worst) and 1 (best). Nothing is assumed about how they are
distributed: the test bets small amounts on every rating, on treatment's being low and on control's being
high, balanced so that the bets break even on average when both means agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guardian.sequential.checks import (
    ARM_MIN,
    COUNT_MAX,
    Floats,
    as_floats,
    check_open_unit,
    check_open_units,
    check_unit,
    check_units,
    spread,
)

#: Parts of the largest safe bet: the components of the ratings test. They match falls of a twentieth to a third of the
#: scale, on which the best bet is about three times the fall.
DEFAULT_BETS: Floats = np.array([0.06, 0.1, 0.15, 0.22, 0.3, 0.4, 0.52, 0.7])
DEFAULT_BETS.setflags(write=False)

_FEW = 32


def ratings_block(
    levels: Sequence[float] | Floats,
    count_t: Sequence[float] | Floats,
    count_c: Sequence[float] | Floats,
    *,
    centre: float,
    drop: float = 0.0,
    bets: Sequence[float] | Floats = DEFAULT_BETS,
    levels_c: Sequence[float] | Floats | None = None,
) -> Floats:
    """
    Return log e-values, one a bet of ``bets``, of one block of ratings of both arms.

    The null: in the block, treatment's mean rating is at least control's less ``drop``. ``levels`` are the
    ratings rescaled to [0, 1], higher is better; ``count_t`` and ``count_c`` say how often each was given.
    ``centre`` is a guess of the mean from *earlier blocks only* (see `RatingCentre`); it decides power, never
    validity.

        gmax = min( 1/(1 - m + drop), (1-w)/(w m) ),   gT = c gmax,   gC = gT w/(1-w)
        log e = sum_l count_t[l] log(1 + gT (m - drop - y_l)) + count_c[l] log(1 + gC (y_l - m))

    ``E[e] <= 1``: the average over both arms of the expected factors is ``1 + w gT (mean_C - mean_T -
    drop)``, at most 1 under the null, and the inequality of the means does the rest. The bets are those of
    Waudby-Smith and Ramdas 2024 (arXiv 2010.09686), taken to two arms.

    For continuous scores use buckets: pass their upper edges as ``levels``, their lower edges as
    ``levels_c``. That can only understate a fall. Shape ``(K,)``, natural logs; zeros for an empty arm.
    Raises ValueError for levels, ``centre`` or ``drop`` outside [0, 1], bets outside (0, 1), or counts below
    0 or of another length.
    """
    check_unit("centre", centre)
    check_unit("drop", drop)
    y_t, parts = _levels("levels", levels), _parts(bets)
    y_c = y_t if levels_c is None else _levels("levels_c", levels_c)
    counts_t, counts_c = _counts("count_t", count_t, y_t), _counts("count_c", count_c, y_c)
    n_t, n_c = float(np.add.reduce(counts_t)), float(np.add.reduce(counts_c))
    if n_t < ARM_MIN or n_c < ARM_MIN:
        return np.zeros(parts.shape)
    odds = n_t / n_c
    limit = min(_inverse((1.0 - centre) + drop), _inverse(odds * centre))
    bet_t = (parts * limit)[:, np.newaxis]
    treatment = np.add.reduce(np.log1p(bet_t * ((centre - drop) - y_t)) * counts_t, axis=-1)
    return np.asarray(treatment + np.add.reduce(np.log1p(bet_t * (odds * (y_c - centre))) * counts_c, axis=-1))


def _inverse(value: float) -> float:
    """
    Return ``1/value``, infinite for 0.
    """
    return 1.0 / value if value else math.inf


def ratings_blocks(
    levels: Sequence[float] | Floats,
    count_t: Any,
    count_c: Any,
    *,
    centre: Any,
    drop: Any = 0.0,
    bets: Sequence[float] | Floats = DEFAULT_BETS,
    levels_c: Sequence[float] | Floats | None = None,
) -> Floats:
    """
    Return `ratings_block` for many streams at once: counts of shape ``S + (L,)`` give ``S + (K,)``.

    All streams have the same ``L`` levels; ``centre`` and ``drop`` may differ and broadcast to ``S``. Raises
    ValueError as `ratings_block` does, with the first value that is wrong.
    """
    y_t, bets = _levels("levels", levels), _parts(bets)
    y_c = y_t if levels_c is None else _levels("levels_c", levels_c)
    counts_t, counts_c = _counts("count_t", count_t, y_t), _counts("count_c", count_c, y_c)
    n_t, n_c, centre, drop = spread(
        {"count_t": counts_t.sum(axis=-1), "count_c": counts_c.sum(axis=-1), "centre": centre, "drop": drop}
    )
    check_units("centre", centre)
    check_units("drop", drop)
    silent = (n_t < ARM_MIN) | (n_c < ARM_MIN)
    odds = np.where(silent, 1.0, n_t) / np.where(silent, 1.0, n_c)
    # Either limit is infinite at one end of the scale, never both.
    with np.errstate(divide="ignore", over="ignore"):
        limit = np.minimum(1.0 / ((1.0 - centre) + drop), 1.0 / (odds * centre))
    bet_t = (bets * limit[..., np.newaxis])[..., np.newaxis]
    low = (centre - drop)[..., np.newaxis] - y_t
    high = odds[..., np.newaxis] * (y_c - centre[..., np.newaxis])
    treatment = _weighted(np.log1p(bet_t * low[..., np.newaxis, :]), counts_t)
    log_e = treatment + _weighted(np.log1p(bet_t * high[..., np.newaxis, :]), counts_c)
    return np.asarray(np.where(silent[..., np.newaxis], 0.0, log_e))


def mean_block(
    levels: Sequence[float] | Floats,
    counts: Sequence[float] | Floats,
    *,
    bound: float,
    bets: Sequence[float] | Floats = DEFAULT_BETS,
) -> Floats:
    """
    Return log e-values, one a bet, of one block of ratings against a fixed bound.

    The null: each rating's mean, given the past, is at least ``bound``. ``levels``, in [0, 1], higher is better.

        log e = sum_l count[l] log(1 + c (b - y_l)/(1 - b))

    Every factor is at least 0 and of mean at most 1 under the null: the capital process of Waudby-Smith and Ramdas
    2024 (arXiv 2010.09686), section 4, on a grid of bets. Shape ``(K,)``, natural logs; zeros without ratings. Raises
    ValueError for a ``bound`` outside (0, 1), and as `ratings_block` does.
    """
    check_open_unit("bound", bound)
    y = _levels("levels", levels)
    stakes = _parts(bets)[:, np.newaxis] * (bound - y) / (1.0 - bound)
    return np.asarray((np.log1p(stakes) * _counts("counts", counts, y)).sum(axis=-1))


def mean_blocks(
    levels: Sequence[float] | Floats,
    counts: Any,
    *,
    bound: Any,
    bets: Sequence[float] | Floats = DEFAULT_BETS,
) -> Floats:
    """
    Return `mean_block` for many streams at once: counts of shape ``S + (L,)`` give ``S + (K,)``.

    All streams have the same ``L`` levels; ``bound`` may differ and broadcasts to ``S``. Raises ValueError as
    `mean_block` does, with the first value that is wrong.
    """
    y = _levels("levels", levels)
    given = _counts("counts", counts, y)
    least, _ = spread({"bound": bound, "counts": given.sum(axis=-1)})
    check_open_units("bound", least)
    falls = (least[..., np.newaxis] - y) / (1.0 - least[..., np.newaxis])
    return _weighted(np.log1p(_parts(bets)[:, np.newaxis] * falls[..., np.newaxis, :]), given)


def _parts(bets: Sequence[float] | Floats) -> Floats:
    if bets is DEFAULT_BETS:
        return DEFAULT_BETS
    parts = as_floats("bets", bets)
    if not ((parts > 0.0) & (parts < 1.0)).all():
        raise ValueError(f"bets is {parts.tolist()!r}: every bet is a part of the largest safe one, above 0, below 1")
    return parts


def _weighted(logs: Floats, counts: Floats) -> Floats:
    """
    Return the sum over levels of ``counts`` times ``logs``, of shapes ``S + (L,)`` and ``S + (K, L)``.
    """
    return np.asarray((logs * counts[..., np.newaxis, :]).sum(axis=-1))


@dataclass(slots=True)
class RatingCentre:
    """
    The mean of all ratings of earlier blocks, both arms together, from two imagined ratings of 0.7.

    People rate above the middle, and a first guess far from the mean costs power in the first blocks.

    Read `mean`, test the block, then `remember` it: in that order.
    """

    total: float = 1.4
    weight: float = 2.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.total <= self.weight or not 0.0 < self.weight < float("inf"):
            raise ValueError(
                f"total is {self.total!r} and weight is {self.weight!r}: 0 <= total <= weight, weight above 0"
            )

    @property
    def mean(self) -> float:
        """
        The guess for the next block, from 0 to 1.
        """
        return self.total / self.weight

    def remember(self, levels: Sequence[float] | Floats, counts: Sequence[float] | Floats) -> None:
        """
        Add the ratings of a block that has just been tested, once for each arm.
        """
        y = _levels("levels", levels)
        given = _counts("counts", counts, y)
        self.weight += float(given.sum())
        self.total = min(self.total + float(y @ given), self.weight)


def _levels(name: str, levels: Sequence[float] | Floats) -> Floats:
    y = np.asarray(levels, dtype=np.float64)
    if y.ndim != 1 or not y.size or not _lie_within(y, 1.0):
        wrong = as_floats(name, levels)
        raise ValueError(f"{name} is {wrong.tolist()!r}: every level must be rescaled to a number from 0 to 1")
    return y


def _lie_within(values: Floats, most: float) -> bool:
    """
    Say whether all values are numbers from 0 to ``most``.
    """
    if values.ndim == 1 and values.size <= _FEW:
        # A comparison with NaN is false here, too; an array takes longer to look through than so few numbers.
        return all(0.0 <= value <= most for value in values.tolist())
    least, largest = (extreme.reduce(values, axis=None, initial=0.0) for extreme in (np.minimum, np.maximum))
    return bool(least >= 0.0 and largest <= most)


def _counts(name: str, counts: Any, levels: Floats) -> Floats:
    given = np.asarray(counts, dtype=np.float64)
    if given.ndim == 0 or given.shape[-1] != levels.size:
        size = given.shape[-1] if given.ndim else 0
        raise ValueError(f"{name} has {size} counts: there are {levels.size} levels")
    if not _lie_within(given, COUNT_MAX):
        wrong = float(given[~((given >= 0.0) & (given <= COUNT_MAX))][0])
        raise ValueError(f"{name} holds {wrong!r}: every count must be a number from 0 to 2**53")
    return given
