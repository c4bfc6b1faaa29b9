"""The forecast and the live engine on made-up sums of other signals tell of the same times."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from guardian.forecast import Assumed
from guardian.forecast.harm import Effect, Harm
from guardian.forecast.laws import Law
from guardian.forecast.play import play
from guardian.forecast.scene import Phase, Scene, watched_of
from guardian.plan import RATING
from guardian.policy import Policy
from guardian.sequential.checks import Floats
from tests.support.sums import RATINGS, World, ratings
from tests.support.traffic import T0_MS, judged, policy

RPS, SHARE, RATED, LIVE_RUNS, LIVE_S = 200.0, 0.1, 0.3, 30, 60
LATENCY_MS = 900.0
"""Sums that tell no delays are waited for a second; so are these outcomes."""
WORLD = World(seconds=LIVE_S, rps=RPS, share=lambda s: SHARE, timed=False)
ONE = (Effect(1.0, "", 1.0, ""),)


def rated(worse: float) -> tuple[World, Harm]:
    """A part of treatment's ratings is one point lower."""
    law = np.array(RATINGS)
    ill = law - worse * np.array([0.0, *law[1:]]) + worse * np.array([*law[1:], 0.0])
    positions = np.arange(5) * 90
    good, bad = Law(positions, law).beyond, Law(positions, ill).beyond
    harm = Harm(ONE, good, good, bad[np.newaxis], np.array([worse]), part=RATED, positions=positions)
    return replace(WORLD, scores={RATING: (RATED, (1.0, 5.0), ratings(worse))}), harm


def reported(rate: float, ill: float) -> tuple[World, Harm]:
    """Treatment is reported more often."""
    one, bad = np.array([rate]), np.array([ill])
    world = replace(WORLD, reports=lambda variation, s: ill if variation == "treatment" else rate)
    return world, Harm(ONE, one, one, bad[np.newaxis], bad, is_seen=True)


def lost(part: float) -> tuple[World, Harm]:
    """A part of treatment's exposures never arrives."""
    none, gone = np.zeros(1), np.array([part])
    world = replace(WORLD, lost=lambda variation, s: part if variation == "treatment" else 0.0)
    return world, Harm(ONE, none, none, np.zeros((1, 1)), gone, lost=gone)


def live_s(terms: Policy, world: World) -> Floats:
    """When the live engine kills in each run, in seconds from the start."""
    found_s = []
    for seed in range(LIVE_RUNS):
        made = judged(replace(world, seed=100 + seed).entries(), terms=terms, stop=True)
        assert made and made[0].action == "kill"
        found_s.append(datetime.fromisoformat(made[0].decided_at).timestamp() - T0_MS / 1_000)
    return np.array(found_s)


def forecast_s(terms: Policy, harm: Harm) -> Floats:
    phases = (Phase(SHARE, 1.0 - SHARE, math.inf),)
    watched = tuple(one for one in watched_of(terms) if one is not None)
    scene = Scene(terms, Assumed(requests_per_s=RPS, latency_ms=LATENCY_MS), phases, watched, harm, 0.0, 3_600.0, 1_000)
    return play(scene, np.random.default_rng(3), lambda part: None).found_s


@pytest.mark.parametrize(
    ("when", "world", "harm"),
    [
        pytest.param("csat < control - 0.2", *rated(0.9), id="csat"),
        pytest.param("report_rate > 2x control", *reported(0.01, 0.1), id="report_rate"),
        pytest.param("sample_ratio off", *lost(0.8), id="sample_ratio"),
    ],
)
def test_harm_is_found_when_the_live_engine_finds_it(when: str, world: World, harm: Harm) -> None:
    """The mean time to a kill is that of the live engine, within 3.5 standard errors and half a tick."""
    stages = [{"share": "10%", "for": "1h"}, {"share": "50%"}]
    terms = policy(guardrails=[{"when": when, "then": "kill"}], stages=stages)
    seen, foretold = live_s(terms, world), forecast_s(terms, harm)
    error = math.sqrt(seen.var(ddof=1) / seen.size + foretold.var(ddof=1) / foretold.size)

    assert seen.mean() == pytest.approx(foretold.mean(), abs=3.5 * error + 0.1)
