"""
What the two-sample tests promise beyond validity: what counts as evidence, and for which side.
"""

from __future__ import annotations

import math
import timeit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import (
    DEFAULT_GRID,
    additive_margin_block,
    count_block,
    threshold_block,
    two_sample_block,
    two_sample_blocks,
)

counts = st.tuples(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(
    lambda drawn: (drawn[0], int(drawn[2] * drawn[0]), drawn[1], int(drawn[3] * drawn[1]))
)
rates = st.floats(-7.0, -0.001).map(lambda power: 10**power)


def log_mean(log_e: np.ndarray) -> float:
    return float(np.logaddexp.reduce(log_e)) - math.log(log_e.size)


@settings(deadline=None)
@given(counts, st.one_of(st.just(0.0), rates), st.floats(1.0, 3.0))
def test_another_treatment_error_never_lowers_evidence(block, p_hat, margin):
    """
    Turning a treatment success into an error raises every component; so does turning a control error into a success.
    """
    n_t, x_t, n_c, x_c = block
    before = two_sample_block(*block, p_hat=p_hat, margin=margin)
    worse = two_sample_block(n_t, min(n_t, x_t + 1), n_c, x_c, p_hat=p_hat, margin=margin)
    kinder = two_sample_block(n_t, x_t, n_c, max(0, x_c - 1), p_hat=p_hat, margin=margin)
    rounding = 1e-12 * np.abs(before)

    assert (worse >= before - rounding).all()
    assert (kinder >= before - rounding).all()


@settings(deadline=None)
@given(counts, rates, st.floats(1e-4, 0.3))
def test_another_treatment_error_never_lowers_evidence_with_an_absolute_margin(block, p_hat, delta):
    """
    The same holds against an absolute margin.
    """
    n_t, x_t, n_c, x_c = block
    before = additive_margin_block(*block, p_hat=p_hat, delta=delta)
    worse = additive_margin_block(n_t, min(n_t, x_t + 1), n_c, x_c, p_hat=p_hat, delta=delta)

    assert (worse >= before - 1e-12 * np.abs(before)).all()


def test_no_control_error_at_all_does_not_disable_the_test():
    """
    Control without a single error in a hundred thousand makes treatment's errors damning, not invisible.
    """
    log_e = two_sample_block(1_000, 200, 100_000, 0, p_hat=0.0)

    assert log_mean(log_e) > 500.0
    assert log_mean(additive_margin_block(1_000, 200, 100_000, 0, p_hat=0.0, delta=0.001)) > 500.0


@settings(deadline=None)
@given(counts, rates)
def test_swapping_the_arms_never_gives_evidence_to_both(block, p_hat):
    """
    One block cannot make treatment look worse than control and control look worse than treatment.
    """
    n_t, x_t, n_c, x_c = block
    forth = two_sample_block(n_t, x_t, n_c, x_c, p_hat=p_hat)
    back = two_sample_block(n_c, x_c, n_t, x_t, p_hat=p_hat)

    assert min(forth.max(), back.max()) <= 1e-9


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.01, 0.99))
def test_a_drop_is_watched_by_swapping_the_arms(x_t, x_c, share):
    """
    The count test with the arms and the share swapped finds fewer events in treatment, never more.
    """
    downward = count_block(x_c, x_t, 1.0 - share)

    assert (count_block(x_c, x_t + 1, 1.0 - share) <= downward).all()
    assert (count_block(x_c + 1, x_t, 1.0 - share) >= downward).all()


@pytest.mark.parametrize("p_hat", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("sizes", [(0, 0, 0, 0), (0, 0, 50, 3), (50, 3, 0, 0)])
def test_an_empty_arm_is_no_evidence(sizes, p_hat):
    """
    A block with an empty arm compares nothing: exactly 0 for every alternative.
    """
    assert two_sample_block(*sizes, p_hat=p_hat).tolist() == [0.0] * 8
    assert additive_margin_block(*sizes, p_hat=p_hat, delta=0.01).tolist() == [0.0] * 8


@pytest.mark.parametrize(("p_hat", "margin"), [(0.5, 2.0), (0.9, 1.2), (1.0, 1.0), (1.0, 0.5)])
def test_a_margin_that_allows_everything_is_no_evidence(p_hat, margin):
    """
    Where margin times the guess reaches 1 no rate is too high, and the block says nothing.
    """
    assert two_sample_block(10, 10, 10, 0, p_hat=p_hat, margin=margin).tolist() == [0.0] * 8


def test_one_unit_an_arm_is_a_block():
    """
    A single treatment error against a single control success is weak evidence, and exactly computable.
    """
    log_e = two_sample_block(1, 1, 1, 0, p_hat=0.5, grid=np.array([3.0]))
    theta_t, q = 0.75, 0.625

    assert log_e[0] == pytest.approx(math.log(theta_t / q) + math.log(0.5 / (1 - q)), abs=1e-15)


@settings(deadline=None, max_examples=300)
@given(
    st.floats(0.0, 2.0**53),
    st.floats(0.0, 2.0**53),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.floats(1e-6, 1e6),
    st.floats(-0.999, 0.999),
    st.sampled_from([DEFAULT_GRID.tolist(), [1.0000001], [1e9], [1.01, 100.0]]),
)
def test_no_valid_input_gives_infinity_or_nan(n_t, n_c, part_t, part_c, p, margin, delta, grid):
    """
    Any valid input, however extreme, gives finite evidence, and no floating point warning on the way.
    """
    block = n_t, part_t * n_t, n_c, part_c * n_c

    assert np.isfinite(two_sample_block(*block, p_hat=p, margin=margin, grid=grid)).all()
    assert np.isfinite(two_sample_blocks(*block, p_hat=p, margin=margin, grid=grid)).all()
    assert np.isfinite(additive_margin_block(*block, p_hat=p, delta=delta, grid=grid)).all()
    assert np.isfinite(count_block(block[1], block[3], p, margin=margin, grid=grid)).all()
    if 0.0 < p < 1.0:
        assert np.isfinite(threshold_block(n_t, block[1], p0=p, grid=grid)).all()


def test_min_of_both_margins_is_a_test_of_both():
    """
    The smaller evidence of the two margins, component by component, is evidence only if both are exceeded.
    """
    both = np.minimum(
        two_sample_block(5_000, 60, 45_000, 450, p_hat=0.01, margin=1.3),
        additive_margin_block(5_000, 60, 45_000, 450, p_hat=0.01, delta=0.001),
    )

    assert log_mean(both) <= 0.0
    assert log_mean(additive_margin_block(5_000, 75, 45_000, 450, p_hat=0.01, delta=0.001)) > 0.0


def test_the_live_path_is_fast_enough():
    """
    One block costs microseconds: the best of several runs stays within a bound ten times what was measured.
    """
    runs = {
        100e-6: lambda: two_sample_block(100, 3, 900, 9, p_hat=0.01, margin=1.2),
        101e-6: lambda: count_block(3, 9, 0.1),
    }
    for bound_s, run in runs.items():
        assert min(timeit.repeat(run, number=200, repeat=10)) / 200 < bound_s
