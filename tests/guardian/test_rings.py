"""Rings: named groups that have a variation before a part of everybody has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from guardian.errors import PolicyError
from guardian.policy import Policy, parse_policy
from guardian.stage_notes import stage_notes
from guardian.support import unsupported
from streams.commands import command_for
from tests.support.courses import Course, between, told, wish
from tests.support.sums import World
from tests.support.traffic import T0_MS, policy

STAGES = [
    {"ring": "employees", "for": "5s"},
    {"ring": "beta", "share": "50%", "for": "5s"},
    {"share": "10%", "for": "5s"},
    {"share": "60%", "for": "5s"},
]
CALM = [{"when": "error_rate > 90%", "then": "kill"}]


def terms(**more: Any) -> Policy:
    return policy(**({"variations": ["treatment"], "guardrails": CALM, "stages": STAGES} | more))


def course(asked: Policy, *wishes: Any, answer: str = "applied", **more: Any) -> Course:
    """Nobody has the treatment in the first second."""
    seen: dict[str, Any] = {"seconds": 35.0, "share": lambda s: 0.0 if s < 1.0 else 0.3, "timed": False}
    return Course().play([told(asked), *between(World(**(seen | more)).entries(), *wishes)], answer)


def given(played: Course) -> list[tuple[str, float | None, dict[str, float]]]:
    return [(one.action, one.share, dict(one.rings)) for one in played.made]


def test_rings_come_first_and_keep_what_they_have():
    """
    The first ring is entered when telemetry comes, each next one after its time; percentages leave rings what they had,
    and a ring is dropped when everybody has as much.
    """
    played = course(terms())

    assert [
        ("advance", 0.0, {"employees": 1.0}),
        ("advance", 0.0, {"employees": 1.0, "beta": 0.5}),
        ("advance", 0.1, {"employees": 1.0, "beta": 0.5}),
        ("advance", 0.6, {"employees": 1.0}),
        ("complete", None, {}),
    ] == given(played)
    assert played.when("advance") < 1.0
    assert "Advanced checkout-v2/treatment in production to 100 % of employees: stage 1 of 4." == played.made[0].explanation
    assert " to 10 % and 100 % of employees and 50 % of beta: " in played.made[2].explanation


def test_a_command_says_what_everybody_and_each_ring_gets():
    """
    The store is told all of it at once, so that nothing depends on what it was told before.
    """
    command = command_for(course(terms(), seconds=8.0).made[1])

    assert command is not None
    assert ("set_share", 0.0, {"employees": 1.0, "beta": 0.5}) == (command.kind, command.share, command.rings)


def test_a_first_ring_waits_for_its_start():
    """
    A first stage that is a ring is not entered before its start, and says what it waits for.
    """
    start = datetime.fromtimestamp(T0_MS / 1_000 + 10.0, UTC).isoformat()
    stages = [STAGES[0] | {"start": start}, *STAGES[1:]]
    played = course(terms(stages=stages), seconds=20.0, share=lambda s: 0.0)

    assert 10.0 <= played.when("advance") < 10.5
    assert any("waits until" in one for view in played.views for one in view.waits)


def test_a_ring_that_the_store_does_not_have_is_not_counted():
    """
    Where the store cannot give a ring its share, the rollout stands before it and waits for somebody.
    """
    played = course(terms(), answer="failed")

    assert [("advance", 0.0, {"employees": 1.0})] == given(played)
    assert ("holding", -1) == (played.state.status, played.state.course("treatment").stage)
    assert 0 == played.views[-1].stage


def test_the_hold_back_is_kept_in_rings():
    """
    What stays with control to the end stays with it in rings, too.
    """
    played = course(terms(hold_back="20%"), seconds=8.0)

    assert [{"employees": 0.8}, {"employees": 0.8, "beta": 0.5}] == [dict(one.rings) for one in played.made]


def test_stepping_back_from_percentages_leaves_the_rings():
    """
    A step back to a ring takes the variation from everybody else; from the first ring there is no step back.
    """
    guardrails = [{"when": "error_rate > 20%", "then": "step_back"}]
    bad = lambda name, s: 0.6 if name == "treatment" and 11.0 < s < 14.5 else 0.01  # noqa: E731
    played = course(terms(guardrails=guardrails), errors=bad, seconds=16.0)
    first = course(terms(guardrails=guardrails), errors=lambda name, s: 0.6 if name == "treatment" else 0.01, seconds=4.0)

    assert ("step_back", 0.0, {"employees": 1.0, "beta": 0.5}) in given(played)
    assert ["advance", "pause"] == [one.action for one in first.made]


def test_a_kill_in_a_ring_ends_it():
    """
    Harm in the ring kills the variation; the stages go no further.
    """
    kill = [{"when": "error_rate > 20%", "then": "kill"}]
    played = course(terms(guardrails=kill), errors=lambda name, s: 0.6 if name == "treatment" else 0.01)

    assert ["advance", "kill"] == [one.action for one in played.made]
    assert "killed" == played.state.status


def test_a_pause_before_the_first_ring_keeps_it_from_everybody():
    """
    A rollout that was paused before its first ring enters it when somebody resumes it.
    """
    played = course(terms(), wish(-0.1, "pause"), wish(6.0, "resume"), share=lambda s: 0.0, seconds=10.0)

    assert ["pause", "resume", "advance"] == [one.action for one in played.made]
    assert 6.0 <= played.when("advance") < 6.5


@pytest.mark.parametrize("word", ["ring", "users"])
def test_a_ring_has_two_words_and_is_given_whole(word: str):
    """
    ``ring: NAME`` and ``users: NAME`` say the same; without a share all of it is meant.
    """
    (stage,) = parse_policy({**base(), "stages": [{word: "employees"}]}).stages

    assert ("employees", 1.0) == (stage.users, stage.share)


def test_both_words_at_once_are_told():
    """
    A stage that names two groups is refused at the second word.
    """
    with pytest.raises(PolicyError, match=r"stages\[0\]\.ring"):
        parse_policy({**base(), "stages": [{"users": "employees", "ring": "beta"}]})


def test_the_first_ring_needs_the_name_of_the_variation():
    """
    Nobody has the variation before its first ring does, so a policy that does not name it is refused with what to write.
    """
    (problem,) = unsupported(parse_policy({**base(), "stages": [{"ring": "employees"}]}))

    assert "stages[0].users" == problem.field
    assert "write variations: [treatment]" in problem.right


def test_comparing_a_ring_with_everybody_is_noted():
    """
    A guardrail that compares with control compares a ring with everybody else, which people should know.
    """
    (note,) = stage_notes(terms(guardrails=[{"when": "error_rate > 1.2x control", "then": "kill"}], stages=STAGES[:1]))

    assert note.startswith("stages[0].users: employees: error_rate > 1.2x control compares a ring with everybody else")


def base() -> dict[str, Any]:
    return {"flag": "f", "environment": "production", "guardrails": CALM}
