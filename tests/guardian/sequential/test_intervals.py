"""
Intervals that hold at every moment.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import rate_interval, ratio_interval
from tests.guardian.sequential.oracle import mp, mpf

cases = st.tuples(st.floats(0.0, 6.0), st.floats(0.0, 1.0)).map(
    lambda drawn: (int(10 ** drawn[0]), int(drawn[1] * int(10 ** drawn[0])))
)
levels = st.sampled_from([0.5, 0.05, 1e-3, 1e-9])


@settings(deadline=None)
@given(cases, levels)
def test_ends_are_where_the_mixture_reaches_the_level(case, alpha):
    """
    At both ends of the interval the mixture against that rate is exactly 1/alpha.
    """
    n, x = case
    for end in rate_interval(n, x, alpha):
        if 0.0 < end < 1.0 - 1e-9:
            p = mpf(end)
            mixture = mp.log(mp.beta(1 + x, 1 + n - x)) - x * mp.log(p) - (n - x) * mp.log(1 - p)
            spread = max(1.0, abs(end * (n - x) / (1 - end) - x))

            assert abs(mixture + math.log(alpha)) < 1e-9 * spread + 1e-9


@settings(deadline=None)
@given(cases, levels)
def test_interval_holds_what_was_seen_and_widens_with_confidence(case, alpha):
    """
    The observed rate lies inside, and a smaller alpha gives an interval that contains the larger's.
    """
    n, x = case
    lo, hi = rate_interval(n, x, alpha)
    wider = rate_interval(n, x, alpha / 10)

    assert 0.0 <= lo <= x / n <= hi <= 1.0
    assert wider[0] <= lo
    assert hi <= wider[1]


def test_nothing_seen_is_everything_possible():
    """
    Without units every rate is possible; without events zero is; with nothing but events one is.
    """
    assert rate_interval(0, 0) == (0.0, 1.0)
    assert rate_interval(10, 0)[0] == 0.0
    assert rate_interval(10, 10)[1] == 1.0


def test_interval_is_right_at_all_times_at_once():
    """
    Watched after each of 2,000 units, the interval ever loses the true rate in fewer runs than alpha.
    """
    rng = np.random.default_rng(11)
    runs, n, p, alpha = 400, 2_000, 0.1, 0.2
    looks = np.unique(np.geomspace(1, n, 60).astype(int))
    sums = np.cumsum(rng.random((runs, n)) < p, axis=1)[:, looks - 1]
    ends = {(look, x): rate_interval(look, x, alpha) for i, look in enumerate(looks) for x in np.unique(sums[:, i])}
    lost = sum(
        any(not ends[look, x][0] <= p <= ends[look, x][1] for look, x in zip(looks, run, strict=True)) for run in sums
    )

    assert 0 < lost <= alpha * runs


@settings(deadline=None)
@given(cases, cases, levels)
def test_ratio_interval_holds_what_was_seen(treatment, control, alpha):
    """
    The observed ratio lies inside; without control errors there may be no upper end.
    """
    (n_t, x_t), (n_c, x_c) = treatment, control
    lo, hi = ratio_interval(n_t, x_t, n_c, x_c, alpha)

    assert lo * (x_c / n_c) <= x_t / n_t * (1 + 1e-12)
    if hi is None:
        assert rate_interval(n_c, x_c, alpha / 2)[0] == 0.0
    else:
        assert x_t / n_t <= hi * (x_c / n_c) * (1 + 1e-12)


def test_no_control_errors_leave_the_ratio_open_above():
    """
    A ratio to a rate that may be zero has no upper end: None, not infinity.
    """
    lo, hi = ratio_interval(100, 20, 1_000, 0)

    assert hi is None
    assert lo > 1.0


@pytest.mark.parametrize(("n", "x"), [(10**12, 3), (10**15, 10**15 - 2), (2**53, 2**52)])
def test_intervals_of_very_much_data_are_narrow(n, x):
    """
    With 10^12 units and more the interval is finite, narrow and around what was seen.
    """
    lo, hi = rate_interval(n, x)

    assert lo < x / n < hi or (x / n > 0.999 and lo < hi <= 1.0)
    assert hi - lo < 1e-6
