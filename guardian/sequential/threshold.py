"""
Whether one arm's rate is above a fixed threshold.

For limits that people set (``error_rate > 5 %``) and for arms without a control. Every event is compared with
the threshold alone, so nothing here knows of incidents that hit everybody.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from guardian.sequential.beta import log_above
from guardian.sequential.checks import (
    COUNT_MAX,
    Floats,
    check_arm,
    check_open_unit,
    check_open_units,
    check_positive,
    spread,
)
from guardian.sequential.grid import DEFAULT_GRID, as_grid
from guardian.sequential.lift import head_and_tail


def threshold_block(n: float, x: float, *, p0: float, grid: Floats = DEFAULT_GRID) -> Floats:
    """
    Return log e-values, one a component of ``grid``, of ``x`` events among ``n`` units against ``p0``.

    The null: every unit's rate, given the past, is at most ``p0``. Units need not be independent.

        p1 = g p0 / (1 - p0 + g p0),   log e = x log(p1/p0) + (n-x) log((1-p1)/(1-p0))

    Shape ``(K,)``, natural logs; zeros for ``n = 0``. Raises ValueError unless ``0 <= x <= n <= 2**53`` and
    ``0 < p0 < 1``, or for a grid with a ratio of 1 or less.
    """
    check_arm_of_one(n, x)
    check_open_unit("p0", p0)
    if grid is not DEFAULT_GRID:
        grid = as_grid(grid)
    error, ok_cost = head_and_tail(p0 / (1.0 - p0), grid)
    return np.asarray(x * error - (n - x) * ok_cost)


def threshold_blocks(n: Any, x: Any, *, p0: Any, grid: Floats = DEFAULT_GRID) -> Floats:
    """
    Return `threshold_block` for many streams at once: shapes that broadcast to ``S`` give ``S + (K,)``.

    Each stream may have a threshold of its own. Raises ValueError as `threshold_block` does, with the first value
    that is wrong.
    """
    n, x, p0 = spread({"n": n, "x": x, "p0": p0})
    right = (n >= 0.0) & (n <= COUNT_MAX) & (x >= 0.0) & (x <= n)
    if not right.all():
        check_arm_of_one(float(n[~right][0]), float(x[~right][0]))
    check_open_units("p0", p0)
    if grid is not DEFAULT_GRID:
        grid = as_grid(grid)
    error, ok_cost = head_and_tail((p0 / (1.0 - p0))[..., np.newaxis], grid)
    return np.asarray(x[..., np.newaxis] * error - (n - x)[..., np.newaxis] * ok_cost)


def threshold_mixture(n: float, x: float, *, p0: float, a: float, b: float) -> float:
    """
    Return the log e-value of ``x`` events among ``n``, mixed over a Beta(a, b) cut off below ``p0``.

        log [B(a+x, b+n-x) I_{>p0}(a+x, b+n-x)] - log [B(a, b) I_{>p0}(a, b)] - x log p0 - (n-x) log(1-p0)

    A supermartingale under the null of `threshold_block` (a mixture of likelihood ratios), smooth in x: good
    to show. It has no product form, so it cannot be paid into an account block by block. Equal to the
    one-sided beta-binomial mixture of Howard, Ramdas, McAuliffe, Sekhon 2021 (arXiv 1810.08240) with the
    prior of `mixture_prior`. Raises ValueError unless ``0 <= x <= n <= 2**53``, ``0 < p0 < 1`` and ``a, b``
    are above 0.
    """
    check_arm_of_one(n, x)
    check_open_unit("p0", p0)
    check_positive("a", a)
    check_positive("b", b)
    return log_above(a + x, b + (n - x), p0) - log_above(a, b, p0)


def mixture_prior(p0: float, v_opt: float, alpha_opt: float = 0.05) -> tuple[float, float]:
    """
    Return ``(a, b)`` of the mixture that is tightest at level ``alpha_opt`` for a variance ``v_opt`` so far.

    ``v_opt = n p0 (1-p0)`` for the sample size ``n`` that matters most. With ``L = 2 log(1/(2 alpha_opt))``:
    ``rho = v_opt / (L + log(1 + L))``, ``rr = max(rho - p0(1-p0), p0(1-p0)/1000)``, ``a = rr/(1-p0)``, ``b =
    rr/p0``. Raises ValueError unless ``0 < p0 < 1``, ``v_opt > 0`` and ``0 < alpha_opt < 1/2``.
    """
    check_open_unit("p0", p0)
    check_positive("v_opt", v_opt)
    if not 0.0 < alpha_opt < 0.5:
        raise ValueError(f"alpha_opt is {alpha_opt!r}: a one-sided level must be above 0 and below 0.5")
    level = 2.0 * math.log(1.0 / (2.0 * alpha_opt))
    variance = p0 * (1.0 - p0)
    weight = max(v_opt / (level + math.log1p(level)) - variance, 1e-3 * variance)
    return weight / (1.0 - p0), weight / p0


def check_arm_of_one(n: float, x: float) -> None:
    """
    `check_arm` for a test of one arm, whose arguments are plain ``n`` and ``x``.
    """
    try:
        check_arm("", n, x)
    except ValueError as error:
        raise ValueError(str(error).replace("n_ ", "n ").replace("x_ ", "x ").replace("n_,", "n,")) from None
