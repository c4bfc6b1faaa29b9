"""
LB1: on whose arm the events fall.

Given that an event happened, it falls on treatment with a probability that only the shares of exposure and
the ratio of the two rates decide; the base rate, however it moves, cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from guardian.sequential.checks import (
    Floats,
    check_count,
    check_counts,
    check_margin,
    check_margins,
    check_unit,
    check_units,
    spread,
)
from guardian.sequential.grid import DEFAULT_GRID, as_grid
from guardian.sequential.lift import head_and_tail


def count_block(x_t: float, x_c: float, share: float, *, margin: float = 1.0, grid: Floats = DEFAULT_GRID) -> Floats:
    """
    Return log e-values, one a component of ``grid``, of one block of event counts.

    The null: in the block, treatment's rate per exposure is at most ``margin`` times control's. ``x_t`` and
    ``x_c`` are the events of the two arms, ``share`` is treatment's share of the exposures at risk (users,
    sessions, request starts or seconds) in this block.

        th0 = w r / (w r + 1 - w),   th1 = w r g / (w r g + 1 - w)
        log e = x_t log(th1/th0) + x_c log((1-th1)/(1-th0))

    ``E[e] <= 1`` under that null for Poisson counts with any intensities that move together (with equality
    where the rates are ``margin`` apart), for Bernoulli outcomes (the inequality of the means), and by
    randomisation alone where a unit brings at most one event: then the treatment count is hypergeometric,
    which the binomial dominates in convex order (Hoeffding 1963, theorem 4). Cf. Lindon and Malek 2022, arXiv
    2011.03567.

    To watch for a drop, swap the arms and pass ``1 - share``. A share of 0 or 1 compares nothing: log e is 0.
    Shape ``(K,)``, natural logs. Raises ValueError for a negative count, a share outside [0, 1], a margin
    outside [1e-6, 1e6] or a grid with a ratio of 1 or less.
    """
    check_count("x_t", x_t)
    check_count("x_c", x_c)
    check_unit("share", share)
    check_margin(margin)
    if grid is not DEFAULT_GRID:
        grid = as_grid(grid)
    if share in {0.0, 1.0}:
        return np.zeros(grid.shape)
    return count_log_e(x_t, x_c, margin * share / (1.0 - share), grid)


def count_blocks(x_t: Any, x_c: Any, share: Any, *, margin: Any = 1.0, grid: Floats = DEFAULT_GRID) -> Floats:
    """
    Return `count_block` for many streams at once: shapes that broadcast to ``S`` give ``S + (K,)``.

    Each stream may have a share and a margin of its own. Raises ValueError as `count_block` does, with the first
    value that is wrong.
    """
    x_t, x_c, share, margin = spread({"x_t": x_t, "x_c": x_c, "share": share, "margin": margin})
    check_counts("x_t", x_t)
    check_counts("x_c", x_c)
    check_units("share", share)
    check_margins(margin)
    if grid is not DEFAULT_GRID:
        grid = as_grid(grid)
    silent = (share == 0.0) | (share == 1.0)
    share = np.where(silent, 0.5, share)
    odds = margin * share / (1.0 - share)
    log_e = count_log_e(x_t[..., np.newaxis], x_c[..., np.newaxis], odds[..., np.newaxis], grid)
    return np.asarray(np.where(silent[..., np.newaxis], 0.0, log_e))


def count_log_e(x_t: float | Floats, x_c: float | Floats, odds: float | Floats, grid: Floats) -> Floats:
    """
    Return `count_block`, unchecked, for ``odds = margin * share/(1 - share)``; leading axes broadcast.
    """
    head, tail_cost = head_and_tail(odds, grid)
    return np.asarray(x_t * head - x_c * tail_cost)
