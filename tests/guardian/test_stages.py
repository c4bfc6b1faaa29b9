"""How a rollout moves from stage to stage, back and to its end, and that no crash changes it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.bank import Bank, JudgeConfig
from guardian.effects import Decide
from guardian.rollout import TRANSITIONS, Event, Status, after, states_text
from guardian.why_not import why_not
from tests.support.courses import Course, between, told, wish
from tests.support.staged import STAGES, course, terms, waits, world
from tests.support.sums import World
from tests.support.traffic import KEY, T0_MS, Traffic, entries


def test_the_last_stage_is_completed():
    """
    A rollout is completed when the gates of its last stage are open, once; its guardrails go on.
    """
    stages = [{"share": "10%", "for": "5s"}, {"share": "50%", "for": "5s"}]
    asked = terms(stages, guardrails=[{"when": "error_rate > 20%", "then": "kill"}])
    played = course(asked, errors=lambda variation, s: 0.9 if variation == "treatment" and s > 20 else 0.01)

    assert ["advance", "complete", "kill"] == [one.action for one in played.made]
    assert ["planned", "running", "completed", "killed"] == played.statuses


HARMFUL = [{"when": "error_rate > 20%", "then": "step_back"}]
RAMP = [{"share": f"{share}%", "for": "8s"} for share in (10, 20, 50)]


def test_whoever_steps_back_twice_from_a_stage_stays_paused():
    """
    A step back leads to the stage before and the rollout goes on from there; from the same stage again it stays paused.
    """
    ill = lambda variation, s: 0.9 if variation == "treatment" and (10 < s < 10.5 or 24 < s < 24.5) else 0.01  # noqa: E731
    played = course(terms(RAMP, guardrails=HARMFUL), errors=ill, seconds=60.0)

    expected = [("advance", 0.2), ("step_back", 0.1), ("advance", 0.2), ("step_back", 0.1)]
    assert expected == played.actions
    assert ["planned", "running", "stepping_back", "running", "paused"] == played.statuses
    assert "not for the first time from stage 2, so it stays paused there" in played.made[-1].explanation


def test_a_rollout_is_stepping_back_until_the_store_answered():
    """
    From the decision to its receipt it is stepping back; a step back that failed waits for somebody.
    """
    ill = lambda variation, s: 0.9 if variation == "treatment" and 10 < s < 12 else 0.01  # noqa: E731
    asked, given = terms(RAMP, guardrails=HARMFUL), list(world(16.0, errors=ill).entries())
    advanced = Course().play([told(asked), *(one for one in given if one.at_ms < T0_MS + 10_000)])
    rest = [one for one in given if one.at_ms >= T0_MS + 10_000]
    open_, failed = Course().play(advanced.journal, "").play(rest, ""), Course().play(advanced.journal, "").play(rest, "failed")

    assert "stepping_back" == open_.state.status
    assert "is stepping back" in waits(open_)
    assert "stepping back" in why_not(open_.views[-1])
    assert ["stepping_back", "holding"] == failed.statuses[-2:]


def test_one_harm_leads_back_one_stage():
    """
    Outcomes of before a step back that are read only after it do not lead back once more.
    """
    slow = lambda rng, variation, failed: 6_000.0 if rng.uniform() < 0.05 else 80.0  # noqa: E731
    ill = lambda variation, s: 0.9 if variation == "treatment" and 26 < s < 30 else 0.01  # noqa: E731
    stages = [{"share": f"{share}%", "for": "12s"} for share in (10, 20, 30)] + [{"share": "50%", "for": "1h"}]
    traffic = Traffic(seconds=40, rps=150, share=lambda s: 0.5, error=ill, latency_ms=slow, seed=3)
    played = Course().play([told(terms(stages, guardrails=HARMFUL)), *entries(traffic.requests(), exposures=True)])

    assert [("step_back", 0.2)] == [made for made in played.actions if made[0] != "advance"]
    assert 5_000 < played.views[-1].lag_ms


def test_there_is_no_stage_before_the_first():
    """
    In its first stage a rollout pauses instead of stepping back.
    """
    ill = lambda variation, s: 0.9 if variation == "treatment" else 0.01  # noqa: E731
    played = course(terms(RAMP, guardrails=HARMFUL), errors=ill, seconds=10.0)

    assert ["pause"] == [one.action for one in played.made]
    assert "there is none to step back to" in played.made[0].explanation


def test_other_stages_begin_anew():
    """
    A policy with other stages begins its standing stage anew; one with the same stages goes on where it is.
    """
    same = told(terms(min_units=4), at_s=5.0)
    other = told(terms([{"share": "10%", "for": "11s"}, STAGES[1]]), at_s=5.0)
    kept, anew = course(terms(), same), course(terms(), other)

    assert 10.0 <= kept.when("advance") < 11.5
    assert 16.0 <= anew.when("advance") < 17.5


UNTIL = {"until": ["error_rate < 5%", "latency_p95 < 2x control", "error_rate < 10x control"]}
EVENTFUL = [
    {"share": "10%", "for": "6s", **UNTIL}, {"share": "20%", "for": "6s", "approval": ["legal"]}, {"share": "50%", **UNTIL}
]  # fmt: skip


def eventful() -> Course:
    ill = lambda variation, s: 0.9 if variation == "treatment" and 16 < s < 16.8 else 0.01  # noqa: E731
    asked = terms(EVENTFUL, guardrails=HARMFUL, cooldown="3s", segments=["country"])
    wishes = [wish(30.0, "approve", group="legal"), wish(31.0, "pause"), wish(33.0, "resume")]
    given = World(seconds=55.0, rps=120.0, errors=ill, countries={"DE": 0.5, "US": 0.5}).entries()
    return Course().play([told(asked), *between(given, *wishes)])


EVENTFUL_COURSE = eventful()


def test_much_happens_in_the_eventful_course():
    """
    The journal of the next test has an advance, a step back, an approval, a pause and a resume in it.
    """
    assert {"advance", "step_back", "pause", "resume"} <= {one.action for one in EVENTFUL_COURSE.made}


@given(crashes=st.lists(st.integers(1, 240), min_size=1, max_size=4), torn=st.booleans())
@settings(max_examples=8, deadline=None)
def test_a_crash_anywhere_changes_no_stage(crashes: list[int], torn: bool):
    """
    A worker that dies and goes on from its snapshots goes on to the same stages, at the same times.
    """
    journal, kept, found = EVENTFUL_COURSE.journal, dict[str, bytes](), {}
    bank, at, acked, deaths = Bank(JudgeConfig()), 0, -1, sorted(crashes)
    while at < len(journal):
        for effect in bank.apply(at, journal[at]):
            if isinstance(effect, Decide):
                found[effect.decision.decision_id] = effect.decision
        at += 1
        dying = bool(deaths) and deaths[0] <= at
        if at % 20 == 0:
            parts = bank.dirty()
            if dying and torn:
                parts.pop(Bank.SOURCES, None)
            kept, acked = kept | parts, acked if dying and torn else at - 1
        if dying:
            deaths.pop(0)
            bank, at = Bank(JudgeConfig()), acked + 1
            for part, raw in kept.items():
                bank.load(part, raw)

    assert {one.decision_id: one for one in EVENTFUL_COURSE.made} == found
    assert EVENTFUL_COURSE.bank.snapshot(KEY) == bank.snapshot(KEY)


def test_only_people_bring_a_killed_rollout_back():
    """
    By the table, a killed rollout is left by a resume alone.
    """
    ways = {event for (status, event), to in TRANSITIONS.items() if status == Status.KILLED and to != Status.KILLED}

    assert {Event.RESUMED} == ways
    assert Status.STEPPING_BACK == after(Status.RUNNING, Event.STEPPED_BACK)


def test_the_table_of_states_is_the_documented_one():
    """
    docs/rollout-states.md is what `python -m streams.apps.states` prints.
    """
    assert states_text() == (Path(__file__).parents[2] / "docs" / "rollout-states.md").read_text()
