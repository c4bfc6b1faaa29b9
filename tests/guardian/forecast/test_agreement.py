"""The forecast and the live engine on made-up events tell of the same times."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest

from guardian.forecast import Assumed
from guardian.forecast.harm import Effect, Harm
from guardian.forecast.play import play
from guardian.forecast.scene import Phase, Scene, watched_of
from guardian.policy import Policy
from guardian.sequential.checks import Floats
from tests.support.traffic import T0_MS, Traffic, entries, judged, policy

RPS, SHARE, RATE, LIVE_RUNS = 200.0, 0.1, 0.01, 40


def live(terms: Policy, p_t: float, *, exposures: bool) -> tuple[Floats, set[str]]:
    """When the live engine kills in each run, in seconds from the start, and the lanes that it names."""
    found_s, lanes = [], set()
    for seed in range(LIVE_RUNS):
        traffic = Traffic(
            rps=RPS, seconds=45, users=20_000, seed=100 + seed,
            error=lambda v, s: p_t if v == "treatment" else RATE,
        )  # fmt: skip
        made = judged(entries(traffic.requests(), exposures=exposures), terms=terms, stop=True)
        kills = [decision for decision in made if decision.action == "kill"]
        assert kills and kills[0].evidence is not None
        found_s.append(datetime.fromisoformat(kills[0].decided_at).timestamp() - T0_MS / 1_000)
        lanes.add(kills[0].evidence.lane)
    return np.array(found_s), lanes


def forecast_s(terms: Policy, p_t: float, *, exposures: bool) -> Floats:
    assumed = Assumed(requests_per_s=RPS, share=SHARE, latency_ms=80.0, by_exposures=exposures)
    one = np.array([RATE])
    harm = Harm((Effect(1.0, "", p_t, ""),), one, one, np.array([[p_t]]), np.array([p_t]), is_seen=True)
    phases = (Phase(SHARE, 1.0 - SHARE, math.inf),)
    watched = tuple(one for one in watched_of(terms) if one is not None)
    scene = Scene(terms, assumed, phases, watched, harm, 0.0, 600.0, 1_000)
    return play(scene, np.random.default_rng(3), lambda part: None).found_s


@pytest.mark.parametrize(
    ("when", "p_t", "exposures", "lanes"),
    [
        ("error_rate > 1.2x control", 0.08, True, {"full", "fast"}),
        pytest.param("error_rate > 1.2x control", 0.08, False, {"full"}, marks=pytest.mark.long),
        pytest.param("error_rate > control + 1%", 0.12, True, {"full"}, marks=pytest.mark.long),
        pytest.param("error_rate > 5%", 0.2, True, {"full"}, marks=pytest.mark.long),
    ],
)
def test_harm_is_found_when_the_live_engine_finds_it(when: str, p_t: float, exposures: bool, lanes: set[str]) -> None:
    """The mean time to a kill is that of the live engine, within 3.5 standard errors and half a tick, in every lane."""
    terms = policy(guardrails=[{"when": when, "then": "kill"}])
    seen, named = live(terms, p_t, exposures=exposures)
    foretold = forecast_s(terms, p_t, exposures=exposures)
    error = math.sqrt(seen.var(ddof=1) / seen.size + foretold.var(ddof=1) / foretold.size)

    assert lanes == named
    assert seen.mean() == pytest.approx(foretold.mean(), abs=3.5 * error + 0.1)
