"""
False kills of the whole engine: epochs, lanes, lag and budget together, on traffic of returning users.

Nominal is one false kill in twenty rollouts, so that a few dozen rollouts say something; the limit is the 99 % binomial one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from guardian.policy import Policy
from tests.support.traffic import Traffic, entries, judged, policy

NOMINAL = 0.05
TERMS: Policy = policy(false_kills={"per_rollout": NOMINAL, "per_day": 0.0001, "per_step": 0.0001}, min_units=1)


def slow(fail_ms: float, success_ms: float) -> Callable[[np.random.Generator, str, bool], float]:
    def latency_ms(rng: np.random.Generator, variation: str, failed: bool) -> float:
        return fail_ms if failed else success_ms * float(np.exp(rng.normal(0.0, 0.5)))

    return latency_ms


def rising(s: float) -> float:
    return 0.0 if s < 5 else 0.1 if s < 15 else 0.5


def bouncing(s: float) -> float:
    return 0.5 if int(s / 8) % 2 else 0.1


SCENES: dict[str, dict[str, Any]] = {
    "ten percent": {},
    "small control": {"share": lambda s: 0.9},
    "slow successes, rising share": {"share": rising, "latency_ms": slow(50, 3_000)},
    "slow failures, bouncing share": {"share": bouncing, "latency_ms": slow(6_000, 80)},
    "drifting rate, rising share": {"share": rising, "error": lambda v, s: 0.005 + 0.02 * s / 40},
    "shared incident, rising share": {"share": rising, "error": lambda v, s: 0.3 if 16 < s < 20 else 0.01},
}


@pytest.mark.parametrize("exposures", [True, False], ids=["exposure events", "outcomes alone"])
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.timeout(120)
def test_false_kills_stay_within_the_budget(scene: str, exposures: bool) -> None:
    """Nobody tells the engine that shares changed, and still no more healthy rollouts are killed than allowed."""
    _false_kills(scene, exposures, runs=25, first_seed=1)


@pytest.mark.long
@pytest.mark.parametrize("exposures", [True, False], ids=["exposure events", "outcomes alone"])
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.timeout(1200)
def test_false_kills_stay_within_the_budget_long(scene: str, exposures: bool) -> None:
    """The same over a thousand rollouts."""
    _false_kills(scene, exposures, runs=1_000, first_seed=10_000)


@pytest.mark.timeout(120)
def test_twenty_healthy_demos_kill_nothing() -> None:
    """Twenty healthy rollouts as long and as busy as the demo, judged by the demo's policy, are left alone."""
    terms = policy(guardrails=[{"when": "error_rate > 1.2x control", "then": "kill"}])
    made = []
    for seed in range(20):
        traffic = Traffic(seconds=40, rps=300, users=4_000, seed=seed, error=lambda v, s: 0.012)
        made += judged(entries(traffic.requests(), exposures=True), terms=terms, stop=True)

    assert [] == made


def _false_kills(scene: str, exposures: bool, *, runs: int, first_seed: int) -> None:
    killed = []
    for seed in range(first_seed, first_seed + runs):
        traffic = Traffic(seconds=30, rps=100, users=3_000, seed=seed, **SCENES[scene])
        made = judged(entries(traffic.requests(), exposures=exposures), terms=TERMS, stop=True)
        killed += [seed for d in made if d.action == "kill"]
    limit = int(binom.ppf(0.99, runs, NOMINAL))

    assert len(killed) <= limit, f"{len(killed)} of {runs} healthy rollouts killed, at most {limit}: seeds {killed}"
