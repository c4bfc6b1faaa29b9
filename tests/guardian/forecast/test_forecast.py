"""What a forecast promises: budgets kept, more harm and more traffic found sooner, nothing that it does not know."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from guardian.forecast import Assumed, Finding, Forecast, PolicyForecast, allowed_a_year, forecast, forecast_policy
from guardian.forecast.clock import TICK_S, instants
from guardian.forecast.forecast import interval
from guardian.policy import Policy
from tests.support.traffic import policy

RELATIVE = {"when": "error_rate > 1.2x control", "then": "kill"}
ABSOLUTE = {"when": "error_rate > 5%", "then": "kill"}
QUICK = Assumed(share=0.1, runs=40)


def foretold(terms: Policy, assumed: Assumed = QUICK, seed: int = 1) -> PolicyForecast:
    return forecast_policy(terms, assumed, np.random.default_rng(seed))[0]


def findings(found: PolicyForecast, onset: str, guardrail: int = 0) -> list[Finding]:
    return [one for one in found.guardrails[guardrail].findings if one.onset == onset]


def seconds(value: float | None) -> float:
    return math.inf if value is None else value


@pytest.fixture(scope="module")
def plain() -> PolicyForecast:
    return foretold(policy(guardrails=[RELATIVE, {"when": "error_rate > 5%", "then": "pause"}]))


@pytest.mark.parametrize("onset", ["start", "late"])
@pytest.mark.parametrize("guardrail", [0, 1])
def test_larger_harm_is_found_sooner(plain: PolicyForecast, onset: str, guardrail: int) -> None:
    """Median and 95 % fall as the effect grows, and fewer are exposed until then."""
    found = findings(plain, onset, guardrail)

    assert 6 == len(found)
    for of in ([seconds(f.median_s) for f in found], [seconds(f.p95_s) for f in found], [f.exposed for f in found]):
        assert sorted(of, reverse=True) == of


def test_more_traffic_finds_sooner(plain: PolicyForecast) -> None:
    """At ten times the traffic every size of harm is found sooner."""
    busy = foretold(policy(guardrails=[RELATIVE]), Assumed(requests_per_s=2_000.0, share=0.1, runs=40))

    for quiet, more in zip(findings(plain, "start"), findings(busy, "start"), strict=True):
        assert seconds(more.median_s) < seconds(quiet.median_s)


def test_the_whole_policy_waits_for_its_strictest_action(plain: PolicyForecast) -> None:
    """With a kill and a pause, the whole is about the kill; harm that every test tolerates is never found."""
    assert plain.whole is not None
    assert ("kill", 1.0) == (plain.whole.then, plain.whole.findings[0].missed)
    assert plain.whole.findings[0].median_s is None


def test_hurt_are_some_of_the_exposed(plain: PolicyForecast) -> None:
    """At least the three units that every action needs are hurt, and no more than were exposed."""
    for guardrail in plain.guardrails:
        for one in guardrail.findings:
            assert 3 <= one.hurt <= one.exposed


def test_healthy_runs_keep_the_budget() -> None:
    """With a budget of 0.3 a part of the healthy runs is acted on, and no more than the budget allows."""
    loud = policy(
        guardrails=[{"when": "error_rate > control", "then": "kill"}], false_kills={"per_rollout": 0.3, "per_day": 0.001},
        stages=[{"share": "10%", "for": "20m"}, {"share": "50%", "for": "20m"}, {"share": "90%"}],
    )  # fmt: skip
    found = foretold(loud, Assumed(runs=60))
    assert found.healthy is not None

    assert 0 < found.healthy.alarmed
    assert found.healthy.low <= found.healthy.allowed
    assert found.healthy.allowed <= 0.3 * 3 + 0.001
    assert 2_400.0 == found.healthy.horizon_s


def test_stages_are_followed() -> None:
    """A policy that stays at 1 % finds the same harm later than one that goes on to 50 % after a minute."""
    slow = policy(guardrails=[RELATIVE], stages=[{"share": "1%", "for": "30m"}, {"share": "50%"}])
    fast = policy(guardrails=[RELATIVE], stages=[{"share": "1%", "for": "1m"}, {"share": "50%"}])
    doubled = [findings(foretold(terms, Assumed(runs=40)), "start")[1] for terms in (slow, fast)]

    assert ["2x", "2x"] == [one.effect for one in doubled]
    assert seconds(doubled[1].median_s) < seconds(doubled[0].median_s)


def test_nothing_is_found_without_a_control() -> None:
    """At 100 % no block has a control: what is compared with it is missed, as the forecast says, and a bound is not."""
    stages = [{"share": "10%", "for": "10m"}, {"share": "100%"}]
    followed = foretold(policy(guardrails=[RELATIVE], stages=stages), Assumed(runs=20))
    bounded = foretold(policy(guardrails=[ABSOLUTE], stages=stages), Assumed(runs=20))

    assert [1.0] * 6 == [one.missed for one in findings(followed, "late")]
    assert [0.0] * 6 == [one.missed for one in findings(bounded, "late")]
    assert any("no control" in note for note in followed.notes)


@pytest.mark.parametrize(
    ("when", "rate", "note"),
    [
        ("error_rate > 5%", 0.06, "control's 6% is above this bound: a breach is held as a shared incident"),
        ("csat < 4.5", 0.01, "control's 4.15 is below this bound: a breach is held as a shared incident"),
        ("csat < 0.2x control", 0.01, "nothing that its signal can be is worse than this bound allows"),
    ],
)
def test_what_cannot_be_forecast_is_named(when: str, rate: float, note: str) -> None:
    """A bound that control itself breaks, and what is not run live, have notes in place of figures."""
    found = foretold(policy(guardrails=[{"when": when, "then": "kill"}]), Assumed(share=0.1, rate=rate, runs=20))

    assert [] == found.guardrails[0].findings
    assert [note] == found.guardrails[0].notes
    assert (None, None) == (found.whole, found.healthy)


@pytest.mark.parametrize(
    ("evaluate", "note", "is_played"),
    [("literal", "a literal rule is no test", False), ("either", "played as its test alone", True)],
)
def test_literal_rules_are_named_as_such(evaluate: str, note: str, is_played: bool) -> None:
    """A purely literal rule has a note in place of figures; beside a test it has that of the test, and is told so."""
    guardrails = [{"when": "error_rate > 5% for 10m", "then": "kill", "evaluate": evaluate}]
    found = foretold(policy(guardrails=guardrails), Assumed(share=0.1, rate=0.01, runs=20)).guardrails[0]

    assert is_played == bool(found.findings)
    assert any(one.startswith(note) for one in found.notes)


def test_the_same_generator_gives_the_same_figures() -> None:
    """A forecast depends on its arguments alone, and no policy changes another's figures."""
    one = policy(guardrails=[{"when": "error_rate > 5%", "then": "kill"}])
    other = policy(flag="search", guardrails=[{"when": "no_data for 2m", "then": "pause"}])
    few = Assumed(share=0.1, runs=20)

    def figures(*policies: Policy) -> Forecast:
        return forecast(policies, few, lambda terms: np.random.default_rng(len(terms.flag)))

    alone = figures(one)
    assert alone.policies == figures(other, one).policies[1:]
    assert alone.false_kills_a_year == allowed_a_year(one) == pytest.approx(0.366)


def test_steps_are_fine_where_something_changes() -> None:
    """Steps end at every change, never go back, are ticks after one, and few in all."""
    ends = list(instants([600.0, 4_200.0], 172_800.0, onset_s=86_400.0))
    steps = np.diff([0.0, *ends])

    assert 172_800.0 == ends[-1]
    assert {600.0, 4_200.0, 86_400.0} <= set(ends)
    assert steps.min() >= 0.5 * TICK_S
    assert TICK_S == pytest.approx(steps[ends.index(86_400.0) + 1])
    assert len(ends) < 1_200


def test_the_interval_holds_what_was_seen() -> None:
    """No event in 300 runs still allows about one in a hundred; all events leave no upper doubt."""
    low, high = interval(0, 300)

    assert 0.0 == low
    assert pytest.approx(0.0122, abs=1e-4) == high
    assert 1.0 == interval(20, 20)[1]
    assert interval(5, 100)[0] < 0.05 < interval(5, 100)[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requests_per_s", 0.0), ("requests_per_s", math.nan), ("rate", 1.0), ("share", 1.0), ("latency_ms", 0.0), ("runs", 0),
        ("rated", 0.0), ("csat", 5.0), ("nps", (0.2, 0.3, 0.6)), ("measure", 1.0), ("spread", 0.6), ("narrowed", math.nan),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_named(name: str, value: object) -> None:
    """The error names the argument and its value."""
    with pytest.raises(ValueError, match=re.escape(f"{name} is {value!r}: it must be")):
        Assumed(**{name: value})  # type: ignore[arg-type]
