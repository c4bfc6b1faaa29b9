"""
Intervals that hold at every moment at once.

For people: where the rate is, now and at any time they care to look. Decisions never use these; the tests
need no constant rate, the intervals do.
"""

from __future__ import annotations

import math

from guardian.sequential.beta import log_full
from guardian.sequential.checks import check_arm, check_open_unit
from guardian.sequential.threshold import check_arm_of_one

_NEWTON_STEPS_MAX = 200


def rate_interval(n: float, x: float, alpha: float = 0.05) -> tuple[float, float]:
    """
    Return ``(lo, hi)`` that contains the rate, at all sample sizes at once, but for a chance ``alpha``.

    All p with ``log B(1+x, 1+n-x) - x log p - (n-x) log(1-p) < log(1/alpha)``: the Beta(1,1) mixture of
    likelihood ratios against p stays below ``1/alpha`` forever with probability ``1 - alpha`` (Ville).
    Assumed: every unit's rate, given the past, is the same p. Under a drifting rate this is a summary of the
    data, not a guarantee.

    ``(0, 1)`` for ``n = 0``; ``lo`` is 0 without an event and ``hi`` is 1 with nothing but events. Raises
    ValueError unless ``0 <= x <= n <= 2**53`` and ``0 < alpha < 1``.
    """
    check_arm_of_one(n, x)
    check_open_unit("alpha", alpha)
    if n == 0.0:
        return 0.0, 1.0
    lo = _end(n, x, alpha, -1.0) if x > 0.0 else 0.0
    hi = _end(n, x, alpha, 1.0) if x < n else 1.0
    return lo, hi


def ratio_interval(n_t: float, x_t: float, n_c: float, x_c: float, alpha: float = 0.05) -> tuple[float, float | None]:
    """
    Return ``(lo, hi)`` that contains the ratio of treatment's rate to control's, at all sample sizes at once.

    Conservative: the quotients of the ends of both arms' intervals at level ``alpha/2`` each. ``hi`` is None,
    no upper bound, while control's lower end is 0. Assumed, as for `rate_interval`: a constant rate in each
    arm.
    """
    check_arm("t", n_t, x_t)
    check_arm("c", n_c, x_c)
    check_open_unit("alpha", alpha)
    lo_t, hi_t = rate_interval(n_t, x_t, alpha / 2.0)
    lo_c, hi_c = rate_interval(n_c, x_c, alpha / 2.0)
    upper = hi_t / lo_c if lo_c > 0.0 else math.inf
    return lo_t / hi_c, upper if upper < math.inf else None


def _end(n: float, x: float, alpha: float, side: float) -> float:
    """
    Return the end of `rate_interval` below (side -1) or above (side 1) the observed rate.

    In the log odds the log mixture is convex, so Newton from any point outside the interval walks to its end
    and never steps inside.
    """
    a, b = 1.0 + x, 1.0 + (n - x)
    y = math.log(x / (n - x)) if 0.0 < x < n else math.log((x + 0.5) / (n - x + 0.5))
    width = 1.0 / math.sqrt(min(x, n - x) + 0.5)
    while _excess(a, b, y + side * width, alpha)[0] <= 0.0:
        width *= 2.0
    y += side * width
    for _ in range(_NEWTON_STEPS_MAX):
        excess, slope = _excess(a, b, y, alpha)
        following = y - excess / slope
        if excess <= 0.0 or following == y:
            break
        y = following
    return _expit(y)


def _excess(a: float, b: float, y: float, alpha: float) -> tuple[float, float]:
    """
    Return the log mixture against the rate of log odds ``y``, less ``log(1/alpha)``, and its slope in ``y``.
    """
    p, q = _expit(y), _expit(-y)
    excess = log_full(a, b, p, q) + math.log(p) + math.log(q) + math.log(alpha)
    return excess, p * (b - 1.0) - q * (a - 1.0)


def _expit(y: float) -> float:
    return 1.0 / (1.0 + math.exp(-y)) if y >= 0.0 else math.exp(y) / (1.0 + math.exp(y))
