"""
LB2: whether treatment's rate is above what control's rate of the same block allows.

Each block compares the two arms with each other and with nothing else, so whatever moves both (an incident, a
season, a ramp) cannot add evidence. Control's rate is never estimated into the test: it is inside the null.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from guardian.sequential.checks import (
    ARM_MIN,
    COUNT_MAX,
    Floats,
    check_arm,
    check_margin,
    check_open_unit,
    check_unit,
)
from guardian.sequential.counts import count_log_e
from guardian.sequential.grid import DEFAULT_GRID, as_grid
from guardian.sequential.projection import ARRAYS, FLOATS, Difference, difference_log_e, ratio_log_e

#: Below this guess of control's rate the formula is replaced by its limit, the count test, which needs no
#: guess.
RATE_MIN = 1e-12

#: A guess of control's rate below this part of an absolute margin is raised to it: a guess of zero would make
#: the first control error look impossible.
FLOOR_OF_DELTA = 0.1


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
    n_t: Any, x_t: Any, n_c: Any, x_c: Any, *, p_hat: Any, margin: float = 1.0, grid: Floats = DEFAULT_GRID
) -> Floats:
    """
    Return `two_sample_block` for many streams at once: shapes that broadcast to ``S`` give ``S + (K,)``.

    The same formula runs on whole arrays, for simulation, replay and many streams a tick. Raises ValueError
    as `two_sample_block` does, naming the argument but not the position.
    """
    arrays = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (n_t, x_t, n_c, x_c, p_hat)))
    n_t, x_t, n_c, x_c, p_hat = arrays
    for arm, n, x in (("t", n_t, x_t), ("c", n_c, x_c)):
        if not ((n >= 0.0) & (n <= COUNT_MAX) & (x >= 0.0) & (x <= n)).all():
            raise ValueError(f"n_{arm}, x_{arm}: every count must satisfy 0 <= x_{arm} <= n_{arm} <= 2**53")
    if not ((p_hat >= 0.0) & (p_hat <= 1.0)).all():
        raise ValueError("p_hat: every guess of control's rate must be a number from 0 to 1")
    check_margin(margin)
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


def additive_margin_block(
    n_t: float,
    x_t: float,
    n_c: float,
    x_c: float,
    *,
    p_hat: float,
    delta: float,
    grid: Floats = DEFAULT_GRID,
) -> Floats:
    """
    Return log e-values of one block: is treatment's rate at most control's plus ``delta``.

    As `two_sample_block`, with the boundary ``{(q, q + delta)}`` in place of ``{(q, margin q)}``: ``delta =
    0.002`` tolerates 0.2 percentage points more. The alternatives have odds g times those of ``p_hat +
    delta``; a ``p_hat`` below a tenth of ``delta`` counts as that tenth. For rates above 20 % this margin is
    the better one, since a multiple of such a rate may exceed 1. A negative delta asks treatment to be better
    by that much.

    Zeros for an empty arm and for ``p_hat + delta`` outside (0, 1). Raises ValueError as `two_sample_block`
    does, and for ``delta`` outside (-1, 1).
    """
    _check_delta(delta)
    if delta == 0.0:
        return two_sample_block(n_t, x_t, n_c, x_c, p_hat=p_hat, grid=grid)
    check_arm("t", n_t, x_t)
    check_arm("c", n_c, x_c)
    check_unit("p_hat", p_hat)
    if grid is not DEFAULT_GRID:
        grid = as_grid(grid)
    theta_c = float(max(p_hat, FLOOR_OF_DELTA * delta))
    boundary = theta_c + delta
    room = (1.0 - delta) - theta_c
    if n_t < ARM_MIN or n_c < ARM_MIN or theta_c >= 1.0 or boundary < RATE_MIN or room <= 0.0:
        return np.zeros(grid.shape)
    counts = float(n_t), float(x_t), float(n_c), float(x_c)
    answer = []
    for g in grid.tolist():
        z = (g - 1.0) * boundary
        rest = room / (1.0 + z)
        answer.append(difference_log_e(counts, Difference(theta_c, delta, boundary, z * rest, rest))[1])
    return np.array(answer)


def additive_margin_pair(
    n_t: float, x_t: float, n_c: float, x_c: float, *, theta_t: float, theta_c: float, delta: float
) -> tuple[float, float]:
    """
    Return ``(q, log e)`` for one alternative given by its two rates.

    Against the null of `additive_margin_block`; ``q`` is control's rate at the projection of the pair on the
    boundary. Raises ValueError unless both rates lie in (0, 1), ``delta`` in (-1, 1), ``theta_t > theta_c +
    delta > 0``, both arms have units and ``0 <= x <= n`` in each.
    """
    check_arm("t", n_t, x_t)
    check_arm("c", n_c, x_c)
    _check_delta(delta)
    check_open_unit("theta_t", theta_t)
    check_open_unit("theta_c", theta_c)
    check_open_unit("theta_c + delta", theta_c + delta)
    if n_t < ARM_MIN or n_c < ARM_MIN:
        raise ValueError(f"n_t is {n_t!r} and n_c is {n_c!r}: a projection needs units in both arms")
    gap = math.fsum((theta_t, -theta_c, -delta))
    if not gap > 0.0:
        raise ValueError(f"theta_t is {theta_t!r}: an alternative lies above theta_c + delta, {theta_c + delta!r}")
    counts = float(n_t), float(x_t), float(n_c), float(x_c)
    return difference_log_e(counts, Difference(theta_c, delta, theta_c + delta, gap, 1.0 - theta_t))


def _check_delta(delta: float) -> None:
    if not -1.0 < delta < 1.0:
        raise ValueError(f"delta is {delta!r}: an absolute margin is a difference of rates, above -1 and below 1")


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
