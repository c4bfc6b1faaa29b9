"""What a block of a line is worth to a guardrail: its log e-values, from the block and from what came before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from guardian.conditions import Absolute, Bound, Condition, Margin, Relative
from guardian.levels import Floats, bounded, compared, low_is_harm, lower, upper
from guardian.lines import Line
from guardian.sequential import (
    DEFAULT_GRID,
    DEFAULT_TAUS,
    DROP_GRID,
    ControlRate,
    additive_margin_block,
    bucket_edge,
    bucket_key,
    count_block,
    counts_above,
    mean_block,
    quantile_keys,
    ratings_block,
    share_block,
    slowness_block,
    slowness_blocks,
    threshold_block,
    two_sample_block,
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


class Past(msgspec.Struct):
    """
    What earlier blocks said: all guesses come from here, so that none looks at the block that it is used on.

    ``rate`` is control's, ``t`` and ``c`` are both arms' sums, fading. ``is_coin`` says that every score so far was
    the lowest or the highest that there is, ``is_nameless`` that there were events without a unit.
    """

    rate: ControlRate = msgspec.field(default_factory=lambda: ControlRate(half_life_s=HALF_LIFE_S))
    t: Tally = msgspec.field(default_factory=Tally)
    c: Tally = msgspec.field(default_factory=Tally)
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
            if keep < 1.0:
                held.fade(keep)
            held.add(fresh)
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
        # "p95 above the bound" says that more than 5 % take longer than it.
        return threshold_block(pair.t.n, pair.t.x, p0=1.0 - (condition.signal.quantile or 0.5))
    if line.kind == "score" and condition.signal.kind != "thumbs_down_rate":
        return _scores(condition, line, pair, past)
    if line.kind == "fresh":
        found = [share_block(pair.t.n, pair.c.n, share, tolerance=SPLIT_TOLERANCE) for share in shares]
        return np.min(found, axis=0) if found else np.zeros(K)
    if line.kind == "reports" and isinstance(condition.bound, Relative):
        return count_block(pair.t.x, pair.c.x, max(shares), margin=condition.bound.factor) if shares else np.zeros(K)
    return _rates(condition.bound, pair, past, cluster, condition.text)


def _rates(bound: Bound, pair: Pair, past: Past, cluster: float, text: str) -> Floats:
    t, c = pair.t, pair.c
    if isinstance(bound, Relative):
        # More events than units: somebody reports what was shown before. Each counts.
        n_t, n_c = max(t.n, t.x), max(c.n, c.x)
        return two_sample_block(n_t, t.x, n_c, c.x, p_hat=past.rate.p_hat, margin=bound.factor)
    x_t, x_c = t.x + t.left, c.x + c.left
    n_t, n_c = max(t.n, x_t), max(c.n, x_c)
    if isinstance(bound, Margin):
        p_hat = min(past.rate.p_hat + (past.c.left / past.c.n if past.c.n > 0.0 else 0.0), 1.0)
        values = additive_margin_block(n_t, x_t, n_c, x_c, p_hat=p_hat, delta=bound.delta)
    elif isinstance(bound, Absolute):
        values = threshold_block(n_t, x_t, p0=bound.value)
    else:
        raise TypeError(f"guardrail {text!r} has no test of rates")
    return values / cluster if past.is_nameless or t.left + c.left > 0.0 else values


def _slowness(condition: Condition, pair: Pair, past: Past) -> Floats:
    bound = condition.bound
    if isinstance(bound, Relative):
        return slowness_block(past.c.counts, pair.t.counts, pair.c.counts, margin=bound.factor)
    if isinstance(bound, Margin):
        return _slower_by(bound.delta, pair, past.c.counts)
    raise TypeError(f"guardrail {condition.text!r} has no test of latencies against control")


def _slower_by(delta_ms: float, pair: Pair, past: dict[int, float]) -> Floats:
    """Treatment may be slower by so many milliseconds: its edges lie so much higher, up to the next bucket."""
    keys = quantile_keys(past, DEFAULT_TAUS.tolist())
    if not keys:
        return np.zeros(K)
    total = math.fsum(past.values())
    return slowness_blocks(
        math.fsum(pair.t.counts.values()),
        counts_above(pair.t.counts, [bucket_key(bucket_edge(key) + delta_ms) for key in keys]),
        math.fsum(pair.c.counts.values()),
        counts_above(pair.c.counts, keys),
        beyond=counts_above(past, keys) / total,
        weight=total,
    )


def _scores(condition: Condition, line: Line, pair: Pair, past: Past) -> Floats:
    positions = np.array(sorted({*pair.t.counts, *pair.c.counts}), dtype=np.int64)
    given = tuple(np.array([arm.counts.get(at, 0.0) for at in positions.tolist()]) for arm in (pair.t, pair.c))
    bound = condition.bound
    if isinstance(bound, Absolute):
        fixed, least = bounded(condition, positions, line.range, bound.value)
        return mean_block(fixed, given[0], bound=least) if positions.size else np.zeros(K)
    if not positions.size:
        return np.zeros(K)
    if isinstance(bound, Relative) and line.range[0] == 0.0 and past.is_coin:
        return _coins(condition, bound.factor, pair, past)
    levels = compared(condition, positions, line.range)
    centre = _centre(condition, line, past)
    return ratings_block(
        np.clip(levels.t, 0.0, 1.0), given[0], given[1], centre=centre, drop=levels.drop,
        levels_c=np.clip(levels.c, 0.0, 1.0),
    )  # fmt: skip


def _centre(condition: Condition, line: Line, past: Past) -> float:
    """Where both arms' scores were so far, as a level of control's."""
    counts = {at: past.t.counts.get(at, 0.0) + past.c.counts.get(at, 0.0) for at in {*past.t.counts, *past.c.counts}}
    positions = np.array(sorted(counts), dtype=np.int64)
    weights = np.array([counts[at] for at in positions.tolist()])
    levels = compared(condition, positions, line.range).c
    total = float(levels @ weights) + _CENTRE * _CENTRE_WEIGHT
    return min(max(total / (float(weights.sum()) + _CENTRE_WEIGHT), 0.0), 1.0)


def _coins(condition: Condition, factor: float, pair: Pair, past: Past) -> Floats:
    """Scores that are all or nothing are rates: a few percent less of a frequent one shows soonest here."""
    p_hat = _rate_of(past.c, lower)
    if low_is_harm(condition):
        x_t, x_c = _sum(pair.t, upper), _sum(pair.c, lower)
        return two_sample_block(
            pair.c.n, x_c, pair.t.n, x_t, p_hat=factor * p_hat, margin=1.0 / factor, grid=DROP_GRID
        )
    x_t, x_c = _sum(pair.t, lower), _sum(pair.c, upper)
    return two_sample_block(pair.t.n, x_t, pair.c.n, x_c, p_hat=p_hat, margin=factor)


def _sum(tally: Tally, edge: Edge) -> float:
    """Return the sum of the scores as parts of the range; the log e-value of a part is at most that part of one's."""
    positions = np.array(list(tally.counts), dtype=np.int64)
    return min(float(edge(positions) @ np.array(list(tally.counts.values()))), tally.n) if positions.size else 0.0


def _rate_of(tally: Tally, edge: Edge) -> float:
    return min(_sum(tally, edge) / tally.n, 1.0) if tally.n > 0.0 else 0.0
