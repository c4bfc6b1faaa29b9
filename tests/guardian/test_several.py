"""Several variations under test in one flag: each goes its own way, and together they never have more than a stage gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.grants import grant_of, parts_of
from guardian.journal import Beat, Entry, Summary
from guardian.policy import Policy
from streams.commands import command_for
from tests.support.courses import Course, between, told, wish
from tests.support.sums import World
from tests.support.traffic import policy

STAGES = [{"share": "20%", "for": "5s"}, {"share": "60%", "for": "5s"}, {"share": "90%", "for": "5s"}]
CALM = [{"when": "error_rate > 90%", "then": "kill"}]
AB = {"variations": ["a", "b"], "guardrails": CALM, "stages": STAGES}


def terms(**more: Any) -> Policy:
    return policy(**(AB | more))


def course(asked: Policy, *wishes: Any, errors: Callable[[str, float], float] = lambda name, s: 0.01, **more: Any) -> Course:
    seen: dict[str, Any] = {"seconds": 30.0, "rps": 400.0, "variations": ("a", "b"), "share": lambda s: 0.4, "timed": False}
    made = World(errors=errors, **(seen | more))
    return Course().play([told(asked), *between(made.entries(), *wishes)])


def steps(played: Course, variation: str) -> list[tuple[str, float | None]]:
    return [(one.action, one.share) for one in played.made if one.variant == variation]


def test_each_variation_has_its_part_of_every_stage():
    """
    Two variations go through the stages with half of each, by decisions of their own, and both complete.
    """
    played = course(terms())

    assert [("advance", 0.3), ("advance", 0.45), ("complete", None)] == steps(played, "a") == steps(played, "b")
    assert "completed" == played.state.status


def test_one_that_waits_holds_up_no_other():
    """
    What a stage waits to be shown is waited for of each variation alone; why it waits is told with its name.
    """
    stages = [STAGES[0] | {"until": "error_rate < 10%"}, *STAGES[1:]]
    played = course(terms(stages=stages), errors=lambda name, s: 0.2 if name == "b" else 0.01)

    assert [("advance", 0.3), ("advance", 0.45), ("complete", None)] == steps(played, "a")
    assert [] == steps(played, "b")
    assert ("running", 0) == (played.state.status, played.state.stage)
    assert all(one.startswith("b: ") for one in played.views[-1].waits)
    arms = {arm.variation: (arm.status, arm.stage) for arm in played.views[-1].arms}
    assert {"control": ("", None), "a": ("completed", 2), "b": ("running", 0)} == arms


def test_a_kill_gives_nobody_more():
    """
    When one is killed the others go on with their own parts, and control has what it had; the stage stays.
    """
    guardrails = [{"when": "error_rate > 20%", "then": "kill"}]
    played = course(terms(guardrails=guardrails), errors=lambda name, s: 0.6 if name == "b" and s > 6.0 else 0.01)

    assert [("advance", 0.3), ("kill", None)] == steps(played, "b")
    assert [("advance", 0.3), ("advance", 0.45), ("complete", None)] == steps(played, "a")
    assert "completed" == played.state.status


def test_one_steps_back_by_itself():
    """
    Harm by one variation takes that one back to its part of the stage before; the other one goes on.
    """
    guardrails = [{"when": "error_rate > 20%", "then": "step_back"}]
    errors = lambda name, s: 0.6 if name == "b" and 6.0 < s < 9.0 else 0.01  # noqa: E731
    played = course(terms(guardrails=guardrails), errors=errors, seconds=18.0)

    assert [("advance", 0.3), ("step_back", 0.1)] == steps(played, "b")[:2]
    assert [("advance", 0.3), ("advance", 0.45)] == steps(played, "a")[:2]


def test_what_pauses_one_does_not_hold_up_the_other():
    """
    A pause of one variation is its own; the rollout shows it, as somebody is waited for.
    """
    played = course(terms(), wish(3.0, "pause", variation="b"))

    assert [("advance", 0.3), ("advance", 0.45), ("complete", None)] == steps(played, "a")
    assert [("pause", None)] == steps(played, "b")
    assert "paused" == played.state.status


def test_a_pause_of_the_flag_pauses_all_of_them_and_those_to_come():
    """
    A pause that names no variation is of all, changes nothing in the store, and also holds who is seen later.
    """
    played = course(terms(), wish(3.0, "pause"))

    assert [("pause", None)] == [(one.action, one.share) for one in played.made]
    assert command_for(played.made[0]) is None
    assert {"paused"} == {str(one.status) for one in played.state.courses.values()}
    assert "paused" == played.state.joins


def test_an_approval_is_of_those_that_stand_in_its_stage():
    """
    An approval that names a variation lets that one go on; the other one still waits for its own.
    """
    stages = [STAGES[0] | {"approval": ["legal"]}, *STAGES[1:]]
    played = course(terms(stages=stages), wish(6.0, "approve", group="legal", variation="a"), seconds=9.0)

    assert [("advance", 0.3)] == steps(played, "a")
    assert [] == steps(played, "b")
    assert {"legal": ""} == played.views[-1].approvals


def test_a_variation_that_nobody_named_waits_for_room():
    """
    Who turns up when another one has been given the whole share goes no further until the policy names them all.
    """
    asked = terms(variations=[], stages=[{"share": "20%", "for": "3s"}, {"share": "60%", "for": "20s"}, {"share": "90%"}])
    alone, both = (
        World(seconds=8.0, rps=400.0, variations=names, share=lambda s: 0.4, timed=False) for names in (("a",), ("a", "b"))
    )
    played = Course().play([told(asked), *alone.entries(), *later(both, 20_000)])

    assert [("advance", 0.6)] == steps(played, "a")
    assert [] == steps(played, "b")
    assert any(one.startswith("b: the other variations have too much") for one in played.views[-1].waits)


def later(world: World, by_ms: int) -> Iterator[Entry]:
    for entry in world.entries():
        assert isinstance(entry, Summary | Beat)
        entry.at_ms += by_ms
        entry.passed_ms += by_ms
        for sums in entry.flags if isinstance(entry, Summary) else ():
            for tick in sums.ticks:
                tick.start_ms += by_ms
        yield entry


shares = st.lists(st.integers(1, 1_000), min_size=1, max_size=5, unique=True).map(sorted)


@given(shares, st.integers(1, 9), st.sampled_from([None, "5%", "12.5%"]), st.data())
def test_parts_never_exceed_the_stage(given_shares: list[int], parts: int, held: str | None, data: st.DataObject):
    """
    Whatever the shares and however many variations: their parts add up to the stage's share at most, and to all of it
    but for the finest weights; of a ring no more than the hold-back leaves.
    """
    rings = ["", *(data.draw(st.sampled_from(["", "staff", "beta"])) for _ in given_shares[1:])]
    most = 1.0 - (float(held.rstrip("%")) / 100 if held else 0.0)
    stages = [
        {"share": f"{share / 10 * (1 if ring else most):.4g}%", "for": "1h"} | ({"users": ring} if ring else {})
        for share, ring in zip(given_shares, rings, strict=True)
    ]  # fmt: skip
    asked = terms(stages=stages, hold_back=held) if held else terms(stages=stages)
    for at, stage in enumerate(asked.stages):
        grant = grant_of(asked, at, parts)
        share = min(stage.share, most)
        # A ring has no less than everybody, whatever its own stage says.
        mine = grant.get(stage.users or "", grant[""])
        together = math.fsum([mine] * parts)
        assert together <= max(share, grant_of(asked, at, 1)[""]) + 1e-9
        assert together >= share - parts * 1e-6 - 1e-9


@pytest.mark.parametrize(("names", "seen", "parts"), [([], 0, 1), ([], 2, 2), (["a"], 2, 1), (["a", "b", "c"], 1, 3)])
def test_parts_are_of_those_named(names: list[str], seen: int, parts: int):
    """
    A policy that names its variations divides among them from the start; else among those that were seen.
    """
    assert parts == parts_of(terms(variations=names), seen)
