"""
Whether the intervals that people read hold the truth at all times while rates drift, and how near the onset is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from guardian.decisions import Interval
from guardian.estimates import ESTIMATE_ALPHA, Estimates
from guardian.sequential import DifferenceScan, Onset, RatioScan, two_sample_block
from tests.support.pages import table, write


class Gathered:
    """
    What thousands of rollouts read, once a second: an epoch for each size of treatment's arm.
    """

    def __init__(self, of: Callable[[Estimates], Interval | None]) -> None:
        self.estimates, self.second, self.of = Estimates(), 0, of

    def update(self, n_t: float, x_t: float, n_c: float, x_c: float, elapsed_s: float = 0.0) -> None:
        self.second += int(elapsed_s)
        self.estimates.read(n_t, x_t, n_c, x_c, 1_000 * self.second, epoch_ms=int(n_t))

    def interval(self) -> Interval:
        return self.of(self.estimates) or (None, None)


Scan = RatioScan | DifferenceScan | Gathered


def outside(scan: Scan, truth: float, p_t: Callable[[float], float], blocks: int, seed: int) -> tuple[bool, float]:
    """
    Say whether the truth was ever excluded, and how wide the interval ends; control swings from 0.5 to 3.5 % meanwhile.
    """
    rng, missed = np.random.default_rng(seed), False
    for number in range(blocks):
        p = 0.02 + 0.015 * math.sin(number / 9.0)
        # A ramp from a tenth to a half of the traffic, against the swing of the rate.
        n_t = 40 if number < blocks // 3 else 200
        x_t, x_c = int(rng.binomial(n_t, p_t(p))), int(rng.binomial(400 - n_t, p))
        scan.update(n_t, x_t, 400 - n_t, x_c, elapsed_s=1.0)
        lo, hi = scan.interval()
        missed |= (lo is not None and lo > truth) or (hi is not None and hi < truth)
    lo, hi = scan.interval()
    return missed, math.inf if lo is None or hi is None else hi - lo


def onsets(runs: int, rate: float, seed: int) -> list[float]:
    """
    Return by how many seconds the told onset misses the true one, at the moment of the kill at 1e-4, per run.
    """
    off_s = []
    for run in range(runs):
        rng, onset, log_s = np.random.default_rng([seed, run]), Onset(), np.zeros(8)
        for number in range(20_000):
            x_t = int(rng.binomial(10, 0.01 if number < 800 else rate))
            log_e = two_sample_block(10, x_t, 90, int(rng.binomial(90, 0.01)), p_hat=0.01)
            onset.update(250 * number, log_e)
            log_s = np.logaddexp(log_s, math.log(1e-4)) + log_e if number else math.log(1e-4) + log_e
            if number >= 800 and np.logaddexp.reduce(log_s) - math.log(8) >= 0.0:
                break
        since = onset.since()
        off_s.append(math.inf if since is None else abs(since / 1_000.0 - 200.0))
    return off_s


def test_a_ratio_is_held_at_all_times():
    """
    At 80 % confidence at most a fifth of the rollouts ever exclude the true ratio.
    """
    runs = 40
    missed = sum(outside(RatioScan(0.2), 1.5, lambda p: 1.5 * p, 60, seed)[0] for seed in range(runs))

    assert missed <= int(binom.ppf(0.99, runs, 0.2))


@pytest.mark.parametrize(
    ("of", "truth", "p_t"),
    [(Estimates.ratio, 1.0, lambda p: p), (Estimates.difference, 0.02, lambda p: p + 0.02)],
)
def test_estimates_hold_at_all_times_through_drift_and_ramp(of, truth, p_t):
    """
    As cheaply as thousands of rollouts are read, at most one in twenty ever excludes the truth.
    """
    runs = 200
    missed = sum(outside(Gathered(of), truth, p_t, 100, seed)[0] for seed in range(runs))

    assert missed <= int(binom.ppf(0.99, runs, ESTIMATE_ALPHA))


def test_the_onset_is_told_within_seconds():
    """
    A jump from 1 to 10 % after 200 s of health is dated to within 3 s in half of the runs.
    """
    assert np.median(onsets(12, 0.1, seed=3)) <= 3.0


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_estimates_long():
    """
    Coverage at all times at 95 %, the width in the end, and the error of the onset.
    """
    runs, blocks, rows, wrong = 200, 100, [], []
    scenes: tuple[tuple[str, Callable[[], Scan], float, Callable[[float], float]], ...] = (
        ("ratio 1", RatioScan, 1.0, lambda p: p),
        ("ratio 2", RatioScan, 2.0, lambda p: 2.0 * p),
        ("difference 0", DifferenceScan, 0.0, lambda p: p),
        ("difference 2 points", DifferenceScan, 0.02, lambda p: p + 0.02),
        ("ratio 1, for thousands", lambda: Gathered(Estimates.ratio), 1.0, lambda p: p),
        ("ratio 2, for thousands", lambda: Gathered(Estimates.ratio), 2.0, lambda p: 2.0 * p),
        ("difference 0, for thousands", lambda: Gathered(Estimates.difference), 0.0, lambda p: p),
        ("difference 2 points, for thousands", lambda: Gathered(Estimates.difference), 0.02, lambda p: p + 0.02),
    )
    for name, make, truth, p_t in scenes:
        found = [outside(make(), truth, p_t, blocks, 1_000 + seed) for seed in range(runs)]
        missed, width = sum(out for out, _ in found), float(np.median([wide for _, wide in found]))
        rows.append([name, f"{1.0 - missed / runs:.4f}", f"{width:.3f}"])
        wrong += [name] if missed > int(binom.ppf(0.99, runs, 0.05)) else []
    for rate in (0.02, 0.05, 0.2):
        off_s = onsets(100, rate, seed=4)
        rows.append([f"onset, 1 to {rate:.0%}", "", f"{np.median(off_s):.1f} s (90 %: {np.quantile(off_s, 0.9):.1f} s)"])
    write("estimates", table(["what", "held at all times, nominal 0.95", "median width, or error"], rows))

    assert [] == wrong
