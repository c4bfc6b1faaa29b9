"""
Information, and the bounds that follow from it.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import information, samples_bound
from tests.guardian.sequential import oracle
from tests.guardian.sequential.oracle import mp, mpf

rates = st.floats(-6.0, -0.01).map(lambda power: 10**power)


def divergence(p, q):
    return p * mp.log(p / q) + (1 - p) * mp.log((1 - p) / (1 - q))


@settings(deadline=None)
@given(rates, rates, st.floats(1e-6, 1 - 1e-6), st.sampled_from([1.0, 1.2, 2.0]))
def test_information_is_the_divergence_from_the_nearest_null(p_t, p_c, share, margin):
    """
    Information is the least divergence of the true rates from the boundary, per treatment sample.
    """
    if p_t - margin * p_c < 1e-9 * p_t or p_t > 1 - 1e-9:
        return
    t, c, w, r = map(mpf, (p_t, p_c, share, margin))

    def slope(q):
        return w * (r * q - t) / (q * (1 - r * q)) + (1 - w) * (q - c) / (q * (1 - q))

    q = oracle.bisect(slope, c, t / r)
    exact = divergence(t, r * q) + (1 - w) / w * divergence(c, q)

    assert abs(information(p_t, p_c, share, margin) / exact - 1) < 1e-6


@pytest.mark.parametrize(
    ("p_t", "share", "alpha", "bound"),
    [
        (0.015, 0.5, 1e-3, 13_552),
        (0.02, 0.1, 1e-4, 2_690),
        (0.05, 0.1, 1e-4, 270),
        (0.05, 0.01, 1e-3, 171),
        (0.2, 0.5, 1e-4, 80),
    ],
)
def test_bounds_of_the_documentation(p_t, share, alpha, bound):
    """
    The samples that no test can do without, for one percent of errors in control, are those of the documentation.
    """
    assert samples_bound(alpha, p_t, 0.01, share) == pytest.approx(bound, rel=0.01)


def test_small_shares_approach_a_known_control():
    """
    With nearly all traffic in control its rate is as good as known; at one half the information is about half.
    """
    known = 0.05 * math.log(5.0) + 0.95 * math.log(0.95 / 0.99)

    assert information(0.05, 0.01, 1e-9) == pytest.approx(known, rel=1e-6)
    assert 0.3 < information(0.05, 0.01, 0.5) / known < 0.6


@pytest.mark.parametrize(
    ("p_t", "p_c", "margin"), [(0.01, 0.01, 1.0), (0.0, 0.0, 1.0), (0.019, 0.01, 2.0), (1.0, 0.6, 2.0)]
)
def test_there_is_nothing_to_learn_inside_the_null(p_t, p_c, margin):
    """
    Rates that the margin allows carry no information.
    """
    assert information(p_t, p_c, 0.5, margin) == 0.0


@pytest.mark.parametrize(("p_t", "p_c"), [(1.0, 0.0), (1.0, 0.5), (0.3, 0.0), (1e-300, 0.0)])
def test_rates_at_the_ends_are_finite(p_t, p_c):
    """
    Everything failing, or nothing failing in control, is finite information, and above 0.
    """
    assert 0.0 < information(p_t, p_c, 0.5) < math.inf
