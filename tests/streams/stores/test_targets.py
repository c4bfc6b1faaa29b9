"""One rollout in several flag stores: every one is changed, none waits for another, and the answer says what each did."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from guardian.ports import Applied, CommandKind, FlagCommand, FlagStore, StoreUnavailable, UnknownFlag
from streams.fields import StoreSection
from streams.stores.shares.store import SharesStore
from streams.stores.targets import Target, Targets
from tests.support.forgetful_store import ForgetfulBackend

TEN = {"control": 0.9, "treatment": 0.1}
KILLED = {"control": 1.0, "treatment": 0.0}
_numbers = itertools.count(1)


def command(kind: CommandKind = "kill", share: float | None = None, flag: str = "checkout", **fields: Any) -> FlagCommand:
    name = f"production|{flag}|treatment|{next(_numbers)}"
    return FlagCommand(name, name, flag, fields.get("environment", "production"), kind, "treatment", "control", share)


def shelf(*flags: str) -> ForgetfulBackend:
    return ForgetfulBackend({flag: {"shares": TEN} for flag in flags or ("checkout",)})


def target(name: str, backend: ForgetfulBackend, *flags: str) -> Target:
    return Target(name, StoreSection(kind="any", flags=flags or ("*",)), SharesStore(backend.noted()))


def served(backend: ForgetfulBackend, flag: str = "checkout") -> dict[str, float]:
    return dict(backend.flags[flag]["shares"])


async def test_a_kill_goes_to_every_store_that_keeps_the_flag():
    """A kill stops the variation in all stores whose patterns fit, in no other, and the answer names each with its version."""
    web, mobile, other = shelf(), shelf(), shelf()
    stores = Targets([target("web", web), target("mobile", mobile, "check*"), target("other", other, "search-*")])

    answer = await stores.apply(command())

    assert ("applied", "web:2 mobile:2") == (answer.status, answer.version)
    assert answer.detail.startswith("web: applied: ") and "; mobile: applied: " in answer.detail
    assert (KILLED, KILLED, TEN) == (served(web), served(mobile), served(other))


async def test_what_one_store_does_not_answer_is_asked_again_and_done_once():
    """While one store is away the answer is that it is; the others are done, and a repeat leaves them as they are."""
    web, mobile = shelf(), shelf()
    mobile.fails = ["lost"]
    stores, kill = Targets([target("web", web), target("mobile", mobile)]), command()

    with pytest.raises(StoreUnavailable, match=r"web: applied: .*; mobile: no answer: "):
        await stores.apply(kill)
    assert (KILLED, TEN) == (served(web), served(mobile))
    answer = await stores.apply(kill)

    assert "applied" == answer.status and "web: already" in answer.detail
    assert (KILLED, KILLED, 1, 1) == (served(web), served(mobile), web.changes, mobile.changes)


async def test_a_store_that_hangs_does_not_keep_the_others_waiting():
    """A kill is done in one store while another one still hangs."""
    web, release = shelf(), asyncio.Event()

    class Hanging:
        capabilities = shelf().capabilities

        async def read(self, environment: str, flag_key: str) -> Any: ...

        async def apply(self, command: FlagCommand) -> Applied:
            del command
            await release.wait()
            return Applied("applied", "1", "late", None)

    hanging: FlagStore = Hanging()
    stores = Targets([Target("slow", StoreSection(kind="any"), hanging), target("web", web)])
    applying = asyncio.ensure_future(stores.apply(command()))
    async with asyncio.timeout(5.0):
        while KILLED != served(web):
            await asyncio.sleep(0)
    assert not applying.done()
    release.set()
    assert "applied" == (await applying).status


@pytest.mark.parametrize("flags", [("checkout",), ("checkout", "search")])
async def test_the_worst_is_what_is_said(flags: tuple[str, ...]):
    """A flag that one of its stores lacks has failed there, whatever the others did, and it is said which."""
    web, mobile = shelf(*flags), shelf("checkout")
    answer = await Targets([target("web", web), target("mobile", mobile)]).apply(command(flag="search"))

    assert "failed" == answer.status and "mobile: failed: flag 'search' is not there" in answer.detail
    assert len(flags) == 1 or KILLED == served(web, "search")


async def test_a_flag_of_no_store_is_unknown():
    """What no store keeps is an unknown flag, and the text says which stores there are and what they keep."""
    stores = Targets([target("web", shelf(), "web-*"), target("mobile", shelf(), "app-*")])

    answer = await stores.apply(command())

    assert "failed" == answer.status
    there_are = "there are: web (production: web-*), mobile (production: app-*)"
    assert f"no store keeps flag 'checkout' of environment 'production'; {there_are}" in answer.detail
    with pytest.raises(UnknownFlag, match="no store keeps"):
        await stores.read("production", "checkout")
    with pytest.raises(UnknownFlag, match="no store keeps"):
        await stores.read("staging", "web-x")


async def test_people_who_changed_one_store_stop_an_advance():
    """An advance that people stand against in one store is a conflict; it names the store and the share."""
    web, mobile = shelf(), shelf()
    stores = Targets([target("web", web), target("mobile", mobile)])
    await stores.apply(command("set_share", 0.2))
    mobile.edit("checkout", shares={"control": 0.5, "treatment": 0.5})

    answer = await stores.apply(replace(command("set_share", 0.3), from_share=0.2))

    assert ("conflict", 0.5) == (answer.status, answer.share)
    assert "mobile: conflict: people have set the share of 'treatment' to 50 %" in answer.detail
