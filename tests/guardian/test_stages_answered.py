"""What comes of a stage by the store's answers: late, failed, overtaken, or a share that people have set."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.journal import Entry, ReceiptEntry
from tests.support.courses import Course, between, told, wish
from tests.support.staged import STAGES, course, terms, waits, world
from tests.support.traffic import KEY, T0_MS


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
