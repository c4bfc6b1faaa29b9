"""
The fast formulas against the slow definitions, in the regimes where naive ones lose their digits.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardian.sequential import (
    DEFAULT_GRID,
    additive_margin_block,
    additive_margin_pair,
    count_block,
    ratings_block,
    share_block,
    share_log_bayes_factor,
    threshold_block,
    threshold_mixture,
    two_sample_block,
    two_sample_blocks,
)
from tests.guardian.sequential import oracle
from tests.guardian.sequential.oracle import mpf

sizes = st.floats(0.0, 6.0).map(lambda power: int(10**power))
rates = st.floats(-6.0, -0.02).map(lambda power: 10**power)
parts = st.floats(0.0, 1.0)
margins = st.sampled_from([1.0, 1.0, 1.05, 1.2, 1.5, 2.0, 3.0, 0.8])
ratios = st.sampled_from([1.01, *DEFAULT_GRID.tolist(), 1000.0])


@st.composite
def arms(draw):
    """
    Draw ``n_t, x_t, n_c, x_c``: up to a million an arm, however unequal, mostly at rates near one another.
    """
    n_t, n_c, rate = draw(sizes), draw(sizes), draw(rates)
    x_t = min(n_t, round(n_t * rate * draw(st.floats(0.0, 4.0))))
    x_c = min(n_c, round(n_c * rate * draw(st.floats(0.0, 2.0))))
    return n_t, x_t, n_c, x_c


@settings(max_examples=150, deadline=None)
@given(arms(), rates, margins, ratios)
@example((1_000_000, 0, 1_000_000, 0), 1e-4, 1.2, 60.0)
@example((1_000_000, 700_000, 1_000_000, 690_000), 0.7, 1.2, 1.25)
@example((1_000_000, 3, 1, 0), 1e-4, 1.0, 60.0)
@example((1, 1, 1_000_000, 100), 1e-4, 3.0, 60.0)
@example((10, 3, 20, 4), 0.8333333333333333, 1.2, 14.9)
def test_two_sample_block_is_exact(counts, p_hat, margin, g):
    """
    Two-sample evidence agrees with the definition to 1e-12, up to a million units an arm.
    """
    n_t, x_t, n_c, x_c = counts
    got = two_sample_block(n_t, x_t, n_c, x_c, p_hat=p_hat, margin=margin, grid=np.array([g]))[0]
    exact = oracle.two_sample(*counts, p_hat=p_hat, r=margin, g=g) if mpf(margin) * mpf(p_hat) < 1 else mpf(0)

    assert oracle.close(got, exact, 1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(arms(), rates), min_size=1, max_size=5), margins)
def test_many_streams_are_the_one_stream_formula(blocks, margin):
    """
    Testing many streams at once gives each the same evidence as testing it alone.
    """
    blocks = [*blocks, ((0, 0, 5, 1), 0.1), ((7, 2, 5, 1), 0.0), ((7, 2, 5, 1), 1.0)]
    n_t, x_t, n_c, x_c = np.array([counts for counts, _ in blocks]).T
    p_hat = np.array([guess for _, guess in blocks])
    together = two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=p_hat, margin=margin)
    alone = [two_sample_block(*counts, p_hat=guess, margin=margin) for counts, guess in blocks]

    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(arms(), rates, st.sampled_from([1e-4, 1e-3, 0.002, 0.01, 0.1, 0.3, -0.001, -0.05]), ratios)
@example((1_000_000, 700_000, 1_000_000, 690_000), 0.7, 0.01, 1.25)
@example((1_000_000, 120, 10, 0), 1e-6, 0.002, 60.0)
@example((33_150, 3_073, 30, 5), 0.5969104139094779, -0.4, 1000.0)
def test_additive_margin_block_is_exact(counts, p_hat, delta, g):
    """
    Evidence against an absolute margin agrees with the definition to 1e-11.
    """
    theta_c = max(p_hat, 0.1 * delta)
    boundary = mpf(theta_c) + mpf(delta)
    got = additive_margin_block(*counts, p_hat=p_hat, delta=delta, grid=np.array([g]))[0]
    exact = (
        oracle.two_sample_additive(*counts, theta_t=oracle.odds_lifted(boundary, g), theta_c=theta_c, delta=delta)[1]
        if 1e-12 < boundary < 1
        else mpf(0)
    )

    assert oracle.close(got, exact, 1e-11)


@settings(max_examples=60, deadline=None)
@given(arms(), rates, rates, st.sampled_from([0.0, 0.001, 0.01, 0.05, -0.02]))
def test_additive_margin_pair_is_exact(counts, theta_c, theta_t, delta):
    """
    The projection of a pair of rates, and its evidence, agree with the definition.
    """
    if not (math.fsum((theta_t, -theta_c, -delta)) > 1e-9 and theta_c + delta > 1e-9):
        return
    q, log_e = additive_margin_pair(*counts, theta_t=theta_t, theta_c=theta_c, delta=delta)
    exact_q, exact_log_e = oracle.two_sample_additive(*counts, theta_t=theta_t, theta_c=theta_c, delta=delta)

    assert abs(q / exact_q - 1) < 1e-12
    assert oracle.close(log_e, exact_log_e, 1e-10)


@settings(max_examples=150, deadline=None)
@given(arms(), st.one_of(rates, rates.map(lambda rate: 1.0 - rate)), margins, ratios)
def test_count_block_is_exact(counts, share, margin, g):
    """
    Count evidence agrees with the definition to 1e-12, for shares down to a millionth.
    """
    _, x_t, _, x_c = counts
    got = count_block(x_t, x_c, share, margin=margin, grid=np.array([g]))[0]

    assert oracle.close(got, oracle.count(x_t, x_c, share, margin, g), 1e-12)


@settings(max_examples=150, deadline=None)
@given(arms(), st.one_of(rates, rates.map(lambda rate: 1.0 - rate)), ratios)
def test_threshold_block_is_exact(counts, p0, g):
    """
    Threshold evidence agrees with the definition to 1e-12.
    """
    n, x, _, _ = counts
    got = threshold_block(n, x, p0=p0, grid=np.array([g]))[0]

    assert oracle.close(got, oracle.threshold(n, x, p0, g), 1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5_000), parts, st.floats(0.02, 0.9), st.floats(0.3, 50.0), st.floats(0.3, 500.0))
@example(20_000, 0.0, 0.9, 1.0, 1.0)
@example(20_000, 1.0, 0.02, 1.0, 1.0)
def test_threshold_mixture_is_exact(n, part, p0, a, b):
    """
    The mixture agrees with the summed integral, also where its tail is far below the smallest float.
    """
    x = round(part * n)

    assert oracle.close(threshold_mixture(n, x, p0=p0, a=a, b=b), oracle.threshold_mixture(n, x, p0, a, b), 1e-11)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(parts, st.integers(0, 100_000), st.integers(0, 100_000)), min_size=2, max_size=6),
    parts,
    st.floats(0.0, 0.3),
    st.sampled_from([0.03, 0.3, 0.9]),
)
def test_ratings_block_is_exact(rows, centre, drop, bet):
    """
    Ratings evidence agrees with the definition.
    """
    levels, count_t, count_c = zip(*rows, strict=True)
    if sum(count_t) == 0 or sum(count_c) == 0 or not 1e-6 < centre < 1 - 1e-6:
        return
    got = ratings_block(levels, count_t, count_c, centre=centre, drop=drop, bets=[bet])[0]

    assert oracle.close(got, oracle.ratings(levels, levels, count_t, count_c, centre, drop, bet), 1e-11)


@settings(max_examples=80, deadline=None)
@given(sizes, sizes, rates, st.sampled_from([0.02, 0.5, 0.9, 1.1, 4.0]))
def test_share_block_is_exact(n_t, n_c, share, h):
    """
    Share evidence agrees with the definition.
    """
    assert oracle.close(share_block(n_t, n_c, share, lifts=[h])[0], oracle.share(n_t, n_c, share, h), 1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1_000_000), min_size=3, max_size=3), st.floats(1e-3, 0.6), st.floats(1.0, 1e4))
def test_share_log_bayes_factor_is_exact(counts, first, concentration):
    """
    The Bayes factor of many variations agrees with the sum of log-gammas in 60 digits.
    """
    shares = [first, 0.3, 1.0 - first - 0.3]
    got = share_log_bayes_factor(counts, shares, concentration=concentration)

    assert oracle.close(got, oracle.dirichlet(counts, shares, concentration), 1e-10)


@pytest.mark.parametrize("p_hat", [1e-12, 1.1e-12, 1e-11, 1e-9])
def test_rate_guess_falls_smoothly_into_the_count_test(p_hat):
    """
    As the guess of control's rate goes to 0, the two-sample test becomes the count test.
    """
    full = two_sample_block(400, 4, 600, 1, p_hat=p_hat, margin=1.2)

    np.testing.assert_allclose(full, two_sample_block(400, 4, 600, 1, p_hat=0.0, margin=1.2), atol=1e3 * p_hat)
