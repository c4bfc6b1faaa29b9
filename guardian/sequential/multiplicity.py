"""
Many tests at once.

The first tool needs no code: budgets are expected numbers of false kills, and they add up over signals,
segments and flags under any dependence. What is here serves reports that want a false discovery rate, and the
e-value and p-value that a report may quote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from guardian.sequential.checks import check_open_unit, check_positive


def e_bh(log_e: Sequence[float], alpha: float) -> list[int]:
    """
    Return the positions, ascending, that e-BH rejects at false discovery rate ``alpha``.

    The k largest e-values with the largest k such that the k-th is at least ``m/(alpha k)``. Valid under any
    dependence (Wang and Ramdas 2022, arXiv 2009.02824). Feed *current* values or those at a stopping time,
    never running maxima: for those the rate is not controlled. Raises ValueError for NaN or ``alpha`` outside
    (0, 1).
    """
    check_open_unit("alpha", alpha)
    _check_numbers(log_e)
    m = len(log_e)
    order = sorted(range(m), key=lambda i: -log_e[i])
    passing = [k for k in range(1, m + 1) if log_e[order[k - 1]] >= math.log(m / (alpha * k))]
    return sorted(order[: max(passing, default=0)])


def e_lond(log_e: Sequence[float], alpha: float, spend: Callable[[int], float] | None = None) -> list[int]:
    """
    Return the positions that e-LOND rejects, in the order given (for rollouts: that of their start).

    Rejects t when ``e_t >= 1/(alpha gamma_t (R + 1))`` with R the rejections before t. Controls the false
    discovery rate at every t under any dependence (Xu and Ramdas 2024, arXiv 2311.06412). ``spend(t)``, t
    from 1, must be positive and sum to at most 1; by default ``1/(t (t+1))``.
    """
    check_open_unit("alpha", alpha)
    _check_numbers(log_e)
    rejected: list[int] = []
    for t, value in enumerate(log_e, start=1):
        gamma = 1.0 / (t * (t + 1)) if spend is None else spend(t)
        check_positive(f"spend({t})", gamma)
        if value >= math.log(1.0 / (alpha * gamma * (len(rejected) + 1))):
            rejected.append(t - 1)
    return rejected


def pooled_log_s(log_s: Sequence[float]) -> float:
    """
    Return ``log(sum S)`` of several accounts that share one budget: kill when it reaches 0.

    Never later than asking each account on its own, and the budget of the sum is the sum of the budgets.
    """
    _check_numbers(log_s)
    largest = max(log_s, default=-math.inf)
    if largest == -math.inf:
        return -math.inf
    return largest + math.log(math.fsum(math.exp(value - largest) for value in log_s))


def log_e_value(log_s: float, budget: float) -> float:
    """
    Return ``log(S/B)``, an e-value at any time if ``budget`` B is the *whole* deposit of the horizon.

    What was deposited so far is not B: at a time chosen by looking at the data that quotient is no e-value.
    """
    _check_numbers([log_s])
    check_positive("budget", budget)
    return log_s - math.log(budget)


def anytime_p(max_log_s: float, budget: float) -> float:
    """
    Return the anytime p-value ``min(1, B / max S)``, with the horizon's *whole* budget B.
    """
    return math.exp(min(0.0, -log_e_value(max_log_s, budget)))


def _check_numbers(values: Sequence[float]) -> None:
    for position, value in enumerate(values):
        if math.isnan(value):
            raise ValueError(f"value {position} is NaN: the log of an e-value or account is a number or -inf")
