"""
False alarms of every other signal through the whole engine: plans, lines, blocks, epochs and budget together.

One guardrail at a time with a nominal 5 %, on traffic whose treatment does what control does while the world moves; the
limit is the 99 % binomial one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from guardian.plan import NPS, RATING, THUMB
from tests.support import pages
from tests.support.sums import RATINGS, World
from tests.support.traffic import judged, policy

NOMINAL = 0.05
BUDGET = {"per_rollout": NOMINAL, "per_day": 0.0001, "per_step": 0.0001}
SIGNALS = {"quality": {"measure": "quality", "range": [0, 1]}, "won": {"measure": "won", "range": [0, 1]}}


def mood(at_s: float) -> float:
    """How much worse everything is at a time: a drift, and an outage of four seconds."""
    return 0.3 * at_s / 40.0 + (0.5 if 16.0 < at_s < 20.0 else 0.0)


def stars(rng: np.random.Generator, variation: str, at_s: float, n: int) -> list[float]:
    given = rng.choice(5, n, p=RATINGS) + 1
    return [float(one) for one in np.maximum(given - (rng.uniform(size=n) < mood(at_s)), 1)]


def answers(rng: np.random.Generator, variation: str, at_s: float, n: int) -> list[float]:
    return [float(one) for one in rng.binomial(10, 0.85 - 0.3 * mood(at_s), n)]


def coins(rng: np.random.Generator, variation: str, at_s: float, n: int) -> list[float]:
    return [float(one) for one in rng.uniform(size=n) < 0.3 - 0.2 * mood(at_s)]


def quality(rng: np.random.Generator, variation: str, at_s: float, n: int) -> list[float]:
    return [float(one) for one in np.clip(0.9 - 0.2 * mood(at_s) + 0.05 * rng.standard_normal(n), 0.0, 1.0)]


def rising(at_s: float) -> float:
    return 0.1 if at_s < 12 else 0.5


WORLD = World(
    seconds=40, rps=150, share=rising, timed=False, errors=lambda v, s: 0.01 + 0.05 * mood(s),
    latency_ms=lambda v, s: 100.0 * (1.0 + 2.0 * mood(s)), reports=lambda v, s: 0.02 * (1.0 + mood(s)),
)  # fmt: skip


def world_of(name: str, law: Any) -> World:
    return replace(WORLD, scores={name: (0.4, (0.0, 10.0) if name == NPS else (1.0, 5.0) if name == RATING else (0.0, 1.0), law)})


SCENES: dict[str, World] = {
    "latency_p95 > 1x control": replace(WORLD, timed=True),
    "latency_p95 > control + 1ms": replace(WORLD, timed=True),
    "csat < control": world_of(RATING, stars),
    "csat < 1x control": world_of(RATING, stars),
    "nps < control": world_of(NPS, answers),
    "thumbs_down_rate > 1x control": world_of(THUMB, coins),
    "report_rate > 1x control": WORLD,
    "quality < 1x control": world_of("measure:quality", quality),
    "won < 1x control": world_of("measure:won", coins),
    "sample_ratio off": replace(WORLD, share=lambda s: 0.1),
}


@pytest.mark.parametrize("when", SCENES)
def test_no_signal_alarms_more_often_than_allowed(when: str) -> None:
    """A ramp, a drift and an outage at once: treatment as good as control is left alone as often as was promised."""
    alarms(when, runs=5, first_seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_signal_alarms_more_often_than_allowed_long() -> None:
    """The same over two hundred rollouts a signal; the table goes into the page."""
    runs = 200
    rows = [(f"`{when}`", f"{alarms(when, runs=runs, first_seed=10_000) / runs:.3f}") for when in SCENES]
    limit = float(binom.ppf(0.99, runs, NOMINAL)) / runs
    rows.append(("allowed by the limit", f"{limit:.3f}"))
    pages.write("signals through the engine", pages.table(("guardrail", "alarms"), rows))


def alarms(when: str, *, runs: int, first_seed: int) -> int:
    """Return how many healthy rollouts are paused; fail if they are too many."""
    stages = [{"share": "10%", "for": "1h"}, {"share": "100%"}]
    terms = policy(
        guardrails=[{"when": when, "then": "pause"}], false_kills=BUDGET, signals=SIGNALS, stages=stages, min_units=1
    )
    paused = [
        seed
        for seed in range(first_seed, first_seed + runs)
        if judged(replace(SCENES[when], seed=seed).entries(), terms=terms, stop=True)
    ]
    limit = int(binom.ppf(0.99, runs, NOMINAL))

    assert len(paused) <= limit, f"{when}: {len(paused)} of {runs} healthy rollouts paused, at most {limit}: {paused}"
    return len(paused)
