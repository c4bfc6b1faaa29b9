"""What a block of a line is worth to a guardrail: its log e-values, from the block and from what came before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.levels import Floats, bounded, compared, low_is_harm, lower, upper
from guardian.lines import Line
from guardian.plan import Range
from guardian.remembered import Remembered
from guardian.sequential import (
    DEFAULT_GRID,
    DEFAULT_TAUS,
    DROP_GRID,
    ControlRate,
    Histogram,
    additive_margin_block,
    additive_margin_blocks,
    bucket_edge,
    bucket_key,
    count_block,
    counts_above,
    cuts,
    mean_block,
    mean_blocks,
    ratings_block,
    ratings_blocks,
    share_block,
    slowness_block,
    slowness_blocks,
    threshold_block,
    threshold_blocks,
    two_sample_block,
    two_sample_blocks,
)
from guardian.tally import Pair, Tally

HALF_LIFE_S = 60.0
"""How long what was seen is remembered."""
SPLIT_TOLERANCE = 0.01
"""By which part of itself the configured share may be missed: clients round their buckets."""
K = DEFAULT_GRID.size
Edge = Callable[[NDArray[np.int64]], Floats]

_CENTRE, _CENTRE_WEIGHT = 0.7, 2.0
"""Imagined scores before the first: people rate above the middle."""


class Tests(NamedTuple):
    """The tests that a rule of betting calls: ``ONE`` for numbers, ``MANY`` for arrays with a first axis of streams."""

    two_sample: Callable[..., Floats]
    additive_margin: Callable[..., Floats]
    threshold: Callable[..., Floats]
    ratings: Callable[..., Floats]
    mean: Callable[..., Floats]


ONE = Tests(two_sample_block, additive_margin_block, threshold_block, ratings_block, mean_block)
MANY = Tests(two_sample_blocks, additive_margin_blocks, threshold_blocks, ratings_blocks, mean_blocks)


class Past(msgspec.Struct, gc=False):
    """
    What earlier blocks said: all guesses come from here, so that none looks at the block that it is used on.

    ``rate`` is control's, ``t`` and ``c`` are both arms' sums, fading. ``is_coin`` says that every score so far was
    the lowest or the highest that there is, ``is_nameless`` that there were events without a unit.
    """

    rate: ControlRate = msgspec.field(default_factory=lambda: ControlRate(half_life_s=HALF_LIFE_S))
    t: Remembered = msgspec.field(default_factory=Remembered)
    c: Remembered = msgspec.field(default_factory=Remembered)
    is_coin: bool = True
    is_nameless: bool = False
    to_ms: int = 0

    def remember(self, pair: Pair, ends: tuple[int, int]) -> None:
        """Add a block that has just been tested; ``ends`` are the lowest and the highest position of a score."""
        elapsed_s = max(pair.to_ms - self.to_ms, 0) / 1_000.0 if self.to_ms else 0.0
        self.to_ms = max(self.to_ms, pair.to_ms)
        self.rate.remember(pair.c.n, min(pair.c.x, pair.c.n), elapsed_s)
        keep = 0.5 ** (elapsed_s / HALF_LIFE_S)
        for held, fresh in ((self.t, pair.t), (self.c, pair.c)):
            held.add(fresh, keep)
            self.is_nameless = self.is_nameless or fresh.left > 0.0
            self.is_coin = self.is_coin and all(at in ends for at in fresh.counts)


def log_e(
    condition: Condition, line: Line, pair: Pair, past: Past, *, shares: Sequence[float] = (), cluster: float = 1.0
) -> Floats:
    """
    Return the log e-values of a block, shape ``(K,)``.

    ``shares`` are treatment's parts, where the line needs one: of several that may be in force the one that says least
    is believed. ``cluster`` is how many events without a unit may be one's (see ``Watch.read_block``).

    Raises TypeError for a condition that has no test on this line.
    """
    if line.kind == "latency":
        return _slowness(condition, pair, past)
    if line.kind == "over":
        return threshold_block(pair.t.n, pair.t.x, p0=too_slow(condition))
    if line.kind == "score" and condition.signal.kind != "thumbs_down_rate":
        return _scores(condition, line, pair, past)
    if line.kind == "fresh":
        found = [share_block(pair.t.n, pair.c.n, share, tolerance=SPLIT_TOLERANCE) for share in shares]
        return np.min(found, axis=0) if found else np.zeros(K)
    if line.kind == "reports" and isinstance(condition.bound, Relative):
        return count_block(pair.t.x, pair.c.x, max(shares), margin=condition.bound.factor) if shares else np.zeros(K)
    return _rates(condition, pair, past, cluster)


def _rates(condition: Condition, pair: Pair, past: Past, cluster: float) -> Floats:
    t, c = pair.t, pair.c
    if isinstance(condition.bound, Relative):
        # More events than units: somebody reports what was shown before. Each counts.
        return rates(condition, (max(t.n, t.x), t.x, max(c.n, c.x), c.x), past.rate.p_hat)
    x_t, x_c = t.x + t.left, c.x + c.left
    p_hat = min(past.rate.p_hat + (past.c.left / past.c.n if past.c.n > 0.0 else 0.0), 1.0)
    values = rates(condition, (max(t.n, x_t), x_t, max(c.n, x_c), x_c), p_hat)
    return values / cluster if past.is_nameless or t.left + c.left > 0.0 else values


def too_slow(condition: Condition) -> float:
    """Return the part of the requests that may take longer: "p95 above the bound" says that more than 5 % do."""
    return 1.0 - (condition.signal.quantile or 0.5)


def rates(condition: Condition, block: tuple[Any, Any, Any, Any], p_hat: Any, tests: Tests = ONE) -> Floats:
    """
    Return the log e-values of ``n_t, x_t, n_c, x_c``: events among units of both arms.

    Shape ``(K,)`` from numbers, ``S + (K,)`` from arrays of shape ``S`` with ``MANY``. Raises TypeError for a bound
    that has no such test.
    """
    bound = condition.bound
    if isinstance(bound, Relative):
        return tests.two_sample(*block, p_hat=p_hat, margin=bound.factor)
    if isinstance(bound, Margin):
        return tests.additive_margin(*block, p_hat=p_hat, delta=bound.delta)
    if isinstance(bound, Absolute):
        return tests.threshold(block[0], block[1], p0=bound.value)
    raise TypeError(f"guardrail {condition.text!r} has no test of rates")


def _slowness(condition: Condition, pair: Pair, past: Past) -> Floats:
    bound = condition.bound
    if isinstance(bound, Relative):
        return slowness_block(past.c.histogram, pair.t.counts, pair.c.counts, margin=bound.factor)
    if isinstance(bound, Margin):
        return _slower_by(bound.delta, pair, past.c.histogram)
    raise TypeError(f"guardrail {condition.text!r} has no test of latencies against control")


def later(keys: Sequence[int], delta_ms: float) -> list[int]:
    """Return treatment's edges, where it may be slower by so many milliseconds: so much higher, up to the next bucket."""
    return [bucket_key(bucket_edge(key) + delta_ms) for key in keys]


def _slower_by(delta_ms: float, pair: Pair, past: Histogram) -> Floats:
    keys, above = cuts(past, DEFAULT_TAUS)
    if not keys:
        return np.zeros(K)
    total = past.total
    return slowness_blocks(
        math.fsum(pair.t.counts.values()),
        counts_above(pair.t.counts, later(keys, delta_ms)),
        math.fsum(pair.c.counts.values()),
        counts_above(pair.c.counts, keys),
        beyond=above / total,
        weight=total,
    )


def _scores(condition: Condition, line: Line, pair: Pair, past: Past) -> Floats:
    seen = sorted({*pair.t.counts, *pair.c.counts})
    if not seen:
        return np.zeros(K)
    positions = np.array(seen, dtype=np.int64)
    given = tuple(np.array([arm.counts.get(at, 0.0) for at in seen]) for arm in (pair.t, pair.c))
    bound = condition.bound
    if isinstance(bound, Relative) and line.range[0] == 0.0 and past.is_coin:
        return _coins(condition, bound.factor, pair, past)
    centre = 0.0 if isinstance(bound, Absolute) else _centre(condition, line, past)
    return scores(condition, line.range, positions, given, centre)


def scores(
    condition: Condition, values: Range, positions: NDArray[np.int64], given: Any, centre: Any, tests: Tests = ONE
) -> Floats:
    """
    Return the log e-values of scores: how often either arm ``given`` gave those at ``positions`` of the range ``values``.

    ``centre`` is a guess from earlier blocks, see ``centre_of``; a fixed bound needs none. Counts of shape ``(L,)``
    give ``(K,)``, counts of ``S + (L,)`` with ``MANY`` give ``S + (K,)``.
    """
    if isinstance(condition.bound, Absolute):
        fixed, least = bounded(condition, positions, values, condition.bound.value)
        return tests.mean(fixed, given[0], bound=least)
    levels = compared(condition, positions, values)
    return tests.ratings(levels.t, given[0], given[1], centre=centre, drop=levels.drop, levels_c=levels.c_within)


def _centre(condition: Condition, line: Line, past: Past) -> float:
    of_t, of_c = past.t.counts, past.c.counts
    seen = sorted({*of_t, *of_c})
    positions = np.array(seen, dtype=np.int64)
    weights = np.array([of_t.get(at, 0.0) + of_c.get(at, 0.0) for at in seen])
    return min(max(float(centre_of(condition, line.range, positions, weights)), 0.0), 1.0)


def centre_of(condition: Condition, values: Range, positions: NDArray[np.int64], counts: Floats) -> Any:
    """
    Return where the scores of both arms were so far, as a level of control's: shape ``S`` from counts ``S + (L,)``.

    It lies in [0, 1] but for rounding.
    """
    total = counts @ compared(condition, positions, values).c + _CENTRE * _CENTRE_WEIGHT
    return total / (counts.sum(axis=-1) + _CENTRE_WEIGHT)


def _coins(condition: Condition, factor: float, pair: Pair, past: Past) -> Floats:
    edges = coin_edges(condition)
    block = (pair.t.n, _sum(pair.t, edges[0]), pair.c.n, _sum(pair.c, edges[1]))
    return coins(condition, factor, block, _rate_of(past.c.tally(), lower))


def coin_edges(condition: Condition) -> tuple[Edge, Edge]:
    """Return what a score of treatment, and one of control, counts for: of two, what speaks less for harm."""
    return (upper, lower) if low_is_harm(condition) else (lower, upper)


def coins(
    condition: Condition, factor: float, block: tuple[Any, Any, Any, Any], p_hat: Any, tests: Tests = ONE
) -> Floats:
    """
    Return the log e-values of scores that are all or nothing: a few percent less of a frequent one shows soonest as a rate.

    ``block`` holds the scores and their sums, ``n_t, x_t, n_c, x_c``; ``p_hat`` is control's rate in earlier blocks.
    """
    n_t, x_t, n_c, x_c = block
    if low_is_harm(condition):
        return tests.two_sample(n_c, x_c, n_t, x_t, p_hat=factor * p_hat, margin=1.0 / factor, grid=DROP_GRID)
    return tests.two_sample(n_t, x_t, n_c, x_c, p_hat=p_hat, margin=factor)


def _sum(tally: Tally, edge: Edge) -> float:
    """Return the sum of the scores as parts of the range; the log e-value of a part is at most that part of one's."""
    positions = np.array(list(tally.counts), dtype=np.int64)
    return min(float(edge(positions) @ np.array(list(tally.counts.values()))), tally.n) if positions.size else 0.0


def _rate_of(tally: Tally, edge: Edge) -> float:
    return min(_sum(tally, edge) / tally.n, 1.0) if tally.n > 0.0 else 0.0
