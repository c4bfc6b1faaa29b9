"""
What a block is worth to a condition of health: the tests of harm with the arms swapped (docs/statistics.md).

A guardrail's null is "no harm", a stage's ``until`` has the opposite one: ``error_rate < 1.1x control`` is shown
when evidence against "treatment's rate is at least 1.1 times control's" has been enough. Each form here is a test
of ``guardian.betting`` read from the other side, so ``E[e] <= 1`` holds for the same reason.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from guardian.betting import K, Past
from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.levels import Floats, lower, upper
from guardian.lines import Line
from guardian.plan import Range
from guardian.sequential import (
    DROP_GRID,
    additive_margin_block,
    bucket_edge,
    bucket_key,
    count_above,
    mean_block,
    quantile_key,
    ratings_block,
    threshold_block,
    two_sample_block,
)
from guardian.tally import Pair, Tally

_FLOOR_OF_DELTA = 0.1
"""A guess of no failures at all is raised to this part of the margin: the first one may not look impossible."""
_CENTRE, _CENTRE_WEIGHT = 0.7, 2.0

Block = tuple[float, float, float, float]
"""``n_t, x_t, n_c, x_c``."""


def readings(line: Line) -> int:
    """
    Return how many readings of a line must show a condition, each in an account of its own.

    Failures are read twice. Units that fail for the first time become fewer in the arm that fails more, as its unlucky
    units have all failed already: read alone they would make it look better and better. All failures do not, but in them
    a few broken clients speak for many. What both show is so.
    """
    return 2 if line.kind == "failures" else 1


def health_log_e(condition: Condition, line: Line, pair: Pair, past: Past, cluster: float) -> list[Floats]:
    """
    Return the log e-values of a block against "the condition is not so", shape ``(K,)``, one for each reading.

    Guesses are from ``past`` blocks. ``cluster`` is how many events without a unit may be one's. Raises TypeError for
    a condition that has no test on this line.
    """
    if line.kind == "failures":
        return [_first_failures(condition, pair, past, cluster), _every_failure(condition, pair, past, cluster)]
    if line.kind == "latency":
        return [_fast(condition, pair, past)]
    if line.kind == "over":
        return [threshold_block(pair.t.n, pair.t.n - pair.t.x, p0=condition.signal.quantile or 0.5, grid=DROP_GRID)]
    if line.kind == "score" and condition.signal.kind != "thumbs_down_rate":
        return [_scores(condition, line.range, pair, past)]
    return [rates_shown(condition, _block(pair, pair.t.x, pair.c.x), past.rate.p_hat)]


def rates_shown(condition: Condition, block: Block, p_hat: float) -> Floats:
    """
    Return the log e-values of ``n_t, x_t, n_c, x_c`` against "treatment's rate is at least the bound", shape ``(K,)``.

    ``p_hat`` is a guess of the rate of both arms. Amounts are compared by what did *not* fail, where they are small
    against the rate. Raises TypeError for a bound that has no such test.
    """
    n_t, x_t, n_c, x_c = block
    bound = condition.bound
    if isinstance(bound, Relative):
        return two_sample_block(n_c, x_c, n_t, x_t, p_hat=p_hat, margin=1.0 / bound.factor, grid=DROP_GRID)
    if isinstance(bound, Margin):
        guess = 1.0 - max(p_hat, _FLOOR_OF_DELTA * abs(bound.delta))
        return additive_margin_block(
            n_t, n_t - x_t, n_c, n_c - x_c, p_hat=guess, delta=-bound.delta, grid=DROP_GRID
        )  # fmt: skip
    if isinstance(bound, Absolute):
        return threshold_block(n_t, n_t - x_t, p0=1.0 - bound.value, grid=DROP_GRID)
    raise TypeError(f"condition {condition.text!r} has no test of rates")


def _block(pair: Pair, x_t: float, x_c: float) -> Block:
    return max(pair.t.n, x_t), x_t, max(pair.c.n, x_c), x_c


def _first_failures(condition: Condition, pair: Pair, past: Past, cluster: float) -> Floats:
    t, c = pair.t, pair.c
    if isinstance(condition.bound, Relative):
        return rates_shown(condition, _block(pair, t.x, c.x), past.rate.p_hat)
    p_hat = min(past.rate.p_hat + _part(past.c.left, past.c.n), 1.0)
    return _tempered(rates_shown(condition, _block(pair, t.x + t.left, c.x + c.left), p_hat), pair, past, cluster)


def _every_failure(condition: Condition, pair: Pair, past: Past, cluster: float) -> Floats:
    values = rates_shown(condition, _block(pair, pair.t.every, pair.c.every), _part(past.c.every, past.c.n))
    return _tempered(values, pair, past, cluster)


def _tempered(values: Floats, pair: Pair, past: Past, cluster: float) -> Floats:
    return values / cluster if past.is_nameless or pair.t.left + pair.c.left > 0.0 else values


def _part(x: float, n: float) -> float:
    return min(x / n, 1.0) if n > 0.0 else 0.0


def _fast(condition: Condition, pair: Pair, past: Past) -> Floats:
    """
    Compare the requests beyond one quantile of control's past, treatment's edge moved by what it may be slower.

    Only that quantile: of several, a variation that is faster at one and slower at the other would look fast. The
    moved edge is rounded to a bucket that lies nearer, where treatment has more requests beyond.
    """
    key, bound = quantile_key(past.c.counts, condition.signal.quantile or 0.5), condition.bound
    if key is None:
        return np.zeros(K)
    edge_ms = bucket_edge(key)
    limit_ms = edge_ms * bound.factor if isinstance(bound, Relative) else edge_ms + _delta(condition)
    if limit_ms <= 0.0:
        return np.zeros(K)
    moved = bucket_key(limit_ms)
    if bucket_edge(moved) > limit_ms * (1.0 + 1e-12):
        moved -= 1
    n_t, n_c = (math.fsum(arm.counts.values()) for arm in (pair.t, pair.c))
    guess = _part(count_above(past.t.counts, moved), math.fsum(past.t.counts.values()))
    return two_sample_block(
        n_c, count_above(pair.c.counts, key), n_t, count_above(pair.t.counts, moved), p_hat=guess, grid=DROP_GRID
    )


def _delta(condition: Condition) -> float:
    if not isinstance(condition.bound, Margin):
        raise TypeError(f"condition {condition.text!r} has no test of latencies against control")
    return condition.bound.delta


def _scores(condition: Condition, values: Range, pair: Pair, past: Past) -> Floats:
    positions = np.array(sorted({*pair.t.counts, *pair.c.counts}), dtype=np.int64)
    if not positions.size:
        return np.zeros(K)
    bound = condition.bound
    if isinstance(bound, Absolute):
        part = (bound.value - values[0]) / (values[1] - values[0])
        if _is_low_good(condition):
            return mean_block(upper(positions), _given(pair.t, positions), bound=part)
        return mean_block(1.0 - lower(positions), _given(pair.t, positions), bound=1.0 - part)
    level_t, level_c = score_levels(condition, values, positions)
    centre = _centre(condition, values, past)
    return ratings_block(
        level_c, _given(pair.c, positions), _given(pair.t, positions), centre=centre, levels_c=level_t
    )  # fmt: skip


def score_levels(condition: Condition, values: Range, positions: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """
    Return levels in [0, 1] of treatment and of control: the condition is so exactly where treatment's mean is above.

    Between two steps of the grid each arm's level is the one that says less for health. Raises TypeError for a fixed
    bound, which compares nothing.
    """
    bound, (low, high) = condition.bound, values
    is_high_good = not _is_low_good(condition)
    part_t, part_c = (lower(positions), upper(positions)) if is_high_good else (upper(positions), lower(positions))
    if isinstance(bound, Margin) or (isinstance(bound, Relative) and bound.factor == 1.0):
        # Whichever arm is given the amount, both are brought back into [0, 1].
        drop = (bound.delta if isinstance(bound, Margin) else 0.0) / (high - low)
        good_t, good_c = (part_t, part_c) if is_high_good else (1.0 - part_t, 1.0 - part_c)
        given = -drop if is_high_good else drop
        whole = 1.0 + abs(drop)
        return _within(good_t + max(given, 0.0), whole), _within(good_c + max(-given, 0.0), whole)
    if not isinstance(bound, Relative):
        raise TypeError(f"condition {condition.text!r} compares nothing with control")
    value_t, value_c = ((low + (high - low) * part) / high for part in (part_t, part_c))
    most = max(bound.factor, 1.0)
    level_t, level_c = value_t / most, bound.factor * value_c / most
    return (_within(level_t), _within(level_c)) if is_high_good else (_within(1.0 - level_t), _within(1.0 - level_c))


def _is_low_good(condition: Condition) -> bool:
    return condition.op in ("<", "<=")


def _within(levels: Floats, whole: float = 1.0) -> Floats:
    return np.clip(levels / whole, 0.0, 1.0)


def _given(tally: Tally, positions: NDArray[np.int64]) -> Floats:
    return np.array([tally.counts.get(at, 0.0) for at in positions.tolist()])


def _centre(condition: Condition, values: Range, past: Past) -> float:
    """Return where control's levels and treatment's were so far, together: a guess for both."""
    positions = np.array(sorted({*past.t.counts, *past.c.counts}), dtype=np.int64)
    total, weight = _CENTRE * _CENTRE_WEIGHT, _CENTRE_WEIGHT
    if positions.size:
        for level, tally in zip(score_levels(condition, values, positions), (past.t.tally(), past.c.tally()), strict=True):
            given = _given(tally, positions)
            total, weight = total + float(level @ given), weight + float(given.sum())
    return min(max(total / weight, 0.0), 1.0)
