"""Every signal of a policy, from sums to a decision: harm is found, in its own words and numbers; no harm is left alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.journal import Entry, Override, PolicyEntry, Summary
from guardian.lines import lines_of, plan_of
from guardian.plan import RATING, THUMB, Cut, Plan
from guardian.policy import policy_hash
from guardian.summaries import TICK_MS, Arm, Tick
from tests.support.courses import between, told
from tests.support.sums import Law, Rate, World, ratings
from tests.support.traffic import KEY, T0_MS, judged, policy

BUG_S = 20.0


def coins(good: float, bad: float) -> Law:
    """A score that is all or nothing, of treatment less often from the bug on."""

    def draw(rng: np.random.Generator, variation: str, at_s: float, n: int) -> list[float]:
        rate = bad if variation == "treatment" and at_s >= BUG_S else good
        return [float(one) for one in rng.uniform(size=n) < rate]

    return draw


def quality(drop: float) -> Law:
    """A score around 0.9, of treatment lower by ``drop`` from the bug on."""

    def draw(rng: np.random.Generator, variation: str, at_s: float, n: int) -> list[float]:
        lower = drop if variation == "treatment" and at_s >= BUG_S else 0.0
        return [float(one) for one in np.clip(0.9 - lower + 0.05 * rng.standard_normal(n), 0.0, 1.0)]

    return draw


def hurt(good: float, bad: float) -> Rate:
    """A rate of treatment that is bad from the bug on."""
    return lambda variation, s: bad if variation == "treatment" and s >= BUG_S else good


QUALITY = {"quality": {"measure": "quality", "range": [0, 1]}}
WON = {"won": {"measure": "won", "range": [0, 1]}}
SLOWER = World(latency_ms=hurt(100.0, 150.0))
THUMBS = {THUMB: (0.3, (0.0, 1.0), coins(0.9, 0.6))}
HARMS = {
    "latency_p95 > 1.1x control": (SLOWER, {}),
    "latency_p50 > control + 20ms": (SLOWER, {}),
    "latency_p99 > 1.5x baseline": (World(slow_part=hurt(0.0, 0.2)), {}),
    "latency_p90 > 300ms": (World(latency_ms=hurt(80.0, 140.0)), {}),
    "csat < control - 0.3": (World(scores={RATING: (0.3, (1.0, 5.0), ratings(0.9, BUG_S))}), {}),
    "csat < control": (World(scores={RATING: (0.3, (1.0, 5.0), ratings(0.9, BUG_S))}), {}),
    "csat < 0.95x control": (World(scores={RATING: (0.3, (1.0, 5.0), ratings(0.9, BUG_S))}), {}),
    "csat < 3.8": (World(scores={RATING: (0.3, (1.0, 5.0), ratings(0.9, BUG_S))}), {}),
    "thumbs_down_rate > 1.5x control": (World(scores=THUMBS), {}),
    "thumbs_down_rate > control + 10%": (World(scores=THUMBS), {}),
    "thumbs_down_rate > 20%": (World(scores=THUMBS), {}),
    "report_rate > 2x control": (World(reports=hurt(0.005, 0.05)), {}),
    "report_rate > 2%": (World(reports=hurt(0.005, 0.05)), {}),
    "report_rate > control + 1%": (World(reports=hurt(0.005, 0.05)), {}),
    "quality < control - 0.05": (World(scores={"measure:quality": (1.0, (0.0, 1.0), quality(0.12))}), QUALITY),
    "quality < 0.95x control": (World(scores={"measure:quality": (1.0, (0.0, 1.0), quality(0.12))}), QUALITY),
    "quality < 0.85": (World(scores={"measure:quality": (1.0, (0.0, 1.0), quality(0.12))}), QUALITY),
    "quality > 1.02x control": (World(scores={"measure:quality": (1.0, (0.0, 1.0), quality(-0.08))}), QUALITY),
    "won < 0.9x control": (World(scores={"measure:won": (1.0, (0.0, 1.0), coins(0.3, 0.2))}), WON),
}
WORLDS = [pytest.param(when, *world, id=when) for when, world in HARMS.items()]


def decided(world: World, when: str, signals: dict[str, object], **more: object) -> list[Decision]:
    """Return what is decided of a world under one guardrail."""
    guardrails = [{"when": when, "then": "pause", **more}]
    return judged(world.entries(), terms=policy(guardrails=guardrails, signals=signals))


def seconds(at: str) -> float:
    """Return a decision's time in seconds of the world."""
    return datetime.fromisoformat(at).timestamp() - T0_MS / 1_000


@pytest.mark.parametrize(("when", "world", "signals"), WORLDS)
def test_harm_is_found_and_told_in_its_own_numbers(when: str, world: World, signals: dict[str, object]) -> None:
    """
    A variation that breaks a guardrail from second 20 on is paused within half a minute, and not before.

    The decision names the signal, its numbers show the harm, and the stretch begins near the bug.
    """
    made = decided(world, when, signals)

    assert "pause" == made[0].action
    assert BUG_S < seconds(made[0].decided_at) < BUG_S + 30.0
    assert when.split(" ", maxsplit=1)[0] == made[0].signal
    told = made[0].evidence
    assert told is not None
    assert told.log_e >= told.log_threshold
    assert told.n > 0
    assert told.p is not None
    assert told.p <= 0.002 * 1.01
    assert BUG_S - 8.0 < seconds(made[0].evidence_from) < seconds(made[0].decided_at)
    if told.value_control is not None and told.bound is None:
        assert (told.value < told.value_control) == ("<" in when)


@pytest.mark.parametrize(("when", "world", "signals"), WORLDS)
def test_no_harm_no_decision(when: str, world: World, signals: dict[str, object]) -> None:
    """The same worlds, in which treatment does as control does, lead to no decision."""
    healthy = replace(
        world, errors=_both(world.errors), latency_ms=_both(world.latency_ms), slow_part=_both(world.slow_part),
        reports=None if world.reports is None else _both(world.reports),
        scores={name: (part, of, _blind(law)) for name, (part, of, law) in world.scores.items()},
    )  # fmt: skip

    assert [] == decided(healthy, when, signals)


def _both(rate: Rate) -> Rate:
    return lambda variation, s: rate("control", s)


def _blind(law: Law) -> Law:
    return lambda rng, variation, at_s, n: law(rng, "control", at_s, n)


def test_a_segment_is_named_where_the_harm_lives() -> None:
    """Where only one country is hurt, the decision names it, though all traffic together shows little."""
    world = World(countries={"DE": 0.1, "US": 0.6, "FR": 0.3}, ill="DE", harm=8.0, seconds=90, rps=400)
    made = decided(world, "error_rate > 1.5x control", {}, segments=["country"])

    assert made[0].evidence is not None
    assert "country=DE" == made[0].evidence.segment


def test_segments_never_cost_more_than_their_part() -> None:
    """However many values an attribute has, all accounts of a guardrail together are paid its budget at most."""
    many = {f"c{at}": 1 / 40 for at in range(40)}
    terms = policy(guardrails=[{"when": "error_rate > 1.5x control", "then": "pause", "segments": ["country"]}])
    bank = Bank(JudgeConfig())
    bank.apply(0, PolicyEntry(at_ms=T0_MS, key=terms.key, hash=policy_hash(terms), document=terms.to_document()))
    for offset, entry in enumerate(World(countries=many, rps=2_000, seconds=10).entries(), start=1):
        bank.apply(offset, entry)
    watch = bank.rollouts[KEY].variations["treatment"]
    lanes = [lane for held in watch.guardrails for lane in (held.full, held.fast) if lane is not None]
    lanes += [held.full for line in watch.lines.values() for held in line.watches.values()]

    assert 20 == len(watch.lines)
    assert 0.9 * watch.offered < sum(lane.account.total_deposited for lane in lanes) <= watch.offered


def test_harm_that_goes_on_under_a_pause_is_no_news() -> None:
    """A guardrail that paused a rollout speaks once, until a person resumes; then it may pause again."""
    world = World(errors=hurt(0.01, 0.2), timed=False, seconds=90, rps=100)
    entries = list(world.entries())
    at = next(at for at, entry in enumerate(entries) if entry.at_ms > T0_MS + 60_000)
    resumed = Override(at_ms=T0_MS + 60_000, key=KEY, action="resume", by="ann", reason="looked at it", id="r1")
    terms = policy(guardrails=[{"when": "error_rate > 5%", "then": "pause"}])
    made = judged([*entries[:at], resumed, *entries[at:]], terms=terms)

    assert ["pause", "resume", "pause"] == [one.action for one in made]
    assert seconds(made[0].decided_at) < 60.0 < seconds(made[2].decided_at)


def test_a_hold_for_a_shared_incident_does_not_keep_a_kill_back() -> None:
    """Where control recovers from an incident and treatment does not, the guardrail that held kills."""
    rate = lambda v, s: 0.3 if BUG_S < s < 40.0 or (v == "treatment" and s > 40.0) else 0.01  # noqa: E731
    terms = policy(guardrails=[{"when": "error_rate > 10%", "then": "kill"}])
    made = judged(World(errors=rate, timed=False, seconds=90).entries(), terms=terms)

    assert ["hold", "kill"] == [one.action for one in made]


def test_a_known_change_is_looked_at_with_fresh_budget() -> None:
    """A build that is told of offers the budget of a step, once by its id; the harm it brings is found sooner."""
    terms = policy(guardrails=[{"when": "error_rate > 1x control", "then": "kill"}])
    world = World(errors=hurt(0.01, 0.04), timed=False, seconds=90, rps=100)
    told = [Override(at_ms=T0_MS + 19_900, key=KEY, action="changed", by="ci", reason="build 7", id="b7")] * 2
    entries = list(world.entries())
    at = next(at for at, entry in enumerate(entries) if entry.at_ms > T0_MS + 19_900)
    blind, informed = judged(entries, terms=terms), judged([*entries[:at], *told, *entries[at:]], terms=terms)

    assert seconds(informed[0].decided_at) < seconds(blind[0].decided_at)
    assert informed[0].evidence is not None
    assert 0.001 < informed[0].evidence.alpha_spent <= 0.002 + 1e-6


STAGES = [{"share": "10%", "for": "1h"}, {"share": "100%"}]


def ratio(lost: float, since_s: float = BUG_S, **more: object) -> World:
    gone = lambda variation, s: lost if variation == "treatment" and s >= since_s else 0.0  # noqa: E731
    return World(share=lambda s: 0.1, lost=gone, timed=False, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("lost", "most_s"), [(1.0, 7.0), (0.5, 25.0)])
def test_a_share_that_does_not_arrive_is_found(lost: float, most_s: float) -> None:
    """A variation whose first exposures stop, or half of which are lost, is paused as off its configured share."""
    terms = policy(guardrails=[{"when": "sample_ratio off", "then": "pause"}], stages=STAGES)
    made = judged(ratio(lost).entries(), terms=terms)

    assert "pause" == made[0].action
    assert BUG_S < seconds(made[0].decided_at) < BUG_S + most_s
    assert made[0].evidence is not None
    assert 0.1 == made[0].evidence.bound
    assert made[0].evidence.value < 0.08


def test_the_configured_share_is_no_mismatch() -> None:
    """A split as configured decides nothing."""
    terms = policy(guardrails=[{"when": "sample_ratio off", "then": "pause"}], stages=STAGES)

    assert [] == judged(ratio(0.0).entries(), terms=terms)


@pytest.mark.parametrize("late_s", [0.0, 8.0])
def test_a_stage_that_takes_its_time_is_no_mismatch(late_s: float) -> None:
    """From the decision to go on until clients follow, either share is right; nobody answers that it was done."""
    stages = [{"share": "10%", "for": "30s"}, {"share": "50%", "for": "1h"}, {"share": "100%"}]
    guardrails = [{"when": "sample_ratio off", "then": "pause"}, {"when": "error_rate > 2x control", "then": "kill"}]
    world = World(share=lambda s: 0.1 if s < 30.0 + late_s else 0.5, timed=False, seconds=80)

    assert ["advance"] == [one.action for one in judged(world.entries(), terms=policy(guardrails=guardrails, stages=stages))]


NO_DATA = [{"when": "no_data for 10s", "then": "kill"}]


@pytest.mark.parametrize(
    ("world", "kind", "action"),
    [
        (ratio(1.0), "exposures", "kill"),
        (World(mute=lambda v, s: float(v == "treatment" and s >= BUG_S)), "outcomes", "kill"),
        (World(mute=lambda v, s: float(s >= BUG_S)), "pipeline", "pause"),
        (World(lost=lambda v, s: float(s >= BUG_S)), "pipeline", "pause"),
    ],
    ids=["exposures", "outcomes", "all outcomes", "all"],
)
def test_three_kinds_of_silence_are_told_apart(world: World, kind: str, action: str) -> None:
    """Silence of a variation's exposures or outcomes does what the policy says; a broken pipeline only pauses. Each once."""
    made = judged(world.entries(), terms=policy(guardrails=NO_DATA))

    assert [action] == [one.action for one in made]
    assert made[0].evidence is not None
    assert kind == made[0].evidence.silence
    assert BUG_S + 9.0 < seconds(made[0].decided_at) < BUG_S + 13.0


@pytest.mark.parametrize(("then", "actions"), [("kill", ["pause", "kill"]), ("pause", ["pause"])])
def test_a_silence_that_goes_on_under_other_terms_is_news(then: str, actions: list[str]) -> None:
    """Told under a guardrail that paused, a silence is acted on again by one that kills; by one with the same terms it is not."""
    pause = {"when": "no_data for 10s", "then": "pause"}
    changed = told(policy(guardrails=[pause | {"then": then}], min_units=7), at_s=BUG_S + 20.0)
    made = judged(between(ratio(1.0).entries(), changed), terms=policy(guardrails=[pause]))

    assert actions == [one.action for one in made]


def trickling(late_s: float, part: float, mute_s: float) -> list[Entry]:
    """Half a minute in which a ``part`` of treatment's outcomes comes so much later; from ``mute_s`` on no new ones end."""
    told, later = list(World(mute=lambda v, s: float(v == "treatment" and s >= mute_s), timed=False).entries()), round(5 * late_s)
    for at in reversed(range(len(told))):
        entry = told[at]
        arms = entry.flags[0].ticks[0].arms if isinstance(entry, Summary) and entry.flags else {}
        if "treatment" not in arms or at + later >= len(told) or not isinstance(then := told[at + later], Summary):
            continue
        held = round(part * arms["treatment"].outcomes)
        arms["treatment"].outcomes -= held
        tick = Tick(start_ms=T0_MS + at * TICK_MS, arms={"treatment": Arm(outcomes=held)})
        then.flags[0].ticks = [tick, *then.flags[0].ticks]
    return told


def test_stragglers_do_not_hide_that_outcomes_stopped() -> None:
    """Outcomes of what began before trickle in for half a minute: they are no sign of life of what began since."""
    made = judged(trickling(30.0, 0.1, 40.0), terms=policy(guardrails=NO_DATA))

    assert [("kill", "outcomes")] == [(one.action, one.evidence.silence) for one in made if one.evidence is not None]
    assert 49.0 < seconds(made[0].decided_at) < 52.0


def test_slow_outcomes_are_no_silence() -> None:
    """A treatment all of whose outcomes take fifteen seconds, and which goes on, is not silent for ten."""
    made = judged(trickling(15.0, 1.0, 1_000.0)[75:], terms=policy(guardrails=NO_DATA))

    assert [] == made


@pytest.mark.parametrize(("mute_s", "actions"), [(30.0, ["kill"]), (1_000.0, [])])
def test_a_clock_that_is_ahead_hides_no_silence(mute_s: float, actions: list[str]) -> None:
    """One outcome whose start lies an hour ahead is no sign of life for an hour, nor are those after it old news."""
    told = list(World(mute=lambda v, s: float(v == "treatment" and s >= mute_s), timed=False).entries())
    first, ahead = told[50], Tick(start_ms=T0_MS + 3_600_000, arms={"treatment": Arm(outcomes=1)})
    assert isinstance(first, Summary)
    first.flags[0].ticks = [*first.flags[0].ticks, ahead]

    assert actions == [one.action for one in judged(told, terms=policy(guardrails=NO_DATA))]


def test_requests_that_hang_break_a_bound_before_they_end() -> None:
    """Requests of treatment that never end count against a fixed bound as soon as they have been open that long."""
    hang = World(mute=lambda v, s: 0.2 if v == "treatment" and s >= BUG_S else 0.0, latency_ms=lambda v, s: 20.0)
    made = decided(hang, "latency_p95 > 300ms", {})

    assert BUG_S < seconds(made[0].decided_at) < BUG_S + 15.0
    assert [] == decided(World(latency_ms=lambda v, s: 20.0), "latency_p95 > 300ms", {})


def test_exposures_without_outcomes_prove_nothing() -> None:
    """Where control's exposures do not all have outcomes either, missing ones are not counted as slow."""
    sparse = World(mute=lambda v, s: 0.3 if v == "treatment" and s >= BUG_S else 0.2, latency_ms=lambda v, s: 20.0)

    assert [] == decided(sparse, "latency_p95 > 300ms", {})


def test_a_quiet_night_is_no_silence_of_the_variation() -> None:
    """A variation that gets one request in a long while is not called silent: so few are no surprise."""
    night = World(rps=0.5, share=lambda s: 0.02, seconds=600, timed=False)

    assert [] == judged(night.entries(), terms=policy(guardrails=[{"when": "no_data for 30s", "then": "kill"}]))


def test_small_harms_of_several_signals_add_up() -> None:
    """Guardrails of one action whose accounts hold enough only between them lead to it, and each one's part is told."""
    rate = hurt(0.01, 0.02)
    signals = ("report_rate > 1x control", "thumbs_down_rate > 1x control")
    world = World(reports=rate, scores={THUMB: (0.3, (0.0, 1.0), coins(0.9, 0.86))}, timed=False, seconds=400)
    terms = policy(guardrails=[{"when": when, "then": "pause"} for when in signals])
    first = [judged(replace(world, seed=seed).entries(), terms=terms, stop=True)[0].evidence for seed in range(12)]
    pooled = [found for found in first if found is not None and found.lane == "pooled"]

    assert pooled
    for found in pooled:
        assert found.log_e >= found.log_threshold
        assert set(signals) == {one.guardrail for one in found.parts}
        assert not any(one.on_its_own for one in found.parts)
        assert abs(sum(one.share for one in found.parts) - 1.0) < 1e-3


def test_a_plan_asks_for_what_guardrails_read_and_nothing_else() -> None:
    """The plan of a policy names each sum that a guardrail needs, and is empty where failures are all."""
    search = {"of": "latency_p95", "where": {"operation": "GET /search", "country": "DE"}}
    terms = policy(
        signals={"quality": {"measure": "q", "range": [0, 2]}, "search_latency_p95": search},
        guardrails=[
            {"when": "latency_p95 > 300ms", "then": "pause"},
            {"when": "quality < 0.9x control", "then": "pause"},
            {"when": "csat < 3.5", "then": "pause"},
            {"when": "report_rate > 2x control", "then": "pause"},
            {"when": "search_latency_p95 > 1.5x control", "then": "pause"},
            {"when": "error_rate > 2x control", "then": "kill", "segments": ["plan"]},
            {"when": "no_data for 2m", "then": "pause"},
        ],
    )
    where = (("country", "DE"), ("operation", "GET /search"))

    assert Plan(company=True) == plan_of(policy())
    assert Plan() == plan_of(policy(guardrails=[{"when": "error_rate > 2x control", "then": "hold"}]))
    assert plan_of(terms) == Plan(
        latency=True, over_us=(300_000,), scores={"feedback:rating": (1.0, 5.0), "measure:q": (0.0, 2.0)},
        reports=True, segments=("plan",), cuts=(Cut("country=DE&operation=GET /search", where),), company=True,
    )  # fmt: skip
    assert 6 == lines_of(terms).accounts
