"""
Whether treatment is slower than control, answered by counting and not by estimating quantiles.

Latencies are counted in log buckets with exact edges, so histograms of workers and ticks add up without
error. A quantile of control's *past* is such an edge; how many requests of each arm exceed it in the block is
then an ordinary two-sample count, and `two_sample_block` is exact for it.

What is tested is thus the exceedance of control's quantile, not the quantile itself: the two differ only
where the distributions of the arms cross near it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardian.sequential.checks import (
    Floats,
    check_margin,
    check_open_unit,
    check_open_units,
    check_positive,
    check_units,
    spread,
)
from guardian.sequential.grid import DEFAULT_GRID
from guardian.sequential.proportions import two_sample_block, two_sample_blocks

Buckets = Mapping[int, float]


class Histogram(NamedTuple):
    """
    Buckets and their counts as arrays, in any order, each bucket once: what a `Buckets` of many is read from soonest.
    """

    keys: NDArray[np.signedinteger[Any]]
    counts: NDArray[np.floating[Any]]

    @property
    def total(self) -> float:
        """
        The sum of all counts.
        """
        return math.fsum(self.counts.tolist())


#: Relative half-width of a bucket: bucket k covers (1.0202**(k-1), 1.0202**k].
ACCURACY = 0.01

#: Values outside are counted in the outermost buckets, so that a broken clock cannot grow a histogram.
VALUE_MIN, VALUE_MAX = 1e-6, 1e12

_FORGOTTEN = 1e-9

#: What forgives that 0.95 * 400 is not exactly 380 in every arithmetic.
_FORGIVEN = 1.0 - 1e-12

#: The least part of control's requests that is expected beyond an edge, of the part that the quantile says.
_FLOOR = 0.2


@cache
def gamma(accuracy: float = ACCURACY) -> float:
    """
    Return the ratio of neighbouring edges, ``(1 + accuracy)/(1 - accuracy)`` (DDSketch, Masson et al. 2019).
    """
    check_open_unit("accuracy", accuracy)
    return (1.0 + accuracy) / (1.0 - accuracy)


def bucket_key(value: float, accuracy: float = ACCURACY) -> int:
    """
    Return the bucket of a latency: the ``k`` with ``edge(k-1) < value <= edge(k)``, exactly, edges included.

    Raises ValueError for a negative or NaN value. 0 and anything below 1e-6 counts as 1e-6, above 1e12 as
    1e12.
    """
    if not value >= 0.0:
        raise ValueError(f"value is {value!r}: a latency must be a number of at least 0")
    value = min(max(float(value), VALUE_MIN), VALUE_MAX)
    log_gamma = math.log(gamma(accuracy))
    key = math.ceil(math.log(value) / log_gamma)
    # The quotient of logs may miss an edge by a rounding; the edges themselves decide.
    while value > bucket_edge(key, accuracy):
        key += 1
    while value <= bucket_edge(key - 1, accuracy):
        key -= 1
    return key


def bucket_edge(key: int, accuracy: float = ACCURACY) -> float:
    """
    Return the upper edge of a bucket, ``gamma**key``, which belongs to it.
    """
    return float(gamma(accuracy) ** key)


def quantile_key(buckets: Buckets | Histogram, tau: float) -> int | None:
    """
    Return the first bucket up to which lies a part ``tau`` of all counts; None for an empty histogram.
    """
    check_open_unit("tau", tau)
    held, order, below = _sorted(histogram_of(buckets))
    if not below.size or below[-1] <= 0.0:
        return None
    return int(held[order[below.searchsorted(tau * below[-1] * _FORGIVEN)]])


def count_above(buckets: Buckets, key: int) -> float:
    """
    Return how many latencies exceed the upper edge of bucket ``key``: exact, since edges are.
    """
    return math.fsum(count for bucket, count in buckets.items() if bucket > key)


def counts_above(buckets: Buckets | Histogram, keys: Sequence[int] | NDArray[np.int64]) -> Floats:
    """
    Return `count_above` for several buckets at once, shape ``(len(keys),)``.
    """
    held, counts = histogram_of(buckets)
    return np.asarray((held[np.newaxis, :] > np.asarray(keys, dtype=np.int64)[:, np.newaxis]) @ counts)


def quantile_keys(buckets: Buckets | Histogram, taus: Sequence[float]) -> list[int]:
    """
    Return `quantile_key` for several parts at once; nothing for an empty histogram.
    """
    return cuts(buckets, taus)[0]


def cuts(buckets: Buckets | Histogram, taus: Sequence[float] | Floats) -> tuple[list[int], Floats]:
    """
    Return `quantile_keys`, and of the same histogram `counts_above` them; nothing for an empty one.
    """
    histogram = histogram_of(buckets)
    held, order, below = _sorted(histogram)
    if not below.size or below[-1] <= 0.0:
        return [], np.zeros(0)
    keys = held[order[below.searchsorted(np.asarray(taus) * below[-1] * _FORGIVEN)]]
    return keys.tolist(), np.asarray((held > keys[:, np.newaxis]) @ histogram.counts)


def _sorted(histogram: Histogram) -> tuple[NDArray[np.signedinteger[Any]], NDArray[np.intp], Floats]:
    """
    Return the buckets as they stand, their order, and how much lies up to each in that order.
    """
    order = histogram.keys.argsort()
    return histogram.keys, order, histogram.counts[order].cumsum(dtype=np.float64)


def histogram_of(buckets: Buckets | Histogram) -> Histogram:
    """
    Return the buckets and their counts, as they stand.
    """
    if isinstance(buckets, Histogram):
        return buckets
    held = np.fromiter(buckets, dtype=np.int64, count=len(buckets))
    return Histogram(held, np.fromiter(buckets.values(), dtype=np.float64, count=len(buckets)))


@lru_cache(maxsize=1_024)
def margin_shift(margin: float, accuracy: float = ACCURACY) -> int:
    """
    Return by how many buckets treatment may be slower: the margin rounded to a whole number of buckets.
    """
    check_margin(margin)
    return round(math.log(margin) / math.log(gamma(accuracy)))


@dataclass(frozen=True, slots=True)
class Exceedances:
    """
    How many requests of each arm exceed control's past quantile (treatment's: times the margin).
    """

    edge_key: int
    shift: int
    n_t: float
    x_t: float
    n_c: float
    x_c: float


def exceedances(
    past: Buckets,
    treatment: Buckets,
    control: Buckets,
    *,
    tau: float,
    margin: float = 1.0,
    accuracy: float = ACCURACY,
) -> Exceedances | None:
    """
    Return a block's counts above the ``tau`` quantile of control's ``past``; None without a past.

    Control exceeds at the edge of the quantile's bucket, treatment at the edge ``margin_shift`` buckets
    higher.
    """
    edge = quantile_key(past, tau)
    if edge is None:
        return None
    shift = margin_shift(margin, accuracy)
    return Exceedances(
        edge_key=edge,
        shift=shift,
        n_t=math.fsum(treatment.values()),
        x_t=count_above(treatment, edge + shift),
        n_c=math.fsum(control.values()),
        x_c=count_above(control, edge),
    )


def latency_block(
    past: Buckets,
    treatment: Buckets,
    control: Buckets,
    *,
    tau: float,
    margin: float = 1.0,
    accuracy: float = ACCURACY,
    grid: Floats = DEFAULT_GRID,
) -> Floats:
    """
    Return log e-values, one a component of ``grid``, of one block of latencies of both arms.

    The null: in the block, ``P(T > margin y) <= P(C > y)`` for y the ``tau`` quantile of control's ``past``
    (a histogram of earlier blocks only, see `LatencyMemory`). It holds whenever treatment is stochastically
    no slower than ``margin`` times control. Exact at every sample size (`two_sample_block` on the
    exceedances). Zeros without a past.
    """
    counts = exceedances(past, treatment, control, tau=tau, margin=margin, accuracy=accuracy)
    if counts is None:
        return np.zeros(np.shape(grid))
    beyond = count_above(past, counts.edge_key) / math.fsum(past.values())
    p_hat = min(max(beyond, _FLOOR * (1.0 - tau)), 1.0)
    return two_sample_block(counts.n_t, counts.x_t, counts.n_c, counts.x_c, p_hat=p_hat, grid=grid)


def latency_blocks(
    n_t: Any, x_t: Any, n_c: Any, x_c: Any, *, beyond: Any, tau: Any, grid: Floats = DEFAULT_GRID
) -> Floats:
    """
    Return `latency_block` for many streams at once, from counts: shapes that broadcast to ``S`` give ``S + (K,)``.

    ``x`` of the ``n`` requests of an arm exceed the edge, see `exceedances`; ``beyond`` is the part of control's past
    that did, ``tau`` the quantile, each one a stream if need be. A stream without a past passes zeros for its counts.
    Raises ValueError as `two_sample_blocks` does, and for ``beyond`` outside [0, 1] or ``tau`` outside (0, 1).
    """
    part, level = spread({"beyond": beyond, "tau": tau})
    check_units("beyond", part)
    check_open_units("tau", level)
    return two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=np.maximum(part, _FLOOR * (1.0 - level)), grid=grid)


@dataclass(slots=True)
class LatencyMemory:
    """
    Control's latencies in earlier blocks: a histogram whose counts halve every ``half_life_s`` seconds.

    Read `buckets`, test the block, then `remember` control's block: in that order.
    """

    half_life_s: float
    buckets: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_positive("half_life_s", self.half_life_s)

    def remember(self, control: Buckets, elapsed_s: float) -> None:
        """
        Age the memory by ``elapsed_s`` seconds and add the histogram of a block that has just been tested.
        """
        if not 0.0 <= elapsed_s < math.inf:
            raise ValueError(f"elapsed_s is {elapsed_s!r}: it must be a finite number of seconds, at least 0")
        keep = 0.5 ** (elapsed_s / self.half_life_s)
        aged = {key: count * keep for key, count in self.buckets.items() if count * keep > _FORGOTTEN}
        for key, count in control.items():
            aged[key] = aged.get(key, 0.0) + count
        self.buckets = aged
