"""
Other people's methods, for comparison only: the product never decides with them.

Written from the papers' formulas, and held to values that their own libraries computed (`tests/data`).
"""

from __future__ import annotations

import math

from scipy.optimize import bisect, minimize_scalar


def growthbook_lower_bound(
    n_t: float, x_t: float, n_c: float, x_c: float, *, alpha: float, tuned_for: float = 5000.0
) -> float:
    """
    Return the lower end of GrowthBook's one-sided asymptotic confidence sequence for ``p_t - p_c``.

    Waudby-Smith et al. (arXiv 2103.06476) with pooled totals: assumes constant rates and enough errors in *both*
    arms; ``-inf`` where an arm has no variance yet.
    """
    n, p_t, p_c = n_t + n_c, x_t / n_t, x_c / n_c
    variance = n * (p_t * (1.0 - p_t) / n_t + p_c * (1.0 - p_c) / n_c)
    if not (0.0 < p_t < 1.0 and 0.0 < p_c < 1.0):
        return -math.inf
    level = -2.0 * math.log(2.0 * alpha)
    rho = math.sqrt((level + math.log(level + 1.0)) / tuned_for)
    grown = n * rho * rho + 1.0
    spread = 2.0 * grown / (n * rho) ** 2 * math.log1p(math.sqrt(grown) / (2.0 * alpha))
    return p_t - p_c - math.sqrt(variance * spread)


def howard_ramdas_radius(t: float, alpha: float, t_min: float = 1.0, a: float = 0.85) -> float:
    """
    Return the radius of the time-uniform band around an empirical CDF (Howard and Ramdas 2022, corollary 2).

    ``a sqrt((log(1 + log(t/t_min)) + c)/t)`` with the smallest c for which the union bound over epochs of ratio eta,
    ``4 exp(-gamma2 c) (1 + 1/((gamma2 - 1) log eta))``, reaches alpha at its best eta.
    """

    def error(c: float, eta: float) -> float:
        gamma2 = 2.0 / eta * (a - math.sqrt(2.0 * (eta - 1.0) / c)) ** 2
        if gamma2 <= 1.0:
            return math.inf
        return 4.0 * math.exp(-gamma2 * c) * (1.0 + 1.0 / ((gamma2 - 1.0) * math.log(eta)))

    def least_error(c: float) -> float:
        eta_max = bisect(lambda eta: math.sqrt(eta / 2.0) + math.sqrt(2.0 * (eta - 1.0) / c) - a, 1.0, 2.0 * a * a)
        found = minimize_scalar(
            lambda eta: min(error(c, eta), 1e9),
            bounds=(1.0 + 1e-12, eta_max),
            method="bounded",
            options={"xatol": 1e-10},
        )
        return float(found.fun)

    c = bisect(lambda c: math.log(least_error(c)) - math.log(alpha), 2.0, 60.0, xtol=1e-10)
    return a * math.sqrt((math.log1p(math.log(t / t_min)) + c) / t)
