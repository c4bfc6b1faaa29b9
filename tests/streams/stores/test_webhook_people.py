"""People and the guardian at one share: what people wrote is seen, and what the guardian stopped stays stopped."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.flagdoc import SAME_SHARE
from guardian.ports import Applied, CommandKind, FlagCommand
from streams.stores.base import read_state
from streams.stores.shares.layers import layers
from streams.stores.shares.store import SharesStore
from tests.support.shelf_store import ShelfBackend

THIRDS = {"control": 0.5, "blue": 0.3, "green": 0.2}


class Shelf:
    """A webhook store over a shelf with the flag ``checkout``, and commands with the number of their decision."""

    def __init__(self, shares: dict[str, float] | None = None, rings: dict[str, Any] | None = None) -> None:
        self.client = ShelfBackend({"checkout": {"shares": shares or THIRDS, "rings": rings or {"staff": {}, "beta": {}}}})
        self.store = SharesStore(self.client)
        self._numbers = itertools.count(1)

    async def do(self, kind: CommandKind, variation: str = "blue", share: float | None = None, **more: Any) -> Applied:
        about = "" if kind == "kill_flag" else variation
        name = f"production|checkout|{variation}|{next(self._numbers)}"
        return await self.store.apply(FlagCommand(name, name, "checkout", "production", kind, about, "control", share, **more))

    @property
    def shares(self) -> dict[str, float]:
        return {name: round(share, 6) for name, share in self.client.flags["checkout"]["shares"].items()}

    @property
    def rings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.flags["checkout"]["rings"]
        return found

    def edit(self, **shares: float) -> None:
        self.client.edit("checkout", shares={**shares, "control": round(1 - sum(shares.values()), 6)})

    def edit_before_the_next_change(self, **shares: float) -> None:
        """A person comes first, between the guardian's look at the flag and its change."""

        def first() -> None:
            self.client.before = lambda: None
            self.edit(**shares)

        self.client.before = first


async def test_a_share_that_people_changed_is_a_conflict_and_stays():
    """An advance decided on another share than people have set since changes nothing, and the answer holds theirs."""
    shelf = Shelf()
    await shelf.do("set_share", share=0.4, from_share=0.3)
    shelf.edit(blue=0.1, green=0.2)

    answer = await shelf.do("set_share", share=0.5, from_share=0.4)

    assert ("conflict", 0.1) == (answer.status, answer.share)
    assert "people have set the share of 'blue' to 10 %, not the 40 % that it was decided on" == answer.detail
    assert 0.1 == shelf.shares["blue"]


async def test_a_share_that_people_set_back_is_theirs_all_the_same():
    """What people had written before the guardian's first change counts as an edit like any other when they write it again."""
    shelf = Shelf()
    await shelf.do("set_share", share=0.4, from_share=0.3)
    shelf.edit(blue=0.3, green=0.2)

    answer = await shelf.do("set_share", share=0.5, from_share=0.4)

    assert ("conflict", 0.3, 0.3) == (answer.status, answer.share, shelf.shares["blue"])


async def test_an_edit_of_another_variation_stands_in_no_ones_way():
    """An advance goes through beside what people changed elsewhere in the flag, and leaves that as it is."""
    shelf = Shelf()
    await shelf.do("set_share", share=0.4, from_share=0.3)
    shelf.edit(blue=0.4, green=0.05)

    answer = await shelf.do("set_share", share=0.5, from_share=0.4)

    assert ("applied", {"control": 0.45, "blue": 0.5, "green": 0.05}) == (answer.status, shelf.shares)


async def test_a_kill_overrides_and_says_whom():
    """A kill of what people have given traffic goes through, and names the share and who changed the flag last."""
    shelf = Shelf()
    await shelf.do("set_share", share=0.1, from_share=0.3)
    shelf.edit(blue=0.6, green=0.2)

    answer = await shelf.do("kill")

    assert ("applied", {"control": 0.8, "blue": 0.0, "green": 0.2}) == (answer.status, shelf.shares)
    assert answer.detail.endswith("it overrode what people had set: 60 % of 'blue', last changed by ada")


async def test_a_kill_that_overrides_nobody_says_nothing_of_it():
    """Where people have changed nothing since, or only something else, a kill names nobody."""
    shelf = Shelf()
    await shelf.do("set_share", share=0.1, from_share=0.3)
    shelf.edit(blue=0.1, green=0.3)

    answer = await shelf.do("kill")

    assert ("applied", "served as version 4") == (answer.status, answer.detail)


async def test_people_may_take_up_again_what_was_killed_and_it_can_be_killed_again():
    """A killed variation that people give traffic is alive, and theirs; the next kill stops it and says so."""
    shelf = Shelf()
    await shelf.do("kill")
    shelf.edit(blue=0.2, green=0.2)
    state = await shelf.store.read("production", "checkout")

    again = await shelf.do("kill")

    assert 0.2 == state.weights["blue"]
    assert ("applied", 0.0) == (again.status, shelf.shares["blue"])
    assert "20 % of 'blue', last changed by ada" in again.detail


async def test_a_kill_wins_the_race_against_an_edit_and_an_advance_loses_it():
    """Where people change the flag between reading and writing, it is read again: a kill goes through, an advance does not."""
    stopped, raised = Shelf(), Shelf()
    for shelf in (stopped, raised):
        shelf.edit_before_the_next_change(blue=0.7, green=0.1)

    killed = await stopped.do("kill")
    advanced = await raised.do("set_share", share=0.4, from_share=0.3)

    assert ("applied", {"control": 0.9, "blue": 0.0, "green": 0.1}) == (killed.status, stopped.shares)
    assert "70 % of 'blue', last changed by ada" in killed.detail
    assert ("conflict", 0.7, 0.7) == (advanced.status, advanced.share, raised.shares["blue"])


async def test_a_flag_that_never_stands_still_is_a_conflict_not_a_loop():
    """After a bounded number of looks at a flag that changes under each of them the answer is a conflict."""
    shelf = Shelf()
    shelf.client.before = lambda: shelf.client.edit("checkout", note="again")

    answer = await shelf.do("kill")

    assert ("conflict", "the flag is changed all the time") == (answer.status, answer.detail)
    assert [] == shelf.client.bodies


async def test_what_was_killed_comes_back_as_it_was_though_people_changed_others():
    """A resume gives a killed variation what it had, also where people have changed other variations meanwhile."""
    shelf = Shelf()
    await shelf.do("kill")
    shelf.edit(blue=0.0, green=0.35)

    answer = await shelf.do("resume")

    assert ("applied", {"control": 0.35, "blue": 0.3, "green": 0.35}) == (answer.status, shelf.shares)


async def test_a_flag_killed_whole_of_which_people_take_up_one_keeps_the_others_stopped():
    """It is on again, the one has what they gave it, the others stay killed until they are resumed."""
    shelf = Shelf()
    await shelf.do("kill_flag")
    assert not (await shelf.store.read("production", "checkout")).enabled
    shelf.edit(blue=0.2, green=0.0)

    assert (await shelf.store.read("production", "checkout")).enabled
    late = await shelf.do("set_share", "green", 0.4, from_share=0.2)
    resumed = await shelf.do("resume", "green")

    assert ("conflict", "applied") == (late.status, resumed.status)
    assert {"control": 0.6, "blue": 0.2, "green": 0.2} == shelf.shares


async def test_the_share_of_a_ring_that_people_set_is_not_overwritten():
    """An advance that would change it is a conflict that names the ring; a kill takes it all the same, and says so."""
    shelf = Shelf()
    await shelf.do("set_share", share=0.1, from_share=0.3, rings={"staff": 0.8})
    shelf.client.edit("checkout", rings={"staff": {"control": 0.5, "blue": 0.5, "green": 0.0}, "beta": {}})

    late = await shelf.do("set_share", share=0.2, from_share=0.1, rings={"staff": 0.8})
    assert ("conflict", 0.5) == (late.status, shelf.rings["staff"]["blue"])
    assert "people have set the share of 'blue' in ring 'staff' to 50 %; put it back, or resume" == late.detail
    killed = await shelf.do("kill")

    assert "applied" == killed.status
    assert not any(shares.get("blue") for shares in (shelf.shares, *shelf.rings.values()))
    assert "50 % of 'blue' in ring 'staff', last changed by ada" in killed.detail


@pytest.mark.parametrize("about", ["blue", ""])
async def test_a_ring_of_peoples_is_the_guardians_again_once_somebody_resumes(about):
    """The conflict about a ring comes again and again until somebody resumes the variation, or all; then the advance is made."""
    shelf = Shelf(rings={"staff": {"control": 0.5, "blue": 0.5, "green": 0.0}})
    for _ in range(2):
        assert "conflict" == (await shelf.do("set_share", share=0.4, from_share=0.3, rings={"staff": 0.75})).status

    await shelf.do("resume", about)
    answer = await shelf.do("set_share", share=0.4, from_share=0.3, rings={"staff": 0.75})

    assert ("applied", 0.4, 0.75) == (answer.status, shelf.shares["blue"], shelf.rings["staff"]["blue"])


async def test_what_people_took_away_holds_up_no_kill():
    """A ring, a variation and a control that the store has no longer are forgotten; what is left is killed."""
    shelf = Shelf({**THIRDS, "old": 0.0})
    await shelf.do("set_share", share=0.4, from_share=0.3, rings={"staff": 0.8})
    await shelf.do("kill", "old")
    shelf.client.edit("checkout", shares={"control": 0.6, "blue": 0.4}, rings={"beta": {}})

    answer = await shelf.do("kill")

    assert ("applied", {"control": 1.0, "blue": 0.0}) == (answer.status, shelf.shares)


async def test_what_people_switch_off_stays_off():
    """The guardian writes shares alone: whether the flag is on, its notes and all else stay as people wrote them."""
    shelf = Shelf()
    shelf.client.edit("checkout", enabled=False, note="mine")

    answer = await shelf.do("kill")

    assert answer.state is not None
    assert ("applied", False, "mine") == (answer.status, answer.state.enabled, shelf.client.flags["checkout"]["note"])
    assert {"flag", "environment", "if_match", "shares", "rings", "guardian", "change"} == set(shelf.client.bodies[0])


# ---------------------------------------------------------------------------- whatever comes

KINDS: tuple[CommandKind, ...] = ("kill", "kill_flag", "resume", "set_share", "step_back", "pause", "hold")
SHARES = st.sampled_from((0.0, 0.1, 0.25, 1 / 3))
STEPS = st.one_of(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(("blue", "green")), SHARES, st.booleans()),
    st.tuples(st.just("edit"), SHARES, SHARES, st.booleans()),
    st.tuples(st.just("ring"), SHARES, SHARES, st.booleans()),
)


def _others(shelf: Shelf, name: str) -> dict[str, float]:
    return {one: share for one, share in shelf.shares.items() if one not in ("control", name)}


async def _step(shelf: Shelf, step: tuple[Any, ...]) -> None:
    what, one, two, flipped = step
    if what == "edit":
        shelf.edit(blue=one, green=two)
    elif what == "ring":
        own = {"blue": one, "green": two, "control": round(1 - one - two, 6)}
        shelf.client.edit("checkout", rings={**shelf.rings, "staff": own if flipped else {}})
    else:
        before, others = shelf.shares[one], _others(shelf, one)
        takes = what in ("set_share", "step_back")
        more: dict[str, Any] = {"from_share": before if flipped else None} if what == "set_share" else {}
        more |= {"rings": {"staff": 0.5}} if takes and flipped else {}
        answer = await shelf.do(what, one, two if takes else None, **more)
        assert "failed" != answer.status, answer.detail
        if what in ("kill", "kill_flag"):
            assert "conflict" != answer.status
            assert not any(shares.get(one) for shares in (shelf.shares, *shelf.rings.values())), answer
        if what == "step_back":
            assert shelf.shares[one] <= two + SAME_SHARE
        if what == "set_share" and answer.status in ("conflict", "superseded"):
            assert before == shelf.shares[one]
        if what not in ("kill_flag", "resume"):
            assert others == pytest.approx(_others(shelf, one), abs=SAME_SHARE)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=8), st.randoms(use_true_random=False))
def test_whatever_comes_what_is_served_is_understood(steps: list[tuple[Any, ...]], dice: random.Random):
    """
    After any commands and edits: a kill leaves nothing, other variations keep theirs, shares add up to 1, and the layers
    that a flag is taken apart into are together what is served.
    """

    async def scenario() -> None:
        shelf = Shelf()
        for step in steps:
            await _step(shelf, step)
            seen = await shelf.client.read("checkout")
            taken = layers(seen, "control")
            served = read_state(taken.document, "production", "checkout", taken.known)
            assert dict(served.weights) == pytest.approx(dict(seen.shares), abs=SAME_SHARE)
            for ring, shares in seen.rings.items():
                assert dict(served.rings[ring] or served.weights) == pytest.approx(
                    dict(shares or seen.shares), abs=SAME_SHARE
                ), (ring, step)
            assert abs(sum(seen.shares.values()) - 1.0) < 1e-6

    asyncio.run(scenario())
