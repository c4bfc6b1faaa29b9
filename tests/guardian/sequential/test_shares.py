"""
Shares of exposures.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import DEFAULT_LIFTS, Account, share_block, share_log_bayes_factor


@pytest.mark.parametrize(("share", "at_most"), [(0.5, 20), (0.1, 120), (0.01, 1200)])
def test_a_silent_variation_is_noticed_after_ten_expected_exposures(share, at_most):
    """
    A variation that reports nothing is found, at one in a thousand, after about ten exposures that should have come.
    """
    account = Account(len(DEFAULT_LIFTS))
    account.deposit(1e-3)
    exposures = 0
    while not account.crossed():
        account.update(share_block(0, 1, share))
        exposures += 1

    assert exposures <= at_most


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(1e-6, 1 - 1e-6), st.floats(0.0, 0.9))
def test_no_counts_give_infinity_or_nan(n_t, n_c, share, tolerance):
    """
    Any counts give finite evidence, and a component whose boundary passes 1 gives exactly 0.
    """
    log_e = share_block(n_t, n_c, share, tolerance=tolerance)

    assert np.isfinite(log_e).all()
    assert share * (1 + tolerance) < 1.0 or (log_e[DEFAULT_LIFTS > 1] == 0.0).all()


def test_tolerated_mismatch_is_no_evidence():
    """
    A share that is off by less than the tolerance never becomes evidence, however much data there is.
    """
    assert share_block(530_000, 470_000, 0.5).max() > 1000.0
    assert share_block(530_000, 470_000, 0.5, tolerance=0.07).max() <= 0.0


def test_order_of_the_variations_does_not_matter():
    """
    The Bayes factor of many variations knows no order, and is a bet against every side.
    """
    one = share_log_bayes_factor([900, 1050, 1050], [0.3, 0.35, 0.35])
    other = share_log_bayes_factor([1050, 900, 1050], [0.35, 0.3, 0.35])

    assert one == pytest.approx(other, abs=1e-12)


def test_published_value_of_the_multinomial_test():
    """
    The example of the multinomial test's authors: 156 and 212 of equal shares give an anytime p-value of 0.075.
    """
    p = min(1.0, math.exp(-share_log_bayes_factor([156, 212], [0.5, 0.5])))

    assert p == pytest.approx(0.075, abs=5e-4)
