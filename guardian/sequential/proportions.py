"""
LB2: whether treatment's rate is above what control's rate of the same block allows.

Each block compares the two arms with each other and with nothing else, so whatever moves both (an incident, a
season, a ramp) cannot add evidence. Control's rate is never estimated into the test: it is inside the null.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from guardian.sequential.checks import (
    ARM_MIN,
    Floats,
    check_arm,
    check_arms,
    check_margin,
    check_margins,
    check_unit,
    check_units,
    spread,
)
from guardian.sequential.counts import count_log_e
from guardian.sequential.grid import DEFAULT_GRID, as_grid
from guardian.sequential.projection import ARRAYS, FLOATS, ratio_log_e

#: Below this guess of control's rate the formula is replaced by its limit, the count test, which needs no
#: guess.
RATE_MIN = 1e-12


def two_sample_block(
    n_t: float,
    x_t: float,
    n_c: float,
    x_c: float,
    *,
    p_hat: float,
    margin: float = 1.0,
    grid: Floats = DEFAULT_GRID,
) -> Floats:
    """
    Return log e-values, one a component of ``grid``, of one block of outcomes of both arms.

    The null: in the block, treatment's mean rate is at most ``margin`` times control's, whatever control's
    is. ``n`` and ``x`` are the units and the units with an event of treatment (``_t``) and control (``_c``);
    they may be fractional (sums of means per unit). ``p_hat`` is a guess of control's rate from *earlier
    blocks only*: a bad guess costs power, never validity; a guess from this very block would void the
    guarantee.

        theta_c = p_hat,   theta_t with odds g times those of r p_hat,   (q, r q) their projection
        log e = x_t log(theta_t/(r q)) + (n_t-x_t) log((1-theta_t)/(1-r q))
              + x_c log(theta_c/q) + (n_c-x_c) log((1-theta_c)/(1-q))

    ``E[e] <= 1`` under the null for every n_t, n_c and every control rate, also where the units of an arm
    differ in their rates (Turner, Ly, Grünwald 2024, arXiv 2106.02693; extended here to margins).
    Natural logs, shape ``(K,)``. Zeros, that is no evidence either way, for an empty arm and for ``margin *
    p_hat >= 1``. A guess below 1e-12 gives `count_block`, the limit of the formula.

    Raises ValueError for counts outside ``0 <= x <= n <= 2**53``, ``p_hat`` outside [0, 1], a margin outside
    [1e-6, 1e6], or a grid with a ratio of 1 or less.
    """
    check_arm("t", n_t, x_t)
    check_arm("c", n_c, x_c)
    check_unit("p_hat", p_hat)
    check_margin(margin)
    if grid is not DEFAULT_GRID:
        grid = as_grid(grid)
    if n_t < ARM_MIN or n_c < ARM_MIN:
        return np.zeros(grid.shape)
    if p_hat < RATE_MIN:
        return count_log_e(x_t, x_c, margin * n_t / n_c, grid)
    room = _one_minus_product(margin, p_hat)
    if room <= 0.0 or p_hat >= 1.0:
        return np.zeros(grid.shape)
    counts = float(n_t), float(x_t), float(n_c), float(x_c)
    return np.array(ratio_log_e(counts, float(p_hat), margin, room, grid.tolist(), FLOATS))


def two_sample_blocks(
    n_t: Any, x_t: Any, n_c: Any, x_c: Any, *, p_hat: Any, margin: Any = 1.0, grid: Floats = DEFAULT_GRID
) -> Floats:
    """
    Return `two_sample_block` for many streams at once: shapes that broadcast to ``S`` give ``S + (K,)``.

    The same formula runs on whole arrays, for simulation, replay and many streams a tick; each stream may have a
    margin of its own. Raises ValueError as `two_sample_block` does, with the first value that is wrong.
    """
    if np.ndim(margin) == 0:
        check_margin(margin := float(margin))
        n_t, x_t, n_c, x_c, p_hat = spread({"n_t": n_t, "x_t": x_t, "n_c": n_c, "x_c": x_c, "p_hat": p_hat})
    else:
        n_t, x_t, n_c, x_c, p_hat, margin = spread(
            {"n_t": n_t, "x_t": x_t, "n_c": n_c, "x_c": x_c, "p_hat": p_hat, "margin": margin}
        )
        check_margins(margin)
    check_arms("t", n_t, x_t)
    check_arms("c", n_c, x_c)
    check_units("p_hat", p_hat)
    if grid is not DEFAULT_GRID:
        grid = as_grid(grid)
    room = _one_minus_product(margin, p_hat)
    silent = (n_t < ARM_MIN) | (n_c < ARM_MIN) | ((p_hat >= RATE_MIN) & ((room <= 0.0) | (p_hat >= 1.0)))
    limit = p_hat < RATE_MIN
    # Harmless stand-ins where another branch answers: no formula divides by zero on its way to being ignored.
    n_t, n_c = np.where(silent, 1.0, n_t), np.where(silent, 1.0, n_c)
    x_t, x_c = np.where(silent, 0.0, x_t), np.where(silent, 0.0, x_c)
    usable = ~(silent | limit)
    p_hat, room = np.where(usable, p_hat, RATE_MIN), np.where(usable, room, 1.0)
    full = np.stack(ratio_log_e((n_t, x_t, n_c, x_c), p_hat, margin, room, grid.tolist(), ARRAYS), axis=-1)
    if limit.any():
        odds = margin * n_t / n_c
        counted = count_log_e(x_t[..., np.newaxis], x_c[..., np.newaxis], odds[..., np.newaxis], grid)
        full = np.where(limit[..., np.newaxis], counted, full)
    return np.asarray(np.where(silent[..., np.newaxis], 0.0, full))


def _one_minus_product(a: Any, b: Any) -> Any:
    """
    Return ``1 - a b`` to full relative accuracy, also where ``a b`` is nearly 1: Dekker's exact product.
    """
    product = a * b
    a_high, b_high = _high_half(a), _high_half(b)
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return (1.0 - product) - error


def _high_half(a: Any) -> Any:
    """
    Return the upper 26 bits of a float (Veltkamp's splitting).
    """
    scaled = a * 134217729.0
    return scaled - (scaled - a)
