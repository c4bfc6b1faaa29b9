"""
The error-rate test held to its promises by simulation: false kills within the budget, harm found near the bound.

The product's own formula runs here, many streams at a time, with a look after every block. Seeds are fixed, so the
outcome is too; the limits are those a correct test meets with 99 % under any seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from guardian.sequential import advance, samples_bound, two_sample_blocks
from guardian.sequential.checks import Floats
from tests.comparators import growthbook_lower_bound

DECAY = 0.99


@dataclass
class Outcome:
    """
    What became of each run: its largest log S (of a deposit of 1), and the T samples up to its kill at ``kill_at``.
    """

    largest: Floats
    samples_at_kill: Floats

    def kills(self, alpha: float) -> int:
        return int((self.largest >= -math.log(alpha)).sum())


def ticks(
    rng: np.random.Generator, runs: int, stages: list[tuple[int, int, float, float, float]]
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """
    Yield ticks of ``(ticks, units a tick, treatment share, p_t, p_c)`` stages: every unit assigned at random.
    """
    for count, units, share, p_t, p_c in stages:
        for _ in range(count):
            n_t = rng.binomial(units, share, runs).astype(float)
            n_c = units - n_t
            yield n_t, rng.binomial(n_t.astype(int), p_t) * 1.0, n_c, rng.binomial(n_c.astype(int), p_c) * 1.0


def run(
    source: Iterator[tuple[Any, Any, Any, Any]], runs: int, margin: float = 1.0, kill_at: float | None = None
) -> Outcome:
    """
    Merge ticks into blocks, test each with a guess from the blocks before, and look after every one.
    """
    dx, dn = np.zeros(runs), np.full(runs, 500.0)
    log_s, largest = np.zeros((runs, 8)), np.full(runs, -np.inf)
    open_sums, seen, samples = np.zeros((4, runs)), np.zeros(runs), np.full(runs, np.nan)
    for tick in source:
        open_sums = open_sums + np.array(tick)
        seen += tick[0]
        closed = (open_sums[0] >= 1) & (open_sums[2] >= 1)
        n_t, x_t, n_c, x_c = np.where(closed, open_sums, 0.0)
        log_s = advance(log_s, -np.inf, two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=dx / dn, margin=margin))
        dx, dn = np.where(closed, DECAY * dx + x_c, dx), np.where(closed, DECAY * dn + n_c, dn)
        open_sums = np.where(closed, 0.0, open_sums)
        largest = np.maximum(largest, np.logaddexp.reduce(log_s, axis=1) - math.log(8))
        if kill_at is not None:
            samples = np.where(np.isnan(samples) & (largest >= -math.log(kill_at)), seen, samples)
            if not np.isnan(samples).any():
                break
    return Outcome(largest, samples)


def most_kills(runs: int, alpha: float) -> int:
    """
    Return the kills that a test of exactly this level exceeds in one simulation of a hundred.
    """
    return int(binom.ppf(0.99, runs, alpha))


@pytest.mark.parametrize(("units", "share"), [(20, 0.5), (100, 0.1), (100, 0.99)], ids=["50-50", "10-90", "99-1"])
def test_false_kills_stay_within_the_budget(units, share):
    """
    With equal arms and a look after every block, false kills stay within the nominal 5 % and 1 %, at every split.
    """
    runs, blocks = 2_000, 1_200
    outcome = run(ticks(np.random.default_rng(units), runs, [(blocks, units, share, 0.01, 0.01)]), runs)

    assert outcome.kills(0.05) <= most_kills(runs, 0.05)
    assert outcome.kills(0.01) <= most_kills(runs, 0.01)
    assert outcome.kills(0.05) > 0.2 * 0.05 * runs, "a test that never kills would pass the lines above"


def test_false_kills_stay_within_the_budget_at_the_margin():
    """
    Treatment exactly at the margin, 1.5 times control's errors, is still not killed more often than promised.
    """
    runs = 2_000
    outcome = run(ticks(np.random.default_rng(15), runs, [(600, 40, 0.5, 0.03, 0.02)]), runs, margin=1.5)

    assert outcome.kills(0.05) <= most_kills(runs, 0.05)
    assert outcome.kills(0.05) > 0.2 * 0.05 * runs


RAMP = [0.01, 0.05, 0.10, 0.25, 0.50]


def ramp_with_incident() -> list[tuple[int, int, float, float, float]]:
    """
    Return five stages of 100 ticks; in the stage at 25 % everybody's errors rise to 30 % for 60 ticks.
    """
    stages = []
    for share in RAMP:
        p = 0.3 if share == 0.25 else 0.01
        stages += [(20, 200, share, 0.01, 0.01), (60, 200, share, p, p), (20, 200, share, 0.01, 0.01)]
    return stages


def test_an_incident_during_a_ramp_kills_nobody():
    """
    A shared incident while the rollout ramps from 1 to 50 % leaves false kills within the budget.
    """
    runs = 2_000
    outcome = run(ticks(np.random.default_rng(25), runs, ramp_with_incident()), runs)

    assert outcome.kills(0.05) <= most_kills(runs, 0.05)
    assert outcome.kills(0.01) <= most_kills(runs, 0.01)
    assert outcome.kills(0.05) > 0.2 * 0.05 * runs


def test_the_same_limit_catches_pooled_totals():
    """
    Totals pooled over the ramp, in an otherwise honest anytime method, kill nearly every run: the limit can fail.
    """
    runs = 60
    total, killed = np.zeros((4, runs)), np.zeros(runs, dtype=bool)
    for number, tick in enumerate(ticks(np.random.default_rng(25), runs, ramp_with_incident())):
        total = total + np.array(tick)
        if number % 20 == 19:
            lower = np.array([growthbook_lower_bound(*sums, alpha=0.05) for sums in total.T])
            killed |= lower > 0.0

    assert killed.sum() > most_kills(runs, 0.05)
    assert killed.mean() > 0.9


def test_the_same_limit_catches_naive_peeking():
    """
    A z-test repeated after every block exceeds the limit on the very same streams.
    """
    runs, peeked = 500, np.zeros(500, dtype=bool)
    total = np.zeros((4, runs))
    for tick in ticks(np.random.default_rng(3), runs, [(600, 20, 0.5, 0.01, 0.01)]):
        total = total + np.array(tick)
        n_t, x_t, n_c, x_c = total
        pooled = (x_t + x_c) / (n_t + n_c)
        spread = np.sqrt(np.maximum(pooled * (1 - pooled) * (1 / n_t + 1 / n_c), 1e-12))
        peeked |= (n_t >= 100) & ((x_t / n_t - x_c / n_c) / spread > 1.645)

    assert peeked.sum() > most_kills(runs, 0.05)


def test_a_fivefold_error_rate_is_found_near_the_bound():
    """
    From 1 to 5 % at a tenth of the traffic, at one false kill in 10,000, the mean delay is at most 1.30 of the bound.

    Over 2,000 runs the ratio is known to about 1 %; the limit leaves 5 % above what is typical. Below 1 no test can be.
    """
    runs, alpha = 2_000, 1e-4
    source = ticks(np.random.default_rng(1), runs, [(2_000, 100, 0.1, 0.05, 0.01)])
    delays = run(source, runs, kill_at=alpha).samples_at_kill
    ratio = delays.mean() / samples_bound(alpha, 0.05, 0.01, 0.1)

    assert not np.isnan(delays).any()
    assert 1.0 < ratio <= 1.30


def test_a_drip_of_budget_bounds_the_number_of_false_kills():
    """
    With a deposit before every block, and a fresh start after every kill, false kills number less than was deposited.
    """
    runs, blocks, start, drip = 1_500, 300, 0.02, 2e-4
    log_s, kills = np.full((runs, 8), -np.inf), 0
    source = ticks(np.random.default_rng(9), runs, [(blocks, 100, 0.5, 0.05, 0.05)])
    for block, (n_t, x_t, n_c, x_c) in enumerate(source):
        log_e = two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=0.05)
        log_s = advance(log_s, math.log(start if block == 0 else drip), log_e)
        killed = np.logaddexp.reduce(log_s, axis=1) - math.log(8) >= 0.0
        kills += int(killed.sum())
        log_s = np.where(killed[:, np.newaxis], -np.inf, log_s)
    budget = runs * (start + drip * (blocks - 1))

    assert 0.2 * budget < kills <= budget
