"""
``E[e] <= 1`` under the null: the one promise all others rest on, by exact enumeration.
"""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardian.sequential import (
    DEFAULT_GRID,
    additive_margin_block,
    count_block,
    latency_block,
    ratings_block,
    share_block,
    threshold_block,
    two_sample_block,
    two_sample_blocks,
)

ROUNDING = 1e-12
small = st.integers(1, 12)
rates = st.one_of(st.floats(1e-4, 0.999), st.floats(-4.0, 0.0).map(lambda power: min(0.999, 10**power)))
margins = st.floats(1.0, 3.0)


def binomial(n: int, p: float) -> np.ndarray:
    return np.array([math.comb(n, x) * p**x * (1.0 - p) ** (n - x) for x in range(n + 1)])


def heterogeneous(rates_of_units: list[float]) -> np.ndarray:
    """
    Return the law of the number of events among independent units, each with its own rate.
    """
    law = np.ones(1)
    for p in rates_of_units:
        law = np.convolve(law, [1.0 - p, p])
    return law


def expectation(law_t: np.ndarray, law_c: np.ndarray, block) -> np.ndarray:
    """
    Return ``E[e]`` of every component over all outcomes of a block of two independent arms.
    """
    return sum(
        law_t[x_t] * law_c[x_c] * np.exp(block(x_t, x_c)) for x_t in range(len(law_t)) for x_c in range(len(law_c))
    )


@settings(max_examples=250, deadline=None)
@given(small, small, rates, rates, margins, st.floats(0.0, 1.0))
@example(n_t=1, n_c=24, p_c=0.3, p_hat=0.001, margin=3.0, depth=1.0)
@example(n_t=24, n_c=1, p_c=0.3, p_hat=0.32, margin=3.0, depth=1.0)
@example(n_t=12, n_c=12, p_c=0.9, p_hat=0.9, margin=1.1, depth=1.0)
def test_two_sample_block_never_exceeds_one_on_average(n_t, n_c, p_c, p_hat, margin, depth):
    """
    On and inside the boundary, whatever control's rate, the guess and the sizes, ``E[e] <= 1``.
    """
    law_t, law_c = binomial(n_t, min(1.0, depth * margin * p_c)), binomial(n_c, p_c)
    x_t, x_c = np.meshgrid(np.arange(n_t + 1), np.arange(n_c + 1), indexing="ij")
    e = np.exp(two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=p_hat, margin=margin))

    assert (np.einsum("t,c,tck->k", law_t, law_c, e) <= 1.0 + ROUNDING).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(rates, min_size=1, max_size=6), st.lists(rates, min_size=1, max_size=6), rates, margins)
def test_two_sample_block_allows_units_that_differ(rates_t, rates_c, p_hat, margin):
    """
    Units may differ in their rates: only the mean of the arms in the block counts.
    """
    allowed = margin * np.mean(rates_c)
    rates_t = [p * min(1.0, allowed / np.mean(rates_t)) for p in rates_t]
    average = expectation(
        heterogeneous(rates_t),
        heterogeneous(rates_c),
        lambda x_t, x_c: two_sample_block(len(rates_t), x_t, len(rates_c), x_c, p_hat=p_hat, margin=margin),
    )

    assert (average <= 1.0 + ROUNDING).all()


def test_alternative_is_lifted_above_the_boundary_and_not_above_the_guess():
    """
    A margin above 1 at high rates never makes evidence out of the null, where the tempting formula does.
    """
    n, p, margin, g = 12, 0.6, 1.5, 1.25
    law = binomial(n, margin * p), binomial(n, p)

    def tempting(x_t: int, x_c: int) -> float:
        odds = margin * g * p / (1.0 - p)
        theta_t = odds / (1.0 + odds)
        mean, other = (theta_t + p) / 2.0, (margin * (1.0 - theta_t) + 1.0 - p) / 2.0
        b = (1.0 + margin) * mean + other
        q = 2.0 * mean / (b + math.sqrt(b * b - 4.0 * margin * mean))
        treatment = x_t * math.log(theta_t / (margin * q)) + (n - x_t) * math.log((1 - theta_t) / (1 - margin * q))
        return treatment + x_c * math.log(p / q) + (n - x_c) * math.log((1 - p) / (1 - q))

    average = expectation(*law, lambda x_t, x_c: two_sample_block(n, x_t, n, x_c, p_hat=p, margin=margin))

    assert (average <= 1.0 + ROUNDING).all()
    assert expectation(binomial(n, 0.5 * margin * p), law[1], tempting) > 2.0


@settings(max_examples=100, deadline=None)
@given(small, small, rates, rates, st.floats(0.0, 0.5), st.floats(0.0, 1.0))
@example(n_t=5, n_c=7, p_c=0.95, p_hat=0.4, delta=0.2, depth=1.0)
@example(n_t=5, n_c=7, p_c=0.001, p_hat=0.0001, delta=0.002, depth=1.0)
def test_additive_margin_block_never_exceeds_one_on_average(n_t, n_c, p_c, p_hat, delta, depth):
    """
    With an absolute margin too, ``E[e] <= 1`` everywhere in the null.
    """
    law = binomial(n_t, depth * min(1.0, p_c + delta)), binomial(n_c, p_c)
    average = expectation(*law, lambda x_t, x_c: additive_margin_block(n_t, x_t, n_c, x_c, p_hat=p_hat, delta=delta))

    assert (average <= 1.0 + ROUNDING).all()


@settings(max_examples=100, deadline=None)
@given(small, small, rates, margins, st.floats(0.0, 1.0))
def test_count_block_never_exceeds_one_on_average_for_bernoulli_outcomes(n_t, n_c, p_c, margin, depth):
    """
    For yes-or-no outcomes the count test is valid at any rate.
    """
    law = binomial(n_t, min(1.0, depth * margin * p_c)), binomial(n_c, p_c)
    share = n_t / (n_t + n_c)
    average = expectation(*law, lambda x_t, x_c: count_block(x_t, x_c, share, margin=margin))

    assert (average <= 1.0 + ROUNDING).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 30), st.data(), margins)
def test_count_block_is_valid_by_randomisation_alone(n, data, margin):
    """
    Nothing about outcomes needs to be assumed when units are assigned at random: the hypergeometric law suffices.
    """
    n_t, x = data.draw(st.integers(1, n - 1)), data.draw(st.integers(0, n))
    possible = range(max(0, x - (n - n_t)), min(n_t, x) + 1)
    law = [math.comb(n_t, k) * math.comb(n - n_t, x - k) / math.comb(n, x) for k in possible]
    e = [np.exp(count_block(k, x - k, n_t / n, margin=margin)) for k in possible]

    assert (np.dot(law, e) <= 1.0 + ROUNDING).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 0.99), margins, st.floats(0.1, 8.0))
def test_count_block_is_exactly_one_on_the_boundary_for_poisson_counts(share, margin, control_mean):
    """
    On the boundary of the null Poisson counts give exactly 1 on average: nothing is wasted.
    """
    grid = np.array([1.25, 2.0])
    mean_t = margin * control_mean * share / (1.0 - share)
    top_t, top_c = (int(m * 3.0 + 12.0 * math.sqrt(3.0 * m) + 60) for m in (mean_t, control_mean))
    x_t, x_c = np.arange(top_t)[:, None], np.arange(top_c)[None, :]
    log_law = (x_t * math.log(mean_t) - mean_t - np.array([math.lgamma(k + 1.0) for k in range(top_t)])[:, None]) + (
        x_c * math.log(control_mean) - control_mean - np.array([math.lgamma(k + 1.0) for k in range(top_c)])[None, :]
    )
    head, tail = (count_block(*counts, share, margin=margin, grid=grid) for counts in ((1, 0), (0, 1)))
    average = [np.exp(log_law + x_t * h + x_c * t).sum() for h, t in zip(head, tail, strict=True)]

    np.testing.assert_allclose(average, 1.0, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.floats(1e-3, 0.999), st.floats(0.0, 1.0))
def test_threshold_block_never_exceeds_one_on_average(n, p0, depth):
    """
    At the threshold the average is exactly 1; below it, less.
    """
    law = binomial(n, depth * p0)
    average = sum(law[x] * np.exp(threshold_block(n, x, p0=p0)) for x in range(n + 1))

    assert (average <= 1.0 + 1e-10).all()
    assert depth < 1.0 or np.allclose(average, 1.0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.floats(0.02, 0.98),
)
def test_ratings_block_never_exceeds_one_on_average(weights_t, weights_c, n_t, n_c, centre):
    """
    Whatever the distributions of ratings, ``E[e] <= 1`` as long as the means differ by no more than the drop.
    """
    levels = np.array([0.0, 0.4, 1.0])
    law_t, law_c = (np.array(weights) / sum(weights) for weights in (weights_t, weights_c))
    drop = max(0.0, float(levels @ law_c - levels @ law_t))
    average = np.zeros(8)
    for chosen_t in np.ndindex(*(3,) * n_t):
        for chosen_c in np.ndindex(*(3,) * n_c):
            chance = np.prod(law_t[list(chosen_t)]) * np.prod(law_c[list(chosen_c)])
            count_t, count_c = (np.bincount(chosen, minlength=3).tolist() for chosen in (chosen_t, chosen_c))
            average += chance * np.exp(ratings_block(levels, count_t, count_c, centre=centre, drop=drop))

    assert (average <= 1.0 + ROUNDING).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.floats(0.01, 0.95), st.floats(0.0, 0.3), st.floats(-1.0, 1.0))
def test_share_block_never_exceeds_one_on_average(n, share, tolerance, off):
    """
    Within the tolerance of the configured share the average is at most 1, whatever the true share.
    """
    law = binomial(n, min(1.0, share * (1.0 + off * tolerance)))
    average = sum(law[k] * np.exp(share_block(k, n - k, share, tolerance=tolerance)) for k in range(n + 1))

    assert (average <= 1.0 + ROUNDING).all()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3), st.integers(1, 3), st.integers(1, 3))
def test_latency_block_never_exceeds_one_on_average_for_equal_arms(weights, n_t, n_c):
    """
    Arms of the same latency law give ``E[e] <= 1`` whatever the past looked like.
    """
    keys, law = [100, 150, 230], np.array(weights) / sum(weights)
    past = {100: 5.0, 150: 3.0, 230: 1.5}
    average = np.zeros(len(DEFAULT_GRID))
    for chosen_t in np.ndindex(*(3,) * n_t):
        for chosen_c in np.ndindex(*(3,) * n_c):
            chance = np.prod(law[list(chosen_t)]) * np.prod(law[list(chosen_c)])
            arms = ({keys[i]: chosen.count(i) for i in range(3)} for chosen in (chosen_t, chosen_c))
            average += chance * np.exp(latency_block(past, *arms, tau=0.8))

    assert (average <= 1.0 + ROUNDING).all()


def test_guess_of_the_very_block_would_break_the_promise():
    """
    The guess must be predictable: taken from the block itself, the average exceeds 1.
    """
    n_t, n_c, p = 12, 3, 0.3
    law = binomial(n_t, p), binomial(n_c, p)
    average = expectation(*law, lambda x_t, x_c: two_sample_block(n_t, x_t, n_c, x_c, p_hat=x_c / n_c or 1e-3))

    assert average.max() > 1.0 + 1e-3
