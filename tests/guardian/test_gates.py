"""What a stage waits for: each gate, by the journal's time alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.errors import PolicyError
from guardian.gates import gates
from guardian.journal import Entry, ReceiptEntry
from guardian.policy import Policy, parse_policy
from guardian.rollout import TRANSITIONS, Event, Status, after, states_text
from guardian.stage_notes import stage_notes
from guardian.timetable import Hours
from guardian.why_not import why_not
from tests.support.courses import Course, between, silent, told, wish
from tests.support.sums import World
from tests.support.traffic import KEY, T0_MS, Traffic, entries, policy

CALM = [{"when": "error_rate > 50%", "then": "kill"}]
STAGES = [{"share": "10%", "for": "10s"}, {"share": "50%", "for": "1h"}]


def utc(at_s: float) -> str:
    return datetime.fromtimestamp(T0_MS / 1_000 + at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def terms(stages: Sequence[Any] | None = None, **more: Any) -> Policy:
    return policy(**{"guardrails": CALM, "stages": list(stages or STAGES)} | more)


def world(seconds: float = 30.0, rps: float = 100.0, **more: Any) -> World:
    return World(seconds=seconds, rps=rps, **more)


def course(asked: Policy, *wishes: Any, seconds: float = 30.0, answer: str = "applied", **more: Any) -> Course:
    return Course().play([told(asked), *between(world(seconds, **more).entries(), *wishes)], answer)


def waits(played: Course) -> tuple[str, ...]:
    return played.views[-1].waits


def test_a_stage_is_left_when_its_time_is_over():
    """
    A stage runs for its time, the next one begins when the store has answered, and the view says how far it is.
    """
    played = course(terms())

    assert [("advance", 0.5)] == played.actions
    assert 10.0 <= played.when("advance") < 11.5
    assert "has run" in waits(played)[0]
    assert "of 60 min at this share" in waits(played)[0]


def test_time_counts_while_telemetry_is_fresh():
    """
    Twenty seconds of silence do not bring a stage nearer to its end, but for the moments in which telemetry was fresh.
    """
    played = Course().play([told(terms()), *silent(world(45.0).entries(), 4.0, 24.0)])

    assert 24.0 < 10.0 + 20.0 - 5.0 <= played.when("advance") + 0.5 < 27.0


def test_time_does_not_count_while_paused():
    """
    What a rollout was paused for is no part of its stage's time.
    """
    played = course(terms(), wish(4.0, "pause"), wish(14.0, "resume"))

    assert ["pause", "resume", "advance"] == [one.action for one in played.made]
    assert 20.0 <= played.when("advance") < 21.5


def test_a_stage_is_not_left_before_the_store_answered():
    """
    Without an answer of the store to the last change nothing is counted, and the rollout says what it waits for.
    """
    stages = [{"share": "10%", "for": "5s"}, {"share": "20%", "for": "5s"}, {"share": "50%"}]
    played = course(terms(stages), answer="")

    assert [("advance", 0.2)] == played.actions
    assert "waits for the flag store to answer to the last change of the share" in waits(played)


def test_an_advance_that_failed_skips_no_stage():
    """
    When the store cannot carry an advance out, the rollout stays in its stage and waits for somebody.
    """
    stages = [{"share": "10%", "for": "5s"}, {"share": "20%", "for": "5s"}, {"share": "50%"}]
    played = course(terms(stages), answer="failed")

    assert [("advance", 0.2)] == played.actions
    assert (0, "holding") == (played.state.stage, played.state.status)


def test_an_advance_that_was_given_up_is_taken_back_in_the_store():
    """
    Nobody knows whether an advance that was given up was carried out: the store is told to go back to the share before
    it, whoever waits for that, and the rollout stays there until somebody resumes it.
    """
    stages = [{"share": "10%", "for": "5s"}, {"share": "20%", "for": "5s"}, {"share": "50%"}]
    late = lambda made: {"status": "expired" if made.action == "advance" else "applied"}  # noqa: E731
    played = Course().play([told(terms(stages)), *world(45.0).entries()], late)

    assert [("advance", 0.2), ("step_back", 0.1)] == played.actions
    assert (0, "holding", []) == (played.state.stage, played.state.status, played.state.outbox)
    assert played.made[1].explanation.endswith("the flag store did not say in time whether it has carried out the advance.")


def edited(share: float, until: int = 1) -> Any:
    """People have set this share; a store says so to the first advances, and carries out what comes then."""
    met: list[str] = []

    def answer(made: Decision) -> dict[str, Any]:
        if made.action != "advance" or len(met) >= until:
            return {"status": "applied"}
        met.append(made.decision_id)
        return {"status": "conflict", "share": share}

    return answer


@pytest.mark.parametrize("agreed", ["resume", "approve"])
def test_a_share_that_people_have_set_waits_for_somebody(agreed: str):
    """
    Where an advance meets a share that people have set, the stage begins anew and says why it waits; once somebody
    resumes or approves it, it goes on from their share.
    """
    approval = {"approval": ["team"]} if agreed == "approve" else {}
    asked = terms([STAGES[0] | approval, STAGES[1]])
    first = [wish(1.0, "approve", group="team")] if approval else []
    word = wish(30.0, agreed, **({"group": "team"} if approval else {}))
    given = [told(asked), *between(world(45.0).entries(), *first, word)]
    played = Course().play(given, edited(0.3))
    advances = [one for one in played.made if one.action == "advance"]

    assert [(0.5, 0.1), (0.5, 0.3)] == [(one.share, one.from_share) for one in advances]
    assert 10.0 <= played.when("advance") < 11.5
    assert 30.0 <= played.when("advance", 1) < 31.0
    held = played.state.courses["treatment"]
    assert (1, None, None) == (held.stage, held.edited, held.agreed)
    said = next(said for view in played.views for said in view.waits if "people" in said)
    assert said.startswith("people have set the share to 30 %: waits for somebody to resume or approve it, or for the share")


@pytest.mark.parametrize("changed", [False, True])
def test_an_advance_that_was_carried_out_after_its_refusal_counts(changed: bool):
    """
    Who carries decisions out may die before it has noted a refusal, and ask once more when people have taken their change
    back: the stage is entered then, with the budget of a step; but for one of a policy that has changed meanwhile.
    """
    given = [told(terms()), *world(20.0).entries()]
    played = Course().play(given, edited(0.3, until=9))
    refused, before = played.made[-1], played.state.variations["treatment"].offered
    if changed:
        played.play([told(terms([STAGES[0] | {"for": "9m"}, STAGES[1]]))])
    done = ReceiptEntry(at_ms=T0_MS + 21_000, key=KEY, decision_id=refused.decision_id, status="applied")
    played.play([done, done])

    held = played.state.courses["treatment"]
    assert ([0, 0.3] if changed else [1, None]) == [held.stage, held.edited]
    assert changed or played.state.variations["treatment"].offered - before == pytest.approx(0.001)


def test_a_share_that_is_as_it_was_is_found_by_looking_again():
    """
    Without anybody's word the share is looked for again after a minute, then after two; found, the rollout goes on.
    """
    given = [told(terms()), *world(220.0, rps=40.0).entries()]
    played = Course().play(given, edited(0.3, until=2))

    assert [0.1] * 3 == [one.from_share for one in played.made]
    looked_s = [played.when("advance", nth) for nth in range(3)]
    assert 60.0 <= looked_s[1] - looked_s[0] < 62.0
    assert 120.0 <= looked_s[2] - looked_s[1] < 122.0
    assert (1, 0) == (played.state.stage, played.state.courses["treatment"].looks)


def test_an_advance_that_was_overtaken_is_taken_back():
    """
    An advance that came after a pause does nothing: its stage is not begun, and the rollout stays as people want it.
    """
    stages = [{"share": "10%", "for": "5s"}, {"share": "20%", "for": "5s"}, {"share": "50%"}]
    given = [told(terms(stages)), *between(world(8.0).entries(), wish(6.0, "pause"))]
    played = Course().play(given, lambda made: {"status": "" if made.action == "advance" else "already"})
    lost = next(one for one in played.made if one.action == "advance")
    late = ReceiptEntry(at_ms=T0_MS + 9_000, key=KEY, decision_id=lost.decision_id, status="superseded")
    played.play([late])

    assert (0, "paused", []) == (played.state.stage, played.state.status, played.state.outbox)


def test_what_waits_for_its_store_stays_open_and_is_sent_again_more_rarely():
    """
    A decision that act has and cannot carry out is not answered: nothing goes on, and it is sent every minute.
    """
    stages = [{"share": "10%", "for": "20s"}, {"share": "50%"}]
    bank, sent = Bank(JudgeConfig()), list[int]()
    telemetry = between(world(130.0, rps=40.0).entries(), wish(2.0, "pause"), wish(3.0, "resume"))
    entries: list[Entry] = [told(terms(stages)), *telemetry]
    offset = 0
    for entry in entries:
        for effect in bank.apply(offset, entry):
            if isinstance(effect, Decide) and effect.decision.action == "pause":
                sent.append(entry.at_ms)
                offset += 1
                name = effect.decision.decision_id
                bank.apply(offset, ReceiptEntry(at_ms=entry.at_ms, key=KEY, decision_id=name, status="waiting"))
            elif isinstance(effect, Decide):
                assert effect.decision.action == "resume"
        offset += 1

    assert [60_000, 60_000] == [round(later - earlier, -3) for earlier, later in pairwise(sent)]


def test_silence_alone_is_no_ground_to_go_on():
    """
    Where the only guardrail is on silence, a stage is left while data comes of the variation, and not without it.
    """
    asked = terms(STAGES, guardrails=[{"when": "no_data for 30s", "then": "alert"}], min_starts=0)
    well = course(asked)
    ill = Course().play([told(asked), *world(25.0, lost=lambda v, s: float(v == "treatment" and s > 4.0)).entries()])
    heard = [one for one in ill.made if one.action == "advance"]

    assert 10.0 <= well.when("advance") < 11.5
    assert [] == heard
    assert "nothing has come of treatment" in waits(ill)


def test_a_stage_is_not_left_before_the_start_of_its_plan():
    """
    A stage with a start is not left before it, however long it ran.
    """
    stages = [{"share": "10%", "for": "1s", "start": utc(20.0)}, {"share": "50%", "for": "1h"}]
    early, late = course(terms(stages), seconds=10.0), course(terms(stages))

    assert 20.0 <= late.when("advance") < 20.5
    assert [] == early.made
    assert ("waits until 14:13:40 UTC",) == waits(early)


FREEZE = {"freeze": [{"from": utc(-100.0), "to": utc(20.0)}]}
OPEN = {"hours": {"days": "mon", "from": "16:14", "to": "17:00", "zone": "Europe/Berlin"}}
SHUT = {"hours": {"days": "tue-fri", "from": "09:00", "to": "17:00", "zone": "Europe/Berlin"}}


@pytest.mark.parametrize(
    ("changes", "from_s", "said"),
    [
        (FREEZE, 20.0, "is frozen until 14:13:40 UTC"),
        (OPEN, 40.0, "waits until 14:14 UTC, for mon 16:14 to 17:00 Europe/Berlin"),
        (SHUT, None, "waits until 2026-09-22 07:00 UTC, for tue, wed, thu, fri 09:00 to 17:00 Europe/Berlin"),
    ],
)
def test_the_calendar_keeps_a_stage(changes: dict[str, Any], from_s: float | None, said: str):
    """
    A stage is not left in a freeze or out of hours, as the zone has them, and the rollout says until when.
    """
    stages = [{"share": "10%", "for": "5s"}, {"share": "50%", "for": "1h"}]
    early, late = (course(terms(stages, **changes), seconds=seconds) for seconds in (12.0, 45.0))

    assert [] == early.made
    assert (said,) == waits(early)
    assert [] == late.made if from_s is None else from_s <= late.when("advance") < from_s + 0.5


def test_harm_waits_for_no_calendar():
    """
    In a freeze, out of hours, in a cooldown and without approvals a harmful variation is killed at once.
    """
    stages = [{"share": "10%", "for": "5s", "approval": ["nobody"]}, {"share": "50%"}]
    asked = terms(stages, guardrails=[{"when": "error_rate > 5%", "then": "kill"}], cooldown="1h", **FREEZE, **SHUT)
    played = course(asked, errors=lambda variation, s: 0.5 if variation == "treatment" else 0.01)

    assert ["kill"] == [one.action for one in played.made]
    assert played.when("kill") < 5.0


def test_hours_follow_the_clocks_of_their_zone():
    """
    Nine o'clock is nine o'clock in winter and in summer, and the day is that of the zone.
    """
    hours = Hours.model_validate({"days": "mon-fri", "from": "09:00", "to": "24:00", "zone": "Europe/Berlin"})

    def opens(text: str) -> str | None:
        found = hours.opens(datetime.fromisoformat(f"{text}+00:00"))
        return None if found is None else f"{found:%Y-%m-%d %H:%M}"

    assert "2026-01-05 08:00" == opens("2026-01-02 23:00")
    assert "2026-07-06 07:00" == opens("2026-07-04 12:00")
    assert None is opens("2026-07-06 07:00")
    assert None is opens("2026-07-06 21:59")
    assert "2026-07-07 07:00" == opens("2026-07-06 22:00")


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"hours": SHUT["hours"] | {"zone": "Europe/Berlni"}}, "hours.zone", "did you mean Europe/Berlin?"),
        ({"hours": SHUT["hours"] | {"days": "mon-fry"}}, "hours.days", "write days such as mon-fri"),
        ({"hours": SHUT["hours"] | {"to": 1020}}, "hours.to", 'in quotes, such as "09:00"'),
        ({"hours": SHUT["hours"] | {"to": "08:00"}}, "hours", "write a later to:"),
        ({"freeze": [{"from": "2026-12-20 00:00 Mars/Base", "to": utc(0)}]}, "freeze[0].from", "is no time zone"),
        ({"freeze": [{"from": "2026-12-20 00:00", "to": utc(0)}]}, "freeze[0].from", "write a time with its zone"),
        ({"freeze": [{"from": utc(9.0), "to": utc(0.0)}]}, "freeze[0]", "write a later to:"),
        ({"hold_back": "60%"}, "stages[1].share", "write at most 40%"),
    ],
)
def test_wrong_calendars_say_what_would_be_right(changes: dict[str, Any], field: str, said: str):
    """
    Zones, days and times that do not exist are told at their field, and so is a stage that takes what is held back.
    """
    with pytest.raises(PolicyError) as caught:
        terms(**changes)

    assert [(field, True)] == [(one.field, said in one.right) for one in caught.value.problems]


def test_moments_are_kept_in_utc():
    """
    A moment in a zone is the same policy as its moment in UTC, so that every worker reads the same.
    """
    berlin = terms(freeze=[{"from": "2026-12-20 00:00 Europe/Berlin", "to": "2027-07-01 00:00 Europe/Berlin"}])

    expected = [{"from": "2026-12-19T23:00:00Z", "to": "2027-06-30T22:00:00Z"}]
    assert expected == berlin.to_document()["freeze"]
    assert berlin == parse_policy(berlin.to_document())


def test_groups_are_waited_for():
    """
    A stage waits for each of its groups; an approval of another group, or for another stage, says nothing.
    """
    stages = [{"share": "10%", "for": "2s", "approval": ["release-managers", "legal"]}, {"share": "50%", "for": "1h"}]
    wrong = [
        wish(3.0, "approve", group="legal", stage=1),
        wish(4.0, "approve", group="friends"),
        wish(5.0, "approve", group="release-managers", by="grace", stage=0),
    ]
    waiting = course(terms(stages), *wrong)
    played = course(terms(stages), *wrong, wish(20.0, "approve", group="legal", by="ada"))

    assert [] == waiting.made
    assert ("waits for legal",) == waits(waiting)
    assert {"release-managers": "grace", "legal": ""} == waiting.views[-1].approvals
    assert 20.0 <= played.when("advance") < 20.5
    assert "ada approved for legal, grace approved for release-managers" in played.made[0].explanation
    assert {} == played.views[-1].approvals


def test_an_approval_counts_for_its_stage_alone():
    """
    The same group is asked anew in the next stage.
    """
    stages = [{"share": f"{share}%", "approval": ["legal"]} for share in (10, 20, 50)]
    played = course(terms(stages), wish(10.0, "approve", group="legal"), wish(11.0, "approve", group="legal", stage=0))

    assert [("advance", 0.2)] == played.actions


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_a_cooldown_follows_whatever_moved(action: str):
    """
    After a pause and a resume no stage is left for as long as the policy says.
    """
    stages = [{"share": "10%", "for": "2s"}, {"share": "50%", "for": "1h"}]
    wishes = [wish(1.0, "pause"), wish(2.0, "resume")] if action == "resume" else [wish(1.0, "pause")]
    early = course(terms(stages, cooldown="20s"), *wishes, seconds=10.0)
    late = course(terms(stages, cooldown="20s"), wish(1.0, "pause"), wish(2.0, "resume"))

    assert any(f"cools down until 14:13:4{1 + len(wishes) - 1} UTC, after a {action}" in one for one in waits(early))
    assert 22.0 <= late.when("advance") < 23.0


def test_thin_evidence_slows_down():
    """
    A stage is not left while the variation has had too few starts in it, and it says how many.
    """
    played = course(terms(min_starts=2_000), rps=40.0, seconds=40.0)

    assert [] == played.made
    assert any("of 2,000 starts in this stage" in one for one in waits(played))


SHOWN = {"share": "10%", "for": "30s", "until": "error_rate < 5%"}


@pytest.mark.parametrize(("accelerate", "from_s"), [(True, 15.0), (False, 30.0)])
def test_plenty_of_evidence_speeds_up(accelerate: bool, from_s: float):
    """
    With ten times its evidence a stage is left after half of its time, where the policy allows that.
    """
    played = course(terms([SHOWN, STAGES[1]], accelerate=accelerate), seconds=45.0, rps=200.0)

    assert from_s <= played.when("advance") < from_s + 2.0
    assert "error_rate < 5% is shown" in played.made[0].explanation


def test_harm_keeps_a_stage():
    """
    A stage is not left while an account holds evidence of harm, though it is not enough to act on.
    """
    asked = terms(guardrails=[{"when": "error_rate > 5%", "then": "kill"}], false_kills={"per_rollout": 1e-12})
    ill = lambda variation, s: 0.12 if variation == "treatment" and s > 4 else 0.01  # noqa: E731
    played = course(asked, seconds=14.0, errors=ill, rps=60.0)

    assert [] == played.made
    assert any("holds evidence of harm by treatment" in one for one in waits(played))


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


def test_why_not_says_what_is_waited_for():
    """
    Why nothing has happened tells the closed gates.
    """
    stages = [{"share": "10%", "approval": ["legal"]}, {"share": "50%"}]

    assert "its stage is not left yet (waits for legal)" in why_not(course(terms(stages)).views[-1])


def test_no_control_at_the_end_is_noted():
    """
    The check notes a policy that keeps no control, and a comparison that can never be shown.
    """
    stages = [{"share": "10%", "for": "1h"}, {"share": "100%", "until": "error_rate < 1.1x control"}]
    kept = terms([{"share": "10%", "for": "1h"}, {"share": "95%"}], hold_back="5%")

    first, second = stage_notes(terms(stages))
    assert "never shown" in first
    assert "hold_back: 5%" in second
    assert [] == list(stage_notes(kept))


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


def test_gates_are_named():
    """
    Each thing that a stage waits for is a gate of its own, open or closed; without stages there are none.
    """
    first = {"share": "10%", "for": "1h", "start": utc(0.0), "until": "error_rate < 5%", "approval": ["legal"]}
    stages = [first, {"share": "50%"}]
    asked = terms(stages, cooldown="1s", **FREEZE, **OPEN)
    state = course(asked, wish(1.0, "pause"), seconds=5.0).state
    found = {gate.name: gate.is_open for gate in gates(state, asked, T0_MS + 5_000)}
    plain = policy(guardrails=CALM)

    names = {"running", "store", "telemetry", "start", "time", "freeze", "hours", "cooldown", "approval", "evidence"}
    assert names | {"until", "calm"} == set(found)
    assert {"running", "time", "freeze", "hours", "approval"} <= {name for name, is_open in found.items() if not is_open}
    assert [] == gates(course(plain, seconds=5.0).state, plain, T0_MS + 5_000)


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


def test_unlucky_users_that_are_used_up_show_nothing():
    """
    Where treatment fails more, its users have soon all failed once: first failures alone would call that healthy.
    """
    stages = [{"share": "40%", "for": "20s"}, {"share": "50%", "until": "error_rate < 1.5x control"}, {"share": "95%"}]
    asked = terms(stages, guardrails=[{"when": "error_rate > 90%", "then": "kill"}])
    failing = lambda variation, s: 0.2 if variation == "treatment" else 0.1  # noqa: E731
    traffic = Traffic(seconds=90, rps=200, users=200, share=lambda s: 0.5, error=failing)
    played = Course().play([told(asked), *entries(traffic.requests(), exposures=True)])
    first, every = (account.log_s() for account in played.state.course("treatment").health[0].accounts)

    assert [("advance", 0.5)] == played.actions
    assert every < 0.0 < first


def test_failures_that_come_late_count_against_health():
    """
    A variation whose failures come later than outcomes are waited for is not called healthy by the others.
    """
    stages = [{"share": "50%", "for": "10s", "until": "error_rate < 5%"}, {"share": "95%"}]
    asked = terms(stages, guardrails=[{"when": "error_rate > 90%", "then": "kill"}])
    failing = lambda variation, s: 0.2 if variation == "treatment" else 0.01  # noqa: E731
    slow = lambda rng, variation, failed: 3_000.0 if failed else 80.0  # noqa: E731
    traffic = Traffic(seconds=30, rps=200, share=lambda s: 0.5, error=failing, latency_ms=slow)
    played = Course(Bank(JudgeConfig(lag_max_ms=1_000))).play([told(asked), *entries(traffic.requests(), exposures=True)])

    assert [] == played.made
    assert any("error_rate < 5% is not shown yet" in one for one in waits(played))
