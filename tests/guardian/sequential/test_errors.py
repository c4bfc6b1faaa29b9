"""
Bad input is refused in words: the argument, its value, and what would be right.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from guardian.sequential import (
    Account,
    ControlRate,
    ErrorRateStream,
    LatencyMemory,
    RatingCentre,
    additive_margin_block,
    additive_margin_pair,
    anytime_p,
    bucket_key,
    count_block,
    e_bh,
    e_lond,
    information,
    mixture_prior,
    rate_interval,
    ratings_block,
    ratio_grid,
    ratio_interval,
    samples_bound,
    share_block,
    share_log_bayes_factor,
    threshold_block,
    threshold_mixture,
    two_sample_block,
    two_sample_blocks,
)

NAN = math.nan


def account(*log_e: float) -> None:
    Account(2).update(np.array(log_e))


@pytest.mark.parametrize(
    ("wrong", "names", "value"),
    [
        (lambda: two_sample_block(-1, 0, 5, 0, p_hat=0.1), "n_t", "-1"),
        (lambda: two_sample_block(5, 6, 5, 0, p_hat=0.1), "x_t", "6"),
        (lambda: two_sample_block(5, 1, 5, -0.5, p_hat=0.1), "x_c", "-0.5"),
        (lambda: two_sample_block(5, 1, 1e300, 0, p_hat=0.1), "n_c", "1e+300"),
        (lambda: two_sample_block(5, NAN, 5, 0, p_hat=0.1), "x_t", "nan"),
        (lambda: two_sample_block(5, 1, 5, 0, p_hat=1.5), "p_hat", "1.5"),
        (lambda: two_sample_block(5, 1, 5, 0, p_hat=NAN), "p_hat", "nan"),
        (lambda: two_sample_block(5, 1, 5, 0, p_hat=0.1, margin=0.0), "margin", "0.0"),
        (lambda: two_sample_block(5, 1, 5, 0, p_hat=0.1, margin=math.inf), "margin", "inf"),
        (lambda: two_sample_block(5, 1, 5, 0, p_hat=0.1, grid=np.array([0.9])), "grid", "0.9"),
        (lambda: two_sample_block(5, 1, 5, 0, p_hat=0.1, grid=np.array([2.0, NAN])), "grid", "NaN"),
        (lambda: two_sample_block(5, 1, 5, 0, p_hat=0.1, grid=np.array([])), "grid", "(0,)"),
        (lambda: two_sample_blocks([5, 5], [1, 6], 5, 0, p_hat=0.1), "x_t", ""),
        (lambda: two_sample_blocks(5, 1, 5, 0, p_hat=[0.1, 2.0]), "p_hat", ""),
        (lambda: additive_margin_block(5, 1, 5, 0, p_hat=0.1, delta=1.0), "delta", "1.0"),
        (lambda: additive_margin_pair(5, 1, 5, 0, theta_t=0.1, theta_c=0.1, delta=0.01), "theta_t", "0.1"),
        (lambda: additive_margin_pair(0, 0, 5, 0, theta_t=0.2, theta_c=0.1, delta=0.01), "n_t", "0"),
        (lambda: count_block(-1, 0, 0.5), "x_t", "-1"),
        (lambda: count_block(1, 0, 1.0000001), "share", "1.0000001"),
        (lambda: count_block(1, 0, NAN), "share", "nan"),
        (lambda: threshold_block(5, 6, p0=0.1), "x", "6"),
        (lambda: threshold_block(5, 1, p0=0.0), "p0", "0.0"),
        (lambda: threshold_mixture(5, 1, p0=0.1, a=0.0, b=1.0), "a", "0.0"),
        (lambda: mixture_prior(0.1, v_opt=0.0), "v_opt", "0.0"),
        (lambda: mixture_prior(0.1, 1.0, alpha_opt=0.5), "alpha_opt", "0.5"),
        (lambda: ratings_block([0, 2], [1, 1], [1, 1], centre=0.5), "levels", "2.0"),
        (lambda: ratings_block([0, 1], [1], [1, 1], centre=0.5), "count_t", "1"),
        (lambda: ratings_block([0, 1], [1, -1], [1, 1], centre=0.5), "count_t", "-1.0"),
        (lambda: ratings_block([0, 1], [1, 1], [1, 1], centre=1.5), "centre", "1.5"),
        (lambda: ratings_block([0, 1], [1, 1], [1, 1], centre=0.5, bets=[1.0]), "bets", "1.0"),
        (lambda: RatingCentre(total=11.0), "total", "11.0"),
        (lambda: share_block(5, 5, 1.0), "share", "1.0"),
        (lambda: share_block(5, 5, 0.5, tolerance=1.0), "tolerance", "1.0"),
        (lambda: share_block(5, 5, 0.5, lifts=[1.0]), "lifts", "1.0"),
        (lambda: share_log_bayes_factor([1, 2], [0.5, 0.6]), "shares", "0.6"),
        (lambda: share_log_bayes_factor([1], [0.5, 0.5]), "counts", "1"),
        (lambda: share_log_bayes_factor([1, -2], [0.5, 0.5]), "counts[1]", "-2"),
        (lambda: bucket_key(-1.0), "value", "-1.0"),
        (lambda: bucket_key(NAN), "value", "nan"),
        (lambda: LatencyMemory(0.0), "half_life_s", "0.0"),
        (lambda: LatencyMemory(1.0).remember({}, -1.0), "elapsed_s", "-1.0"),
        (ControlRate, "decay", "None"),
        (lambda: ControlRate(decay=1.5), "decay", "1.5"),
        (lambda: ControlRate(half_life_s=-1.0), "half_life_s", "-1.0"),
        (lambda: ControlRate(decay=0.9, dx=2.0, dn=1.0), "dx", "2.0"),
        (lambda: ControlRate(half_life_s=1.0).remember(5, 1, NAN), "elapsed_s", "nan"),
        (lambda: ControlRate(decay=0.9).remember(5, 6), "x_c", "6"),
        (lambda: ControlRate.from_state([1.0], decay=0.9), "state", "1"),
        (lambda: ratio_grid(0), "k", "0"),
        (lambda: ratio_grid(8, 1.0, 60.0), "lo", "1.0"),
        (lambda: ratio_grid(8, 2.0, 1.5), "hi", "1.5"),
        (lambda: Account(0), "k", "0"),
        (lambda: Account(2, [0.5, 0.6]), "weights", "0.6"),
        (lambda: Account(2).deposit(-0.1), "eta", "-0.1"),
        (lambda: Account(2).deposit(1.0), "eta", "1.0"),
        (lambda: Account(2).deposit(NAN), "eta", "nan"),
        (lambda: account(1.0), "log_e", "(1,)"),
        (lambda: account(1.0, NAN), "log_e", "nan"),
        (lambda: account(1.0, math.inf), "log_e", "inf"),
        (lambda: Account.from_state([None, 0.0]), "state", "None"),
        (lambda: ErrorRateStream(n_t_min=0), "n_t_min", "0"),
        (lambda: ErrorRateStream().tick(5, 6, 5, 0), "x_t", "6"),
        (lambda: rate_interval(5, 1, 0.0), "alpha", "0.0"),
        (lambda: ratio_interval(5, 1, 5, 7), "x_c", "7"),
        (lambda: information(1.5, 0.1, 0.5), "p_t", "1.5"),
        (lambda: information(0.2, 0.1, 1.0), "share", "1.0"),
        (lambda: samples_bound(1e-3, 0.1, 0.1, 0.5), "p_t", "0.1"),
        (lambda: e_bh([1.0, NAN], 0.1), "value 1", "NaN"),
        (lambda: e_bh([1.0], 1.0), "alpha", "1.0"),
        (lambda: e_lond([1.0], 0.1, lambda t: 0.0), "spend(1)", "0.0"),
        (lambda: anytime_p(0.0, 0.0), "budget", "0.0"),
    ],
)
def test_bad_input_is_named(wrong, names, value):
    """
    A ValueError names the argument and the value that is wrong with it.
    """
    with pytest.raises(ValueError) as refused:
        wrong()

    assert names in str(refused.value)
    assert value in str(refused.value)
