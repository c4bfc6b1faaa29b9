"""
Many tests at once.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import Account, anytime_p, e_bh, e_lond, pooled_log_s

logs = st.lists(st.floats(-50.0, 50.0), max_size=12)


@settings(deadline=None)
@given(logs, st.sampled_from([0.01, 0.1, 0.5]))
def test_e_bh_is_the_largest_self_consistent_set(log_e, alpha):
    """
    Every rejected e-value is at least m/(alpha k), and no larger set of the best ones would be.
    """
    rejected, m = e_bh(log_e, alpha), len(log_e)
    best = sorted(log_e, reverse=True)
    sizes = [k for k in range(1, m + 1) if best[k - 1] >= math.log(m / (alpha * k))]

    assert len(rejected) == (max(sizes) if sizes else 0)
    assert sorted((log_e[i] for i in rejected), reverse=True) == best[: len(rejected)]


@settings(deadline=None)
@given(logs, st.data())
def test_e_lond_never_takes_back(log_e, data):
    """
    What e-LOND decided about the first rollouts does not depend on those that came later.
    """
    cut = data.draw(st.integers(0, len(log_e)))

    assert [i for i in e_lond(log_e, 0.1) if i < cut] == e_lond(log_e[:cut], 0.1)


def test_thresholds_are_reached_by_equality():
    """
    An e-value that equals its threshold is rejected.
    """
    assert e_bh([math.log(20.0)], 0.05) == [0]
    assert e_lond([math.log(20.0)], 0.1) == [0]
    assert e_lond([math.log(19.999)], 0.1) == []


def test_infinite_evidence_and_none_are_in_order():
    """
    ``-inf``, an e-value of 0, is never rejected; ``inf`` always is.
    """
    assert e_bh([-math.inf, math.inf, 0.0], 0.1) == [1]
    assert e_lond([-math.inf, math.inf, 0.0], 0.1) == [1]


def test_e_bh_controls_false_discoveries():
    """
    With every null true, dependent and at its worst, the chance of any rejection stays below alpha.
    """
    rng = np.random.default_rng(77)
    alpha, m = 0.1, 5
    # One coin for all: with probability alpha/m all five e-values are m/alpha at once, else 0. E[e] = 1 each.
    hits = sum(
        bool(e_bh([math.log(m / alpha) if rng.random() < alpha / m else -math.inf] * m, alpha)) for _ in range(5000)
    )

    assert 0 < hits / 5000 <= alpha


def test_pooled_account_is_the_sum():
    """
    Accounts that share a budget kill together as soon as their sum reaches 1, which is never later than any alone.
    """
    accounts = [Account(3) for _ in range(4)]
    for account in accounts:
        account.deposit(0.25)

    assert pooled_log_s([account.log_s() for account in accounts]) == pytest.approx(0.0, abs=1e-12)
    assert pooled_log_s([]) == pooled_log_s([-math.inf, -math.inf]) == -math.inf
    assert pooled_log_s([5000.0, 5000.0]) == pytest.approx(5000.0 + math.log(2.0))


def test_anytime_p_uses_the_whole_budget():
    """
    The p-value is the horizon's budget over the largest S, capped at 1.
    """
    assert anytime_p(math.log(0.5), 1e-3) == pytest.approx(2e-3)
    assert anytime_p(-math.inf, 1e-3) == 1.0
    assert anytime_p(5000.0, 1e-3) == 0.0
