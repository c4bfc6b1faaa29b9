"""What a forecast says of each signal: harm found in order of its size, and what no test can find named as such."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guardian.conditions import Silence
from guardian.forecast import Assumed, Finding, GuardrailForecast, forecast_policy
from guardian.forecast.lanes import Lanes, cries_of
from guardian.forecast.rate_effects import multiples
from guardian.forecast.said import silence_note
from guardian.forecast.scene import Phase, watched_of
from guardian.forecast.sums import Past, Sums
from guardian.forecast.traffic import Newcomers
from guardian.newcomers import Newcomers as Live
from guardian.policy import Policy
from tests.support.traffic import policy

SIGNALS = {
    "quality": {"measure": "quality", "range": [0, 1]},
    "search_latency": {"of": "latency_p95", "where": {"operation": "search"}},
    "search_errors": {"of": "error_rate", "where": {"operation": "search"}},
}
STAGES = [{"share": "50%", "for": "1h"}, {"share": "60%"}]


def foretold(terms: Policy, assumed: Assumed) -> list[GuardrailForecast]:
    return forecast_policy(terms, assumed, np.random.default_rng(1))[0].guardrails


def medians(found: GuardrailForecast, onset: str) -> list[float]:
    return [_seconds(one) for one in found.findings if one.onset == onset]


def _seconds(finding: Finding) -> float:
    return math.inf if finding.median_s is None else finding.median_s


@pytest.mark.parametrize(
    "when",
    [
        "latency_p95 > 1.2x control",
        "latency_p95 > control + 50ms",
        "latency_p95 > 300ms",
        "search_latency > control + 50ms",
        "search_errors > 1.2x control",
        "csat < control - 0.3",
        "csat < 3.5",
        "nps < control - 5",
        "quality < 0.95x control",
        "quality > control + 0.05",
        "thumbs_down_rate > 1.5x control",
        "thumbs_down_rate > 20%",
        "report_rate > 2x control",
        "report_rate > control + 0.1%",
    ],
)
def test_larger_harm_is_found_sooner(when: str) -> None:
    """Whatever the signal: no larger size takes longer, the largest takes seconds or minutes, and hurts whom it meets."""
    terms = policy(guardrails=[{"when": when, "then": "kill"}], signals=SIGNALS, stages=STAGES)
    found = foretold(terms, Assumed(requests_per_s=500.0, rated=0.3, reports=0.002, share=0.5, runs=15))[0]

    assert found.is_tested_live
    for onset in ("start", "late"):
        assert sorted(medians(found, onset), reverse=True) == medians(found, onset)
        assert medians(found, onset)[-1] < 120.0
    assert all(0.0 < one.hurt <= one.exposed for one in found.findings)


@pytest.mark.parametrize(
    "when", ["csat < control", "quality < 1x control", "report_rate > control", "sample_ratio off", "latency_p95 > control + 0ms"]
)
def test_healthy_runs_keep_the_budget(when: str) -> None:
    """With a large budget and no margin, no more of the healthy runs are acted on than the budget allows."""
    loud = {"per_rollout": 0.3, "per_step": 0.1, "per_day": 0.001}
    stages = [{"share": "10%", "for": "10m"}, {"share": "50%", "for": "10m"}, {"share": "60%"}]
    terms = policy(guardrails=[{"when": when, "then": "kill"}], signals=SIGNALS, stages=stages, false_kills=loud)
    healthy = forecast_policy(terms, Assumed(rated=0.3, reports=0.01, runs=40), np.random.default_rng(2))[0].healthy

    assert healthy is not None
    assert healthy.low <= healthy.allowed <= 0.3 + 2 * 0.1 + 0.001


def test_a_measure_that_is_all_or_nothing_is_tested_as_a_rate() -> None:
    """With the largest spread a fall is found, and later than one of a measure that hardly spreads."""
    terms = policy(guardrails=[{"when": "quality < 0.95x control", "then": "kill"}], signals=SIGNALS, stages=STAGES)
    coin, steady = (foretold(terms, Assumed(share=0.5, spread=spread, runs=20))[0] for spread in (0.5, 0.1))

    assert "0.8 on average, all or nothing" == coin.assumed
    assert "0.8 on average, a spread of 10% of its range" == steady.assumed
    assert medians(steady, "start")[1] < medians(coin, "start")[1] < math.inf


def test_a_variation_that_never_appears_is_never_found() -> None:
    """Silent from the first second it is not known; silent after a day it is found; the notes say why."""
    terms = policy(guardrails=[{"when": "sample_ratio off", "then": "kill"}], stages=STAGES)
    found = foretold(terms, Assumed(requests_per_s=5.0, share=0.5, runs=10))[0]

    assert ["10% lost", "50% lost", "silent"] == [one.effect for one in found.findings if one.onset == "start"]
    assert math.inf == medians(found, "start")[2]
    assert medians(found, "start")[1] < 120.0
    assert medians(found, "late")[2] < math.inf
    assert "never appears" in found.notes[0]


def test_the_forecast_counts_as_many_new_units_as_are_counted_live() -> None:
    """Of half a million units in steps of a thousand as many count, all along, as find a place of their own."""
    newcomers, rng, live = Newcomers(1), np.random.default_rng(5), Live()
    foretold, counted = [], []
    for _ in range(500):
        drawn = Sums(np.full(1, 400.0), np.zeros((1, 1)), np.full(1, 600.0), np.zeros((1, 1)))
        newcomers.meet(rng, drawn)
        foretold.append(float((drawn.n_t + drawn.n_c)[0]))
        counted.append(sum(live.meet(unit) for unit in rng.integers(0, 1 << 52, 1_000).tolist()))

    assert np.add.reduceat(counted, range(0, 500, 50)) == pytest.approx(np.add.reduceat(foretold, range(0, 500, 50)), rel=0.05)


@pytest.mark.parametrize(
    ("per_s", "said"),
    [
        (200.0, "at this traffic 120 s at 1%, 120 s at 50%, never at 100%"),
        (2.0, "at this traffic 500 s at 1%, 120 s at 50%, never at 100%"),
        (0.2, "at this traffic never at 1%, 120 s at 50%, never at 100%"),
    ],
)
def test_silence_is_told_with_its_seconds(per_s: float, said: str) -> None:
    """After the guardrail's time, or when ten starts were expected; never where history does not reach that far back."""
    phases = [Phase(0.01, 0.99, 600.0), Phase(0.5, 0.5, 600.0), Phase(1.0, 0.0, math.inf)]
    notes = silence_note(Silence(120.0), phases, Assumed(requests_per_s=per_s))

    assert ["a clock, no test: found after 2m in which 10 starts were expected", said] == notes


def test_guardrails_of_one_action_are_asked_together() -> None:
    """Two accounts that hold more than a half each do not cry alone, but do together; before they read, they hold nothing."""
    terms = policy(guardrails=[{"when": when, "then": "pause"} for when in ("error_rate > 5%", "error_rate > 4%")], min_units=1)
    watched = [one for one in watched_of(terms) if one is not None]
    group = [Lanes(one, 2, Assumed(), multiples(0.01)) for one in watched]
    failed, first = np.full(2, 5.0), np.array([True, False])
    one = np.array([6.0])
    for lanes in group:
        lanes.deposit(np.full(2, 0.9))
        lanes.read_blocks(Sums(one, np.array([[1.0]]), one, np.array([[0.0]])), first, Past(2, 0), np.array([0.1]))
        assert 0.5 <= math.exp(lanes.pooled[0]) < 1.0

    assert [True, False] == cries_of(group, failed, 1, is_ended=True)[0].tolist()
    assert [False, False] == cries_of(group, failed, 9, is_ended=True)[0].tolist()
    assert [True, False] == cries_of(group, failed, 1, is_ended=False)[0].tolist()
    assert [False, False] == cries_of(group, failed, 1, is_ended=False)[0].tolist()


def test_more_guardrails_are_tried_less_often() -> None:
    """Where nobody says how often, the runs of all guardrails together are about as many; what is asked for is kept."""
    assert [300, 300, 200, 100, 40] == [Assumed().runs_of(many) for many in (0, 2, 3, 6, 50)]
    assert 77 == Assumed(runs=77).runs_of(6)
