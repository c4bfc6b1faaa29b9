"""
LB2 with an absolute margin: whether treatment's rate exceeds control's by more than so many points.

The test of `proportions`, with the boundary ``{(q, q + delta)}`` in place of ``{(q, r q)}``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from guardian.sequential.checks import (
    ARM_MIN,
    Floats,
    check_arm,
    check_arms,
    check_open_unit,
    check_unit,
    check_units,
    spread,
)
from guardian.sequential.difference_projection import Line, difference_log_e
from guardian.sequential.grid import DEFAULT_GRID, as_grid
from guardian.sequential.projection import ARRAYS, FLOATS
from guardian.sequential.proportions import RATE_MIN, two_sample_block, two_sample_blocks

#: A guess of control's rate below this part of an absolute margin is raised to it: a guess of zero would make
#: the first control error look impossible.
FLOOR_OF_DELTA = 0.1


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
    check_arm("t", n_t, x_t)
    check_arm("c", n_c, x_c)
    check_unit("p_hat", p_hat)
    _check_delta(delta)
    if delta == 0.0:
        return two_sample_block(n_t, x_t, n_c, x_c, p_hat=p_hat, grid=grid)
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
        answer.append(difference_log_e(counts, Line(theta_c, float(delta), boundary, z * rest, rest), FLOATS)[1])
    return np.array(answer)


def additive_margin_blocks(
    n_t: Any, x_t: Any, n_c: Any, x_c: Any, *, p_hat: Any, delta: Any, grid: Floats = DEFAULT_GRID
) -> Floats:
    """
    Return `additive_margin_block` for many streams at once: shapes that broadcast to ``S`` give ``S + (K,)``.

    Each stream may have a margin of its own. Raises ValueError as `additive_margin_block` does, with the first
    value that is wrong.
    """
    n_t, x_t, n_c, x_c, p_hat, delta = spread(
        {"n_t": n_t, "x_t": x_t, "n_c": n_c, "x_c": x_c, "p_hat": p_hat, "delta": delta}
    )
    check_arms("t", n_t, x_t)
    check_arms("c", n_c, x_c)
    check_units("p_hat", p_hat)
    if not ((delta > -1.0) & (delta < 1.0)).all():
        _check_delta(float(delta[~((delta > -1.0) & (delta < 1.0))][0]))
    if grid is not DEFAULT_GRID:
        grid = as_grid(grid)
    theta_c = np.maximum(p_hat, FLOOR_OF_DELTA * delta)
    boundary = theta_c + delta
    room = (1.0 - delta) - theta_c
    silent = (n_t < ARM_MIN) | (n_c < ARM_MIN) | (theta_c >= 1.0) | (boundary < RATE_MIN) | (room <= 0.0)
    none = delta == 0.0
    # Harmless stand-ins where another branch answers: no formula divides by zero on its way to being ignored.
    usable = ~(silent | none)
    stand_in = [np.where(usable, a, b) for a, b in ((n_t, 1.0), (x_t, 0.0), (n_c, 1.0), (x_c, 0.0))]
    theta_c, boundary = np.where(usable, theta_c, 0.25), np.where(usable, boundary, 0.5)
    room, line_delta = np.where(usable, room, 0.5), np.where(usable, delta, 0.25)
    z = (grid - 1.0) * boundary[..., np.newaxis]
    rest = room[..., np.newaxis] / (1.0 + z)
    at, by, edge = (a[..., np.newaxis] for a in (theta_c, line_delta, boundary))
    _, log_e = difference_log_e([a[..., np.newaxis] for a in stand_in], Line(at, by, edge, z * rest, rest), ARRAYS)
    answer = np.where(silent[..., np.newaxis], 0.0, log_e)
    if none.any():
        plain = two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=p_hat, grid=grid)
        answer = np.where(none[..., np.newaxis], plain, answer)
    return np.asarray(answer)


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
    return difference_log_e(counts, Line(theta_c, delta, theta_c + delta, gap, 1.0 - theta_t), FLOATS)


def _check_delta(delta: float) -> None:
    if not -1.0 < delta < 1.0:
        raise ValueError(f"delta is {delta!r}: an absolute margin is a difference of rates, above -1 and below 1")
