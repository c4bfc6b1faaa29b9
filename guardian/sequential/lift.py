"""
The log likelihood ratio of one coin whose odds are lifted by a factor.

Three tests are this one ratio: counts (whose arm did the event fall on?), a rate against a threshold, and the
share of exposures. A coin with probability ``th`` of heads and odds ``o = th/(1-th)`` becomes the coin with
odds ``g o``; the two logs below are what one head and one tail are worth. Both keep full relative accuracy
for odds from 1e-300 to 1e300, where the textbook quotient of probabilities loses every digit.
"""

from __future__ import annotations

import numpy as np

from guardian.sequential.checks import Floats


def head_and_tail(odds: float | Floats, lift: Floats) -> tuple[Floats, Floats]:
    """
    Return ``log(th1/th0)`` and ``-log((1-th1)/(1-th0))`` of the coin ``th0 = odds/(1+odds)``, lifted.

    With ``m = lift - 1``: ``th1/th0 = 1 + m/(1 + lift odds)`` and ``(1-th0)/(1-th1) = 1 + m odds/(1+odds)``.
    The second is returned with the sign that makes it positive for a lift above 1: it is what a tail costs.
    """
    extra = lift - 1.0
    head = np.log1p(extra / (1.0 + lift * odds))
    tail_cost = np.log1p(extra * (odds / (1.0 + odds)))
    return head, tail_cost
