"""Which harm is tried on each signal: beyond what its guardrail allows, and in its own unit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from guardian.forecast import Assumed
from guardian.forecast.effects import harm_to, is_healthy
from guardian.forecast.harm import Harm
from guardian.forecast.laws import Law, csat_law, measure_law
from guardian.forecast.scene import Watched, watched_of
from guardian.forecast.sums import Sums
from guardian.levels import lower, upper
from tests.support.traffic import policy

SIGNALS = {
    "quality": {"measure": "quality", "range": [0, 1]},
    "cost": {"measure": "cost", "range": [0, 200]},
    "search_latency_p95": {"of": "latency_p95", "where": {"operation": "search"}},
}


def watched(when: str, **terms: object) -> Watched:
    stages = [{"share": "10%", "for": "1h"}, {"share": "50%"}]
    found = watched_of(policy(guardrails=[{"when": when, "then": "pause"}], signals=SIGNALS, stages=stages, **terms))[0]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("when", "rate", "effects"),
    [
        ("error_rate > 1.2x control", 0.01, ["1.5x", "2x", "3x", "5x", "10x", "20x"]),
        ("error_rate > 2x control", 0.01, ["3x", "5x", "10x", "20x", "50x"]),
        ("error_rate > control", 0.3, ["1.2x", "1.5x", "2x", "3x"]),
        ("error_rate > 5%", 0.01, ["6%", "7.5%", "10%", "15%", "25%", "50%"]),
        ("error_rate > 90%", 0.01, ["95%"]),
        ("error_rate > control + 1%", 0.01, ["+1.2 points", "+1.5 points", "+2 points", "+3 points", "+5 points", "+10 points"]),
        ("thumbs_down_rate > 1.5x control", 0.01, ["2x", "3x", "5x"]),
        ("report_rate > 0.1%", 0.01, ["0.12%", "0.15%", "0.2%", "0.3%", "0.5%", "1%"]),
        ("latency_p95 > control + 50ms", 0.01, ["+60ms", "+75ms", "+100ms", "+150ms", "+250ms", "+500ms"]),
        ("csat < control - 0.3", 0.01, ["-0.1", "-0.2", "-0.3", "-0.5", "-1"]),
        ("nps < 20", 0.01, ["-5", "-10", "-15", "-25", "-50"]),
        ("quality < 0.1", 0.01, ["-0.025", "-0.05"]),
        ("cost > 1.05x control", 0.01, ["+5", "+10", "+15"]),
        ("sample_ratio off", 0.01, ["10% lost", "50% lost", "silent"]),
    ],
)  # fmt: skip
def test_effects_lie_beyond_the_bound(when: str, rate: float, effects: list[str]) -> None:
    """Sizes from just beyond what the guardrail tolerates, each one that the signal can have."""
    found = harm_to(watched(when), Assumed(rate=rate, rated=0.1))

    assert effects == [effect.text for effect in found.effects if effect.value < 1.0 or "error" not in when]


def mean_of(harm: Harm, beyond: np.ndarray) -> float:
    assert harm.positions is not None
    chances = -np.diff(np.array([1.0, *beyond, 0.0]))
    return float((lower(harm.positions) + upper(harm.positions)) / 2.0 @ chances)


@pytest.mark.parametrize(
    ("when", "low", "high", "allowed"),
    [
        ("csat < control - 0.3", 1.0, 5.0, 3.85),
        ("csat < 0.9x control", 1.0, 5.0, 3.735),
        ("csat < 3.5", 1.0, 5.0, 3.5),
        ("nps < control - 5", -100.0, 100.0, 25.0),
        ("quality < control - 0.05", 0.0, 1.0, 0.75),
        ("cost > 1.05x control", 0.0, 200.0, 168.0),
    ],
)
def test_scores_have_the_mean_that_is_said(when: str, low: float, high: float, allowed: float) -> None:
    """Under each effect the mean is the effect's value, so much beyond what is allowed as its text says."""
    harm = harm_to(watched(when), Assumed())
    means = [low + (high - low) * mean_of(harm, beyond) for beyond in harm.ill]

    assert [effect.value for effect in harm.effects] == pytest.approx(means, abs=1e-6)
    assert [allowed + float(effect.text) for effect in harm.effects] == pytest.approx(means, abs=1e-6)


def test_scores_are_no_further_from_controls_than_they_must() -> None:
    """More change for more harm, in every part of the range a falling chance, and no more changed than there are."""
    harm = harm_to(watched("csat < control - 0.3"), Assumed())

    assert sorted(harm.fails) == harm.fails.tolist()
    assert 0.0 < harm.fails[0] and harm.fails[-1] < 1.0
    assert (np.diff(harm.ill, axis=1) <= 0.0).all()
    assert (harm.ill < harm.control).all()


@pytest.mark.parametrize(("mean", "spread"), [(0.8, 0.2), (0.5, 0.1), (0.9, 0.05), (0.3, 0.3)])
def test_a_measure_has_its_mean_and_spread(mean: float, spread: float) -> None:
    """The law has the mean exactly, and the standard deviation as far as twelve parts of the range can tell."""
    law = measure_law(mean, spread)
    parts = (lower(law.positions) + upper(law.positions)) / 2.0

    assert law.mean == pytest.approx(mean)
    assert float(np.sqrt((parts - mean) ** 2 @ law.chances)) == pytest.approx(spread, abs=0.015)


def test_the_largest_spread_is_all_or_nothing() -> None:
    """Where the spread is as large as it can be, and where more is said, only the ends are left."""
    for spread in (0.4, 0.5):
        law = measure_law(0.8, spread)
        assert [0, 360] == law.positions.tolist()
        assert [0.2, 0.8] == pytest.approx(law.chances.tolist())


def test_a_mean_out_of_reach_is_refused() -> None:
    """No law on levels from 1 to 5 has a mean of 5: the error names it."""
    with pytest.raises(ValueError, match="mean is 1"):
        csat_law(5.0)


def test_counts_between_edges_add_up(dice: random.Random) -> None:
    """Counts beyond the edges of a law, as they are drawn, give back how often each position came."""
    rng = np.random.default_rng(dice.randrange(2**32))
    counts = rng.integers(0, 9, (50, 5)).astype(float)
    beyond = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    given, _ = Sums(beyond[:, 0], beyond[:, 1:], beyond[:, 0], beyond[:, 1:]).given

    assert (given == counts).all()
    assert Law(np.arange(5) * 90, np.full(5, 0.2)).beyond == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_harm_in_a_part_of_the_outcomes_is_met_there_alone() -> None:
    """A narrowed signal counts its part of the outcomes, and only those are exposed; ratings are a part of all."""
    narrow, rated = (harm_to(watched(when), Assumed(narrowed=0.3)) for when in ("search_latency_p95 > 300ms", "csat < 3"))

    assert (0.3, True) == (narrow.part, narrow.is_narrow)
    assert (0.05, False) == (rated.part, rated.is_narrow)


@pytest.mark.parametrize(
    ("when", "healthy"), [("csat < 4", True), ("csat < 4.2", False), ("cost > 150", False), ("nps < 20", True)]
)
def test_control_may_be_beyond_a_bound(when: str, healthy: bool) -> None:
    """What control does itself is no harm of the variation."""
    assert healthy == is_healthy(watched(when), Assumed())


@pytest.mark.parametrize(
    ("when", "terms", "part"),
    [
        ("error_rate > 2x control", {}, 1.0),
        ("error_rate > 2x control", {"segments": ["country"]}, 0.8),
        ("csat < 4", {"segments": ["country"]}, 1.0),
        ("latency_p95 > 300ms", {"segments": ["country"]}, 0.8),
    ],
)
def test_the_budget_is_split_as_live(when: str, terms: dict[str, object], part: float) -> None:
    """Segments leave 80 % of a guardrail's budget to all traffic, where its signal has segments."""
    assert part == watched(when, **terms).part


def test_silence_takes_no_budget() -> None:
    """Those that test something share the budget evenly; silence and windows have no part in it."""
    whens = ["error_rate > 2x control", "csat < 4", "no_data for 2m"]
    found = watched_of(policy(guardrails=[{"when": when, "then": "pause"} for when in whens]))

    assert [0.5, 0.5, None] == [None if one is None else one.part for one in found]
