"""
Intervals that hold at every moment and through drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import binom

from guardian.sequential import DifferenceScan, RatioScan, additive_margin_block, rate_interval, two_sample_block
from guardian.sequential.scans import _ALTERNATIVES, DEFAULT_RATIOS

RATIOS = [0.25, 0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0]


def drifting(seed: int, blocks: int, ratio: float, extra: float = 0.0) -> Iterator[tuple[int, int, int, int]]:
    """
    Yield blocks in which control's rate swings from 1 to 5 % and treatment's is ``ratio`` times that plus ``extra``.
    """
    rng = np.random.default_rng(seed)
    for number in range(blocks):
        p = 0.03 + 0.02 * math.sin(number / 10.0)
        n_t = int(rng.integers(20, 80)) * (1 + 3 * (number > blocks // 2))
        yield n_t, int(rng.binomial(n_t, ratio * p + extra)), 200, int(rng.binomial(200, p))


def test_the_true_ratio_is_inside_at_all_times_through_drift_and_ramp():
    """
    At 80 % confidence the ratio is excluded at any time in at most a fifth of the rollouts, though rates and shares move.
    """
    runs, missed = 60, 0
    for seed in range(runs):
        scan, outside = RatioScan(0.2, ratios=RATIOS, half_life_s=20.0), False
        for block in drifting(seed, 80, ratio=1.25):
            scan.update(*block, elapsed_s=1.0)
            lo, hi = scan.interval()
            # 1.25 is on the grid: excluded from below it would be the lower end itself.
            outside |= (lo is not None and lo >= 1.25) or (hi is not None and hi <= 1.25)
        missed += outside

    assert missed <= int(binom.ppf(0.99, runs, 0.2))


def test_an_interval_of_constant_rates_would_be_fooled_by_the_same_ramp():
    """
    The scene is hard: pooled over it, arms whose rates always agree look different for certain.
    """
    pooled, scan = np.zeros(4), RatioScan(0.05, ratios=RATIOS)
    rng = np.random.default_rng(1)
    for share, p in ((0.1, 0.01), (0.5, 0.1)):
        for _ in range(100):
            n_t = int(200 * share)
            block = n_t, int(rng.binomial(n_t, p)), 200 - n_t, int(rng.binomial(200 - n_t, p))
            pooled += block
            scan.update(*block, elapsed_s=1.0)
    treatment, control = rate_interval(pooled[0], pooled[1]), rate_interval(pooled[2], pooled[3])
    lo, hi = scan.interval()

    assert treatment[0] > control[1]
    assert lo is not None
    assert hi is not None
    assert lo < 1.0 < hi


def test_intervals_close_in_on_the_truth():
    """
    After 300 blocks of a doubled rate both intervals hold it, exclude no harm, and are narrow.
    """
    ratio, difference = RatioScan(), DifferenceScan()
    for block in drifting(5, 300, ratio=2.0):
        ratio.update(*block, elapsed_s=1.0)
    for block in drifting(6, 300, ratio=1.0, extra=0.02):
        difference.update(*block, elapsed_s=1.0)
    (low, high), (less, more) = ratio.interval(), difference.interval()

    assert low is not None
    assert high is not None
    assert 1.5 < low < 2.0 < high < 2.6
    assert less is not None
    assert more is not None
    assert 0.01 < less < 0.02 < more < 0.03


def test_a_margin_is_excluded_by_its_own_test_and_nothing_else():
    """
    The evidence of each margin is that of the block test with this margin, block after block.
    """
    ratio, difference = RatioScan(ratios=[0.8, 1.5]), DifferenceScan(differences=[-0.01, 0.02])
    for block in [(50, 3, 200, 4), (60, 2, 190, 3)]:
        guess = ratio._control.p_hat
        before = [ratio._above.copy(), difference._above.copy()]
        for scan in (ratio, difference):
            scan.update(*block, elapsed_s=1.0)
        above = two_sample_block(*block, p_hat=guess, margin=1.5, grid=_ALTERNATIVES)
        more = additive_margin_block(*block, p_hat=guess, delta=0.02, grid=_ALTERNATIVES)
        np.testing.assert_allclose(ratio._above[1] - before[0][1], above, atol=1e-12)
        np.testing.assert_allclose(difference._above[1] - before[1][1], more, atol=1e-12)

        assert above.any()


def test_swapping_the_arms_turns_the_intervals_over():
    """
    The ratio of control to treatment is one over that of treatment to control, the difference its opposite.
    """
    forth, back = RatioScan(), RatioScan()
    more, less = DifferenceScan(), DifferenceScan()
    for n_t, x_t, n_c, x_c in drifting(7, 120, ratio=2.0):
        forth.update(n_t, x_t, n_c, x_c, elapsed_s=1.0)
        back.update(n_c, x_c, n_t, x_t, elapsed_s=1.0)
        more.update(n_t, x_t, n_c, x_c, elapsed_s=1.0)
        less.update(n_c, x_c, n_t, x_t, elapsed_s=1.0)
    (lo, hi), (low, high) = forth.interval(), back.interval()

    assert lo is not None
    assert hi is not None
    assert (1.0 / hi, 1.0 / lo) == pytest.approx((low, high))
    assert more.interval() == tuple(None if end is None else -end for end in reversed(less.interval()))


def test_without_data_nothing_is_excluded():
    """
    An interval without data, or with one arm only, has no ends.
    """
    scan, other = RatioScan(), DifferenceScan()
    scan.update(1_000, 500, 0, 0)
    other.update(0, 0, 0, 0)

    assert (None, None) == scan.interval() == other.interval()


def test_a_huge_sample_is_finite_and_closes_in_on_the_truth():
    """
    Twenty million requests an arm exclude every margin more than 4 % from the truth, and nothing overflows.
    """
    scan, other = RatioScan(), DifferenceScan()
    for _ in range(20):
        scan.update(1_000_000, 20_000, 1_000_000, 10_000, elapsed_s=1.0)
        other.update(1_000_000, 20_000, 1_000_000, 10_000, elapsed_s=1.0)
    (lo, hi), (less, more) = scan.interval(), other.interval()

    assert all(np.isfinite(evidence).all() for evidence in (scan._above, scan._below, other._above, other._below))
    assert lo is not None
    assert hi is not None
    assert less is not None
    assert more is not None
    assert DEFAULT_RATIOS[DEFAULT_RATIOS < 2.0 / 1.04][-1] <= lo < 2.0 < hi <= DEFAULT_RATIOS[DEFAULT_RATIOS > 2.0 * 1.04][0]
    assert 0.008 < less < 0.01 < more < 0.0125


def test_state_goes_through_and_changes_nothing():
    """
    A scan restored from its state goes on bit for bit.
    """
    whole, first = RatioScan(ratios=RATIOS), RatioScan(ratios=RATIOS)
    blocks = list(drifting(9, 40, ratio=1.5))
    for block in blocks[:20]:
        whole.update(*block, elapsed_s=1.0)
        first.update(*block, elapsed_s=1.0)
    second = RatioScan(ratios=RATIOS).restore(first.to_state())
    for block in blocks[20:]:
        whole.update(*block, elapsed_s=1.0)
        second.update(*block, elapsed_s=1.0)

    assert whole.to_state() == second.to_state()


@pytest.mark.parametrize(
    ("wrong", "names", "value"),
    [
        (lambda: RatioScan(0.0), "alpha", "0.0"),
        (lambda: RatioScan(ratios=[2.0, 1.0]), "margins", "2.0"),
        (lambda: RatioScan(ratios=[0.0, 1.0]), "ratios", "0.0"),
        (lambda: DifferenceScan(differences=[-1.0, 0.0]), "differences", "-1.0"),
        (lambda: RatioScan().update(5, 6, 5, 0), "x_t", "6"),
        (lambda: RatioScan().update(5, 1, 5, 0, elapsed_s=-1.0), "elapsed_s", "-1.0"),
        (lambda: RatioScan().restore([1.0]), "state", "1"),
    ],
)
def test_bad_input_is_named(wrong, names, value):
    """
    A ValueError names the argument and what is wrong with it.
    """
    with pytest.raises(ValueError) as refused:
        wrong()

    assert names in str(refused.value)
    assert value in str(refused.value)
