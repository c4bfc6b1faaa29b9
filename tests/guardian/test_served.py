"""Shares that stores tell: what the split of the traffic is compared with, and which variation is missed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.journal import Entry, ReceiptEntry, decode, encode
from guardian.sources import FOUND_MAX
from guardian.told import THEIRS
from tests.support.courses import Course, between, serves, told, wish
from tests.support.sums import World
from tests.support.traffic import KEY, T0_MS, policy

RATIO = [{"when": "sample_ratio off", "then": "pause"}]
NO_DATA = [{"when": "no_data for 5s", "then": "kill"}]


def played(
    world: World, *others: Entry, guardrails: list[dict[str, str]] = RATIO, answer: Any = "applied", **terms: Any
) -> Course:
    """What comes of the traffic under these guardrails; what others say comes at its time, before the policy at 0 s."""
    before = [one for one in others if one.at_ms <= T0_MS]
    after = [one for one in others if one.at_ms > T0_MS]
    first = [*before, told(policy(guardrails=guardrails, **terms))]
    return Course().play([*first, *between(world.entries(), *after)], answer)


def harm(course: Course) -> list[Decision]:
    return [one for one in course.made if one.action not in ("advance", "complete", "resume")]


def traffic(share: Any = 0.1, seconds: float = 40.0, **more: Any) -> World:
    return World(seconds=seconds, share=share if callable(share) else lambda s: share, timed=False, **more)


def test_a_split_that_no_policy_names_is_watched():
    """
    A policy without stages: of a document with 90/10 whose traffic comes 50/50 it is said within seconds, with the share that
    was told; where nobody tells, nothing can be said.
    """
    [found] = harm(played(traffic(0.5), serves(0.0, 0.1)))

    assert ("pause", "treatment", 0.1) == (found.action, found.variant, found.evidence and found.evidence.bound)
    assert found.evidence is not None
    assert 0.4 < found.evidence.value < 0.6
    assert [] == harm(played(traffic(0.5)))


def test_a_split_as_it_is_served_is_right():
    """Traffic as the document says it is no mismatch, whatever share that is."""
    for share in (0.02, 0.1, 0.9):
        assert [] == harm(played(traffic(share, 20.0), serves(0.0, share)))


def test_people_may_change_the_shares():
    """
    Somebody writes 50/50 where 90/10 stood, and the traffic follows: right. Where it moves and nobody wrote, it is not.
    """
    world = traffic(lambda s: 0.1 if s < 20.5 else 0.5)

    assert [] == harm(played(world, serves(0.0, 0.1), serves(20.0, 0.5)))
    [found] = harm(played(world, serves(0.0, 0.1)))
    assert "treatment" == found.variant


def test_an_edit_that_does_not_arrive_is_found():
    """The document says 50/50 since 20 s, and the traffic stays 90/10."""
    made = played(traffic(0.1), serves(0.0, 0.1), serves(20.0, 0.5))

    assert ["pause"] == [one.action for one in harm(made)]
    assert 23.0 < made.when("pause") < 30.0


def test_what_is_served_counts_whatever_the_stage_says():
    """People wrote 50 % where the stage says 10 %: told, it is no mismatch; untold, the stage is all that is known."""
    stages = [{"share": "10%", "for": "1h"}, {"share": "100%"}]

    assert [] == harm(played(traffic(0.5), serves(0.0, 0.5), stages=stages))
    assert ["pause"] == [one.action for one in harm(played(traffic(0.5), stages=stages))]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([serves(0.0, 0.1, apart=True)], id="some are served apart"),
        pytest.param([serves(0.1, {})], id="computed"),
        pytest.param([serves(0.0, 0.1), serves(0.0, 0.5, store="mobile")], id="two stores differ"),
        pytest.param([serves(0.1, 1.0)], id="no control"),
    ],
)
def test_what_is_not_known_is_not_tested(others: list[Entry]):
    """Where a store says that the parts of all traffic cannot be known, no split is wrong, nor that of the stage."""
    stages = [{"share": "10%", "for": "1h"}, {"share": "100%"}]

    assert [] == harm(played(traffic(0.3), *others, stages=stages))


def test_two_stores_that_give_the_same_are_one():
    """A flag that two stores give alike is compared with that."""
    [found] = harm(played(traffic(0.5), serves(0.0, 0.1), serves(0.0, 0.1, store="mobile")))

    assert found.evidence is not None
    assert 0.1 == found.evidence.bound


STAGES = [{"share": "10%", "for": "20s"}, {"share": "50%", "for": "1h"}, {"share": "100%"}]


def answered(at_s: float, propagation_ms: int = 0) -> ReceiptEntry:
    """The store says that it has carried out the first decision."""
    at_ms, made = T0_MS + round(1_000 * at_s), f"{KEY}|treatment|1"
    return ReceiptEntry(
        at_ms=at_ms, key=KEY, decision_id=made, status="applied", action="advance", store="flagd", propagation_ms=propagation_ms
    )


@pytest.mark.parametrize(("told_s", "late_s"), [(20.7, 0.1), (20.7, 2.0), (21.1, 2.0), (30.0, 2.0), (None, 2.0)])
def test_an_advance_of_our_own_is_no_mismatch(told_s: float | None, late_s: float):
    """
    The guardian goes from 10 % to 50 %, and clients follow; it does not matter whether the store tells of it before its
    receipt (at 21 s), after it, or not at all.
    """
    own = [] if told_s is None else [serves(told_s, 0.5, written={"control": 0.9, "treatment": 0.1}, order=1)]
    world = traffic(lambda s: 0.1 if s < 20.6 + late_s else 0.5)
    made = played(world, serves(0.0, 0.1), answered(21.0), *own, stages=STAGES, answer="")

    assert 20.0 < made.when("advance") < 20.6
    assert [("advance", 0.5)] == made.actions[:1]
    assert [] == harm(made)


@pytest.mark.parametrize("told_s", [20.7, 21.1, 30.0, None])
def test_an_advance_that_is_carried_out_after_a_newer_decision_is_our_own(told_s: float | None):
    """
    The store had carried out decision 2, of another variation, before it got to 1, the advance: no change of people's, to whom
    no budget is offered, and no mismatch.
    """
    written = {"control": 0.9, "treatment": 0.1}
    own = [] if told_s is None else [serves(told_s, 0.5, written=written, order=1)]
    world = traffic(lambda s: 0.1 if s < 20.7 else 0.5)
    newer = serves(5.0, 0.1, written=written, order=2)
    made = played(world, serves(0.0, 0.1), newer, answered(21.0), *own, stages=STAGES, answer="")
    kills = made.state.policy.false_kills

    assert [("advance", 0.5)] == made.actions[:1]
    assert [] == harm(made)
    assert THEIRS not in [epoch.why for epoch in made.state.population.epochs]
    assert made.state.variations["treatment"].offered < kills.per_rollout + kills.per_step + kills.per_day / 1_000


def test_an_advance_that_does_not_arrive_is_found():
    """The store has taken 50 % and tells so; the traffic stays as it was."""
    own = serves(21.1, 0.5, written={"control": 0.9, "treatment": 0.1}, order=1)
    made = played(traffic(0.1), serves(0.0, 0.1), answered(21.0), own, stages=STAGES, answer="")

    assert ["pause"] == [one.action for one in harm(made)]
    assert 24.0 < made.when("pause") < 30.0


def asked_every_15s(from_s: float) -> World:
    """Clients that ask for news every fifteen seconds follow a change from 10 % to 50 % one after the other."""
    return traffic(lambda s: 0.1 + 0.4 * min(max(s - from_s, 0.0) / 15.0, 1.0), seconds=60.0)


@pytest.mark.parametrize("is_told", [True, False], ids=["the store tells", "the stage alone"])
def test_clients_that_follow_slowly_are_no_mismatch(is_told: bool):
    """Where the store is told to be slow, an advance is given the time that its clients take; where not, they look like one."""
    tells = [serves(0.0, 0.1), serves(20.7, 0.5, written={"control": 0.9, "treatment": 0.1}, order=1)] if is_told else []

    def made(propagation_ms: int) -> Course:
        return played(asked_every_15s(20.6), *tells, answered(21.0, propagation_ms), stages=STAGES, answer="")

    assert [] == harm(made(20_000))
    assert ["pause"] == [one.action for one in harm(made(0))]


def test_peoples_changes_are_followed_slowly_too():
    """Somebody writes 50/50, and a slow store tells: its clients have their time; what does not come after that is found."""
    before = serves(0.0, 0.1, propagation_ms=20_000)
    after = serves(20.0, 0.5, propagation_ms=20_000)

    assert [] == harm(played(asked_every_15s(20.0), before, after))
    stuck = played(traffic(0.1, seconds=60.0), before, after)
    assert ["pause"] == [one.action for one in harm(stuck)]
    assert 40.0 < stuck.when("pause") < 47.0


def test_a_variation_that_clients_do_not_know_yet_is_not_missed():
    """Given to 10 % by a slow store, and told of: it is missed when clients should have heard of it, and not before."""
    made = played(traffic(0.0, seconds=50.0), serves(0.0, 0.1, propagation_ms=20_000), guardrails=NO_DATA)

    assert 20.0 < made.when("kill") < 27.0


def test_of_several_variations_the_one_that_is_lost_is_named():
    """Two variations with 10 % each, one of which arrives at half: that one is paused, though no stage says its share."""
    world = traffic(0.2, variations=("blue", "green"), lost=lambda v, s: 0.5 if v == "green" else 0.0)
    made = played(world, serves(0.0, {"control": 0.8, "blue": 0.1, "green": 0.1}))

    assert {("pause", "green")} == {(one.action, one.variant) for one in harm(made)}


def test_to_tell_what_the_stage_says_changes_nothing(dice: random.Random):
    """
    Where stores serve what the stages say, everything is decided as if nobody told: the same decisions at the same moments.
    """
    stages = [{"share": "10%", "for": "20s"}, {"share": "100%"}]
    guardrails = [*RATIO, *NO_DATA, {"when": "error_rate > 1.2x control", "then": "kill"}]
    for _ in range(2):
        worse, lost, seed = dice.choice([0.01, 0.05]), dice.choice([0.0, 0.5, 1.0]), dice.randrange(1_000)
        world = traffic(
            0.1, seed=seed, errors=lambda v, s: worse if v == "treatment" else 0.01,  # noqa: B023 - used within
            lost=lambda v, s: lost if v == "treatment" and s > 10.0 else 0.0,  # noqa: B023 - used within
        )  # fmt: skip
        plain = played(world, guardrails=guardrails, stages=stages, answer="")
        tells = played(world, serves(0.0, 0.1), guardrails=guardrails, stages=stages, answer="")

        assert plain.made == tells.made


def test_a_variation_that_never_comes_is_missed():
    """Control comes and the treatment, to which the store gives 10 %, never does: killed as silent, which names it."""
    made = played(traffic(0.0), serves(0.0, 0.1), guardrails=NO_DATA)

    [found] = harm(made)
    assert ("kill", "treatment", "exposures") == (found.action, found.variant, found.evidence and found.evidence.silence)
    assert 5.0 < made.when("kill") < 7.0
    assert "treatment" in found.explanation
    assert "killed" == made.statuses[-1]


@pytest.mark.parametrize(
    ("others", "terms"),
    [
        pytest.param([], {}, id="nobody tells"),
        pytest.param([serves(0.0, 0.0)], {}, id="it is given to nobody"),
        pytest.param([serves(0.0, 0.1, apart=True)], {}, id="not known of how many"),
        pytest.param([serves(0.0, 0.001)], {}, id="too few to be missed"),
        pytest.param([serves(0.0, 0.1)], {"variations": ["other"]}, id="not watched"),
        pytest.param([serves(0.0, 0.1), serves(1.0, 0.0)], {}, id="taken away"),
    ],
)
def test_what_need_not_come_is_not_missed(others: list[Entry], terms: dict[str, Any]):
    """A variation that nobody is known to get, or hardly anybody, or that is not watched, is not missed."""
    assert [] == harm(played(traffic(0.0, 20.0), *others, guardrails=NO_DATA, **terms))


def test_a_variation_that_people_took_away_is_not_missed():
    """Somebody sets it to 0 and it stops: untold, it would be missed. Given back, it has as long as any to come again."""
    world = traffic(lambda s: 0.5 if s < 20.0 or s > 40.5 else 0.0, 60.0)

    assert [] == harm(played(world, serves(0.0, 0.5), serves(20.0, 0.0), serves(40.0, 0.5), guardrails=NO_DATA))
    assert ["kill"] == [one.action for one in harm(played(world, guardrails=NO_DATA))]


def test_a_variation_of_which_people_leave_a_trace_is_not_missed():
    """Somebody leaves one in a thousand of a half: that none comes for some seconds is as it should be."""
    world = traffic(lambda s: 0.5 if s < 20.0 else 0.0)

    assert [] == harm(played(world, serves(0.0, 0.5), serves(20.0, 0.001), guardrails=NO_DATA))


def test_a_killed_variation_that_never_came_is_given_back():
    """Who resumes what was killed unseen gets it watched from its first exposure on."""
    world = traffic(lambda s: 0.0 if s < 20.0 else 0.1, 50.0, errors=lambda v, s: 0.3 if v == "treatment" else 0.01)
    guardrails = [*NO_DATA, {"when": "error_rate > 1.2x control", "then": "kill"}]
    made = played(world, serves(0.0, 0.1), wish(18.0, "resume", variation="treatment"), guardrails=guardrails)

    assert ["no_data for 5s", "error_rate > 1.2x control"] == [one.guardrail for one in made.made if one.action == "kill"]


def test_a_change_with_an_id_is_one_change():
    """What a store's log and the store itself tell of one edit opens one epoch, whichever comes first."""
    log = wish(20.0, "changed")
    for first, second in ((19.9, 20.0), (20.0, 20.1)):
        edit = serves(first if first != 20.0 else second, 0.5, change=log.id)
        made = played(traffic(lambda s: 0.1 if s < 20.0 else 0.5, 30.0), serves(0.0, 0.1), log, edit)

        epochs = [one for one in made.state.population.epochs if one.why in ("it is time", "people changed the shares")]
        assert 1 == len(epochs)
        assert [{"control": 0.5, "treatment": 0.5}] == made.state.population.epochs[-1].served
        assert [] == harm(made)


def test_news_that_come_late_say_nothing():
    """Of two workers that tell of one store, the one that has read it earlier and writes later is passed over."""
    late = serves(20.5, 0.1)
    late.at_ms = T0_MS + 10_000
    world = traffic(lambda s: 0.1 if s < 20.0 else 0.5)
    entries: Iterable[Entry] = between(world.entries(), serves(20.0, 0.5))
    made = Course().play([serves(0.0, 0.1), told(policy(guardrails=RATIO)), *entries, late])

    assert {"control": 0.5, "treatment": 0.5} == made.state.served["flagd"].serves.shares


def test_what_is_served_before_there_is_a_policy_is_found_and_kept():
    """
    A flag without a policy of which people get two variations is found; with its policy it is a rollout with known shares, and
    one that is served alike to all is none.
    """
    bank = Bank(JudgeConfig())
    bank.apply(0, serves(0.0, 0.1))
    assert {KEY} == bank.sources.found.keys()
    again = Bank(JudgeConfig())
    again.load(Bank.SOURCES, bank.snapshot(Bank.SOURCES))
    assert bank.sources.found == again.sources.found

    again.apply(1, told(policy(guardrails=RATIO)))
    assert {} == again.sources.found
    assert 0.1 == again.rollouts[KEY].served["flagd"].serves.shares["treatment"]

    bank.apply(1, serves(1.0, 0.0))
    assert {} == bank.sources.found


def test_flags_without_a_policy_are_remembered_within_bounds():
    """However many flags are served, so many are found; the next has room once one is no rollout any more."""
    bank = Bank(JudgeConfig())

    def found(number: int, share: float, offset: int) -> None:
        entry = serves(offset / 1_000, share)
        entry.key = f"production|flag-{number}"
        bank.apply(offset, entry)

    for number in range(FOUND_MAX + 1):
        found(number, 0.5, number)
    assert FOUND_MAX == len(bank.sources.found)
    assert f"production|flag-{FOUND_MAX}" not in bank.sources.found
    found(0, 0.0, FOUND_MAX + 1)
    found(FOUND_MAX, 0.5, FOUND_MAX + 2)
    assert f"production|flag-{FOUND_MAX}" in bank.sources.found


def test_a_share_that_cannot_be_is_no_entry():
    """What is told of is checked where it is read: a share of more than all is refused by its field."""
    raw = encode(serves(0.0, 0.1)).replace(b"0.9", b"1.9")

    with pytest.raises(ValueError, match=r"serves\.shares"):
        decode(raw)
    assert serves(0.0, 0.1) == decode(encode(serves(0.0, 0.1)))
