"""In whatever order commands come, however often, and with whatever people write meanwhile: the store ends as judge says."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.names import decision_id
from guardian.ports import CommandKind, FlagCommand, FlagStore
from streams.stores.goff.kind import GoffBackend, GoffSection
from streams.stores.http import open_session
from streams.stores.memory import MemoryFlagStore
from streams.stores.shares.store import SharesStore
from tests.support.shelf_store import ShelfBackend

KEY = "production|checkout"
ARMS = ("blue", "green")
SHARE = 0.2


def document(blue: int = 20, green: int = 20) -> dict[str, Any]:
    split = [{"var": "targetingKey"}, ["control", 100 - blue - green], ["blue", blue], ["green", green]]
    variants = {name: name for name in ("control", *ARMS)}
    flag = {"state": "ENABLED", "variants": variants, "defaultVariant": "control", "targeting": {"fractional": split}}
    return {"flags": {"checkout": flag}}


def command(number: int, kind: CommandKind, arm: str = "blue", share: float | None = None, **more: Any) -> FlagCommand:
    name = decision_id(KEY, arm, number)
    return FlagCommand(name, name, "checkout", "production", kind, arm, "control", share, **more)


def of_ones_own() -> SharesStore:
    """A store that keeps one share for each variation, and the record beside it."""
    return SharesStore(ShelfBackend({"checkout": {"shares": {"control": 0.6, "blue": SHARE, "green": SHARE}}}))


async def shares(store: FlagStore) -> dict[str, float]:
    return {arm: round((await store.read("production", "checkout")).weights[arm], 6) for arm in ARMS}


@dataclass
class Judged:
    """What judge believes: decisions in their order, each open until it is answered."""

    store: FlagStore
    killed: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(ARMS, False))
    share: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ARMS, SHARE))
    open: list[FlagCommand] = field(default_factory=list)
    sent: list[FlagCommand] = field(default_factory=list)

    def decide(self, kind: CommandKind, arm: str, share: float) -> None:
        about = "" if kind == "kill_flag" else arm
        moves = kind in ("set_share", "step_back")
        made = command(
            len(self.sent) + 1, kind, about, share if moves else None,
            from_share=self.share[arm] if kind == "set_share" else None,
        )  # fmt: skip
        self.sent.append(made)
        self.open.append(made)
        for one in ARMS if not about else (about,):
            if kind in ("kill", "kill_flag", "resume"):
                self.killed[one] = kind != "resume"
        if kind == "step_back":
            self.share[arm] = min(self.share[arm], share)

    async def deliver(self, made: FlagCommand) -> None:
        answer = await self.store.apply(made)
        assert answer.status != "failed", answer.detail
        if made in self.open:
            self.open.remove(made)
            if made.kind == "set_share" and answer.status in ("applied", "already"):
                backs = [one for one in self.sent if one.kind == "step_back" and one.order > made.order]
                mine = [made, *(one for one in backs if one.variation == made.variation)]
                self.share[made.variation] = min(one.share for one in mine if one.share is not None)


KINDS: tuple[CommandKind, ...] = ("kill", "kill_flag", "resume", "set_share", "step_back", "pause", "hold")
steps = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(("blue", "green", "")), st.sampled_from((0.1, 0.25, 0.35))), max_size=12
)


async def ends_at_what_judge_says(
    judged: Judged, wanted: list[tuple[CommandKind, str, float]], dice: random.Random
) -> None:
    for kind, arm, share in wanted:
        named = arm or "blue"
        if kind == "set_share":
            about = [one for one in judged.open if one.variation in ("", named)]
            for one in dice.sample(about, len(about)):
                await judged.deliver(one)
            if judged.killed[named] or share <= judged.share[named]:
                continue
        judged.decide(kind, arm if kind in ("resume", "pause", "hold") else named, share)
        for one in dice.sample(judged.sent, dice.randint(0, min(2, len(judged.sent)))):
            await judged.deliver(one)
    for one in dice.sample(judged.open, len(judged.open)) + dice.sample(judged.sent, len(judged.sent)):
        await judged.deliver(one)

    expected = {arm: 0.0 if judged.killed[arm] else judged.share[arm] for arm in ARMS}
    assert expected == await shares(judged.store), [f"{one.order} {one.kind} {one.variation}" for one in judged.sent]


@settings(max_examples=400, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_the_store_ends_at_what_judge_says(wanted: list[tuple[CommandKind, str, float]], dice: random.Random):
    """
    Whatever is lost, sent again, late or repeated: in the end exactly those are killed that judge takes for killed, and
    each has the share that judge believes in.

    As judge does, an advance is decided only of what is alive, when all else about it was answered; not even it is in order
    then.
    """
    asyncio.run(ends_at_what_judge_says(Judged(MemoryFlagStore(document())), wanted, dice))


@settings(max_examples=100, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_a_store_of_ones_own_ends_at_what_judge_says(wanted: list[tuple[CommandKind, str, float]], dice: random.Random):
    """The same, of a store that keeps one share for each variation and the record beside it."""
    asyncio.run(ends_at_what_judge_says(Judged(of_ones_own()), wanted, dice))


@settings(max_examples=25, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_a_file_of_go_feature_flag_ends_at_what_judge_says(wanted: list[tuple[CommandKind, str, float]], dice: random.Random):
    """The same, of a file that is replaced by every change."""

    async def scenario() -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("checkout: {variations: {control: 0, blue: 1, green: 2}, ")
            file.write("defaultRule: {percentage: {control: 60, blue: 20, green: 20}}}\n")
            file.flush()
            async with open_session() as session:
                backend = GoffBackend(GoffSection(kind="goff", file=file.name), session)
                await ends_at_what_judge_says(Judged(SharesStore(backend)), wanted, dice)

    asyncio.run(scenario())


@pytest.mark.parametrize("late", ["set_share", "step_back"])
@pytest.mark.parametrize("first", ["kill", "kill_flag", "resume", "pause", "hold"])
async def test_what_a_late_change_of_the_share_still_does(first: Any, late: Any):
    """An advance that comes after anything newer is overtaken by it; a step back is carried out all the same."""
    store = MemoryFlagStore(document())
    await store.apply(command(2, first, "" if first == "kill_flag" else "blue"))
    answer = await store.apply(command(1, late, share=0.1 if late == "step_back" else 0.35))
    await store.apply(command(3, "resume", ""))

    assert ("superseded" if late == "set_share" else "applied") == answer.status
    assert (0.2 if late == "set_share" else 0.1) == (await shares(store))["blue"]


@pytest.mark.parametrize("stop", ["kill", "resume", "pause", "hold", "step_back"])
async def test_what_is_decided_of_one_variation_overtakes_nothing_of_another(stop: CommandKind):
    """An advance that comes after something newer about another variation is carried out."""
    store = MemoryFlagStore(document())
    await store.apply(command(2, stop, "green", 0.1 if stop == "step_back" else None))

    assert "applied" == (await store.apply(command(1, "set_share", share=0.35, from_share=0.2))).status


RING = {"staff": {"==": [{"var": "plan"}, "staff"]}}


def with_ring(**written: int) -> dict[str, Any]:
    return document(**written) | {"$evaluators": RING}


async def in_ring(store: MemoryFlagStore) -> float | None:
    rings = (await store.read("production", "checkout")).rings["staff"]
    return round(rings["blue"], 6) if rings else None


async def test_what_people_write_is_served_to_rings_as_well():
    """Who writes that a variation is for nobody takes it from its rings; taken back, they have it again."""
    store = MemoryFlagStore(with_ring())
    await store.apply(command(1, "set_share", share=0.2, from_share=0.2, rings={"staff": 0.5}))
    assert 0.5 == await in_ring(store)

    store.edit(with_ring(blue=0))
    assert None is await in_ring(store)
    assert 0.0 == (await shares(store))["blue"]
    assert "conflict" == (await store.apply(command(2, "set_share", share=0.3, from_share=0.2, rings={"staff": 0.5}))).status

    store.edit(with_ring())
    assert 0.5 == await in_ring(store)


async def test_a_step_back_lowers_rings_and_raises_none():
    """What a ring has of its own is lowered to what the stage before gave it; a ring that has less keeps that."""
    store = MemoryFlagStore(with_ring())
    await store.apply(command(1, "set_share", share=0.3, from_share=0.2, rings={"staff": 0.8}))
    await store.apply(command(2, "step_back", share=0.1, rings={"staff": 0.5}))
    assert (0.1, 0.5) == ((await shares(store))["blue"], await in_ring(store))

    await store.apply(command(3, "step_back", share=0.05, rings={"staff": 0.9}))
    assert (0.05, 0.5) == ((await shares(store))["blue"], await in_ring(store))

    await store.apply(command(4, "step_back", share=0.05))
    assert (0.05, None) == ((await shares(store))["blue"], await in_ring(store))


async def test_a_step_back_beneath_a_persons_edit_raises_no_ring():
    """Where people have written more than the stage before, that is taken; those in a ring get no more than they wrote."""
    store = MemoryFlagStore(with_ring())
    await store.apply(command(1, "set_share", share=0.1, from_share=0.2, rings={"staff": 1.0}))
    store.edit(with_ring(blue=30))
    await store.apply(command(2, "step_back", share=0.1, rings={"staff": 1.0}))

    assert (0.1, 0.3) == ((await shares(store))["blue"], await in_ring(store))


async def test_a_resume_of_one_leaves_the_others_of_a_killed_flag_killed():
    """Who takes one variation of a killed flag up again does not take up the others."""
    store = MemoryFlagStore(document())
    await store.apply(command(1, "kill_flag", ""))
    await store.apply(command(2, "resume", "blue"))

    assert {"blue": 0.2, "green": 0.0} == await shares(store)


async def test_a_share_that_people_have_set_is_not_overwritten():
    """An advance meets what people wrote: a conflict that names it; once that was agreed to, it is carried out."""
    store = MemoryFlagStore(document())
    await store.apply(command(1, "set_share", share=0.3, from_share=0.2))
    store.edit(document(blue=5))
    assert 0.05 == (await shares(store))["blue"]

    met = await store.apply(command(2, "set_share", share=0.4, from_share=0.3))
    assert ("conflict", 0.05, 0.05) == (met.status, met.share, (await shares(store))["blue"])
    assert "people have set the share of 'blue' to 5 %, not the 30 % that it was decided on" == met.detail

    agreed = await store.apply(command(3, "set_share", share=0.4, from_share=0.05))
    assert ("applied", 0.4) == (agreed.status, (await shares(store))["blue"])


async def test_a_share_that_is_as_it_was_is_the_guardians_again():
    """Where people take their change back, what the guardian had set is served, and an advance goes on from there."""
    store = MemoryFlagStore(document())
    await store.apply(command(1, "set_share", share=0.3, from_share=0.2))
    store.edit(document(blue=5))
    store.edit(document())
    assert 0.3 == (await shares(store))["blue"]

    assert "applied" == (await store.apply(command(2, "set_share", share=0.4, from_share=0.3))).status


async def test_a_share_that_people_set_before_the_first_advance_is_not_overwritten():
    """Of a flag that the guardian has never changed, the share of its stage is what it should have."""
    store = MemoryFlagStore(document(blue=30))

    assert ("conflict", 0.3) == ((met := await store.apply(command(1, "set_share", share=0.4, from_share=0.2))).status, met.share)


async def test_a_kill_applies_whatever_people_have_written():
    """A kill takes everything from its variation, and leaves the rest as people wrote it; a resume gives theirs back."""
    store = MemoryFlagStore(document())
    await store.apply(command(1, "set_share", share=0.3, from_share=0.2))
    store.edit(document(blue=5, green=40))
    await store.apply(command(2, "kill"))
    assert {"blue": 0.0, "green": 0.4} == await shares(store)

    await store.apply(command(3, "resume"))
    assert {"blue": 0.05, "green": 0.4} == await shares(store)


@pytest.mark.parametrize(("written", "share"), [(5, 0.05), (50, 0.1)])
async def test_a_step_back_never_raises(written: int, share: float):
    """Where people have written less than the stage that is stepped back to, theirs stays; where more, it is taken."""
    store = MemoryFlagStore(document())
    await store.apply(command(1, "set_share", share=0.3, from_share=0.2))
    store.edit(document(blue=written))
    await store.apply(command(2, "step_back", share=0.1))
    assert share == (await shares(store))["blue"]

    store.edit(document())
    assert (await shares(store))["blue"] <= 0.2
