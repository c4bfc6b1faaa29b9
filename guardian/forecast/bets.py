"""What a block is worth to a guardrail in each run: the rules of ``guardian.betting`` and ``guardian.watch`` in arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from guardian.betting import MANY, SPLIT_TOLERANCE, centre_of, coin_edges, coins, rates, scores, too_slow
from guardian.conditions import Absolute, Relative
from guardian.forecast.harm import Harm
from guardian.forecast.laws import WHOLE
from guardian.forecast.scene import Watched
from guardian.forecast.sums import Past, Sums, When
from guardian.levels import lower
from guardian.sequential import DEFAULT_TAUS, count_blocks, share_blocks, slowness_blocks, threshold_blocks
from guardian.sequential.checks import Bools, Floats

K = 8


def when_full(watched: Watched) -> When:
    """Return when a block of the guardrail is full."""
    if watched.kind == "fresh":
        return When.EITHER
    return When.ALONE if isinstance(watched.guardrail.when.bound, Absolute) else When.BOTH


def log_e(watched: Watched, harm: Harm, block: Sums, rows: Bools, past: Past, share: Floats) -> Floats:
    """
    Return the log e-values of the blocks of some runs, ``(rows.sum(), K)``.

    ``block`` and treatment's ``share`` hold these runs alone, ``past`` all of them.
    """
    condition, kind = watched.guardrail.when, watched.kind
    counts = block.n_t, block.x_t[:, 0], block.n_c, block.x_c[:, 0]
    if kind == "latency":
        return slowness_blocks(
            block.n_t, block.x_t, block.n_c, block.x_c, beyond=1.0 - DEFAULT_TAUS, weight=past.weight[rows]
        )
    if kind == "over":
        return threshold_blocks(counts[0], counts[1], p0=too_slow(condition))
    if kind == "fresh":
        return _shared(share, lambda of: share_blocks(block.n_t, block.n_c, of, tolerance=SPLIT_TOLERANCE))
    if kind == "reports" and isinstance(condition.bound, Relative):
        margin = condition.bound.factor
        return _shared(share, lambda of: count_blocks(counts[1], counts[3], of, margin=margin))
    if kind == "score" and condition.signal.kind != "thumbs_down_rate":
        return _scores(watched, harm, block, past.given[:, rows])
    return rates(condition, counts, past.p_hat[rows], MANY)


def _shared(share: Floats, test: Callable[[Floats], Floats]) -> Floats:
    """At a share of nothing or of all there is nothing to compare."""
    able = (share > 0.0) & (share < 1.0)
    return np.where(able[:, np.newaxis], test(np.where(able, share, 0.5)), 0.0)


def _scores(watched: Watched, harm: Harm, block: Sums, past: Floats) -> Floats:
    assert harm.positions is not None
    assert watched.line is not None
    condition, positions, values = watched.guardrail.when, harm.positions, watched.line.range
    given_t, given_c = block.given
    is_coin = positions.tolist() == WHOLE
    if isinstance(condition.bound, Relative) and values[0] == 0.0 and is_coin:
        edge_t, edge_c = coin_edges(condition)
        p_hat = past[1] @ lower(positions) / np.maximum(past[1].sum(axis=-1), 1e-9)
        # Sums of parts may miss the number of scores by a rounding.
        x_t, x_c = np.minimum(given_t @ edge_t(positions), block.n_t), np.minimum(given_c @ edge_c(positions), block.n_c)
        return coins(condition, condition.bound.factor, (block.n_t, x_t, block.n_c, x_c), np.minimum(p_hat, 1.0), MANY)
    if isinstance(condition.bound, Absolute):
        return scores(condition, values, positions, (given_t, given_c), 0.0, MANY)
    centre = np.clip(centre_of(condition, values, positions, past.sum(axis=0)), 0.0, 1.0)
    return scores(condition, values, positions, (given_t, given_c), centre, MANY)
