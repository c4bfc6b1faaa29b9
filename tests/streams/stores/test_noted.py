"""A store without a place for the guardian's record: what was decided is in a topic, and what was done is read off the store."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from guardian.ports import Applied, CommandKind, FlagCommand, StoreUnavailable
from streams.stores.shares.store import SharesStore
from tests.support.forgetful_store import ForgetfulBackend

TEN = {"control": 0.9, "treatment": 0.1}
KILLED = {"control": 1.0, "treatment": 0.0}
_numbers = itertools.count(1)


@pytest.fixture
def backend() -> ForgetfulBackend:
    return ForgetfulBackend({"checkout": {"shares": TEN}})


def command(kind: CommandKind, share: float | None = None, **fields: Any) -> FlagCommand:
    name = f"production|checkout|treatment|{next(_numbers)}"
    return replace(FlagCommand(name, name, "checkout", "production", kind, "treatment", "control", share), **fields)


async def apply(backend: ForgetfulBackend, given: FlagCommand) -> Applied:
    """By a guardian that has just started: all that it knows is in the topic and in the store."""
    return await SharesStore(backend.noted()).apply(given)


def served(backend: ForgetfulBackend) -> dict[str, float]:
    return dict(backend.flags["checkout"]["shares"])


async def test_a_resume_gives_back_what_a_kill_took(backend: ForgetfulBackend):
    """The share of before a kill outlives it in the topic, for a guardian that has started since."""
    assert "applied" == (await apply(backend, command("kill"))).status
    assert KILLED == served(backend)
    assert "applied" == (await apply(backend, command("resume"))).status
    assert TEN == served(backend)


@pytest.mark.parametrize("fate", ["lost", "late"])
async def test_a_crash_between_note_and_answer_is_made_up_for(backend: ForgetfulBackend, fate: str):
    """A change that was noted, and made or not before nobody answered any more, is made once, by whoever comes next."""
    backend.fails = [fate]
    kill = command("kill")
    with pytest.raises(StoreUnavailable) if fate == "lost" else nullcontext():  # what was made is read back
        await apply(backend, kill)
    again = await apply(backend, kill)

    assert again.status in ("applied", "already")
    assert (KILLED, 1) == (served(backend), backend.changes)


async def test_a_kill_that_never_came_is_no_kill_that_people_undid(backend: ForgetfulBackend):
    """What people change after a kill that was noted and never made does not pass for a resume of it: the kill is made."""
    await apply(backend, command("set_share", 0.2))
    backend.fails = ["lost"]
    kill = command("kill")
    with pytest.raises(StoreUnavailable):
        await apply(backend, kill)
    backend.edit("checkout", shares={"control": 0.5, "treatment": 0.5})
    answer = await apply(backend, kill)

    assert "applied" == answer.status
    assert "it overrode what people had set: 50 % of 'treatment', last changed by ada" in answer.detail
    assert KILLED == served(backend)


async def test_a_kill_that_people_undid_stays_undone(backend: ForgetfulBackend):
    """A kill that is sent again after people have given the variation traffic changes nothing."""
    kill = command("kill")
    await apply(backend, kill)
    backend.edit("checkout", shares={"control": 0.5, "treatment": 0.5})
    answer = await apply(backend, kill)

    assert "already" == answer.status
    assert {"control": 0.5, "treatment": 0.5} == served(backend)


async def test_of_two_guardians_the_older_decision_does_nothing(backend: ForgetfulBackend):
    """A guardian that was stopped with a kill in hand finds a resume that another one has made since."""
    kill = command("kill")
    stopped = SharesStore(backend.noted())
    await apply(backend, kill)
    await apply(backend, command("resume"))
    late = await stopped.apply(replace(kill, command_id="sent again"))

    assert "superseded" == late.status
    assert TEN == served(backend)


async def test_of_two_guardians_at_once_one_sends_nothing_on_what_is_over(backend: ForgetfulBackend):
    """Who finds another's plan in the topic before its own reads the flag again: an advance does not undo a kill."""
    advance, kill = command("set_share", 0.2), command("kill")

    async def meanwhile() -> None:
        backend.before_note = _nothing
        await apply(backend, kill)

    backend.before_note = meanwhile
    answer = await apply(backend, advance)

    assert "superseded" == answer.status
    assert (KILLED, 1) == (served(backend), backend.changes)


async def _nothing() -> None: ...


async def test_a_share_that_the_store_cannot_hold_is_rounded():
    """A store of whole percents gets a whole percent, at least one where any was asked for, and keeps to what was decided."""
    backend = ForgetfulBackend({"checkout": {"shares": KILLED}}, finest=0.01)

    for asked, found in ((0.001, 0.01), (0.333, 0.33), (0.5, 0.5)):
        answer = await apply(backend, command("set_share", asked))
        assert ("applied", found) == (answer.status, served(backend)["treatment"]), answer.detail
    assert "already" == (await apply(backend, command("set_share", 0.5))).status


async def test_the_window_in_which_a_change_is_lost_is_told(backend: ForgetfulBackend):
    """Where a store cannot compare and set, the answer says for how long a person's change would have been overwritten."""
    answer = await apply(backend, command("kill"))

    assert "ms after it was read, and what somebody changed between is lost" in answer.detail
