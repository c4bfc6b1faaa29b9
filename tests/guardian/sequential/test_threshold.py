"""
One arm against a fixed threshold, and the mixture that is shown for it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import mixture_prior, threshold_block, threshold_mixture

cases = st.tuples(st.integers(1, 10**6), st.floats(0.0, 1.0)).map(lambda drawn: (drawn[0], int(drawn[0] * drawn[1])))
thresholds = st.floats(0.001, 0.99)


@settings(deadline=None)
@given(cases, thresholds)
def test_another_error_never_lowers_evidence(case, p0):
    """
    Turning a success into an error raises every component and the mixture.
    """
    n, x = case
    before, after = (threshold_block(n, count, p0=p0) for count in (x, min(n, x + 1)))
    mixed = [threshold_mixture(n, count, p0=p0, a=2.0, b=20.0) for count in (x, min(n, x + 1))]

    assert (after >= before - 1e-12 * np.abs(before)).all()
    assert mixed[1] >= mixed[0] - 1e-9 * max(1.0, abs(mixed[0]))


@settings(deadline=None)
@given(cases, cases, thresholds)
def test_blocks_add_up(one, other, p0):
    """
    Against a fixed threshold two blocks are worth exactly what the merged block is worth.
    """
    separate = threshold_block(*one, p0=p0) + threshold_block(*other, p0=p0)
    merged = threshold_block(one[0] + other[0], one[1] + other[1], p0=p0)

    np.testing.assert_allclose(merged, separate, rtol=1e-9, atol=1e-6)


def test_no_units_are_no_evidence():
    """
    An empty block is worth exactly 0, in the test and in the mixture.
    """
    assert threshold_block(0, 0, p0=0.05).tolist() == [0.0] * 8
    assert threshold_mixture(0, 0, p0=0.05, a=1.0, b=9.0) == 0.0


@pytest.mark.parametrize(("n", "x"), [(10**9, 0), (10**9, 10**9), (10**15, 5 * 10**13), (10**15, 10**14)])
def test_mixture_survives_a_billion_units(n, x):
    """
    The mixture is finite, and has the right sign, however much data there is.
    """
    log_e = threshold_mixture(n, x, p0=0.05, a=1.0, b=19.0)

    assert math.isfinite(log_e)
    assert (log_e > 0) == (x / n > 0.05)


@pytest.mark.parametrize("p0", [0.001, 0.05, 0.5])
def test_prior_is_centred_on_the_threshold(p0):
    """
    The prior of the mixture has its mean at the threshold, and is the narrower the more data it is made for.
    """
    a, b = mixture_prior(p0, v_opt=100.0)
    wide = mixture_prior(p0, v_opt=10.0)

    assert a / (a + b) == pytest.approx(p0)
    assert a > wide[0]
