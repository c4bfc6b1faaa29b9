"""What a stage waits for: each gate, by the journal's time alone; those of the calendar are in ``test_gates_calendar``."""

from __future__ import annotations

import pytest

from guardian.bank import Bank, JudgeConfig
from guardian.gates import gates
from guardian.stage_notes import stage_notes
from guardian.why_not import why_not
from tests.support.courses import Course, silent, told, wish
from tests.support.staged import CALM, FREEZE, OPEN, STAGES, course, terms, utc, waits, world
from tests.support.traffic import T0_MS, Traffic, entries, policy


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
