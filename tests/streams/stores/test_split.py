"""Split (Harness FME): whole percents, exposure, approvals, and each trap of its API, against a strict stand-in for that."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from guardian.ports import CommandKind, FlagCommand
from tests.support.stores.opened import opened
from tests.support.stores.split import Split, a_flag

_numbers = itertools.count(1)
TWO = [{"treatment": "control", "size": 80}, {"treatment": "treatment", "size": 20}]
RULE = {"condition": {"combiner": "AND", "matchers": [{"type": "IN_SEGMENT", "string": "beta"}]}}


def command(kind: CommandKind, share: float | None = None, **fields: Any) -> FlagCommand:
    name = f"production|checkout-v2|treatment|{next(_numbers)}"
    given: dict[str, Any] = {"variation": "treatment", "control": "control", "share": share, **fields}
    return FlagCommand(name, name, "checkout-v2", "production", kind, **given)


def sizes(buckets: list[dict[str, Any]]) -> dict[str, int]:
    return {bucket["treatment"]: bucket["size"] for bucket in buckets}


async def test_a_kill_takes_the_treatment_from_wherever_it_is_served():
    """Default rule, rules, listed users and segments, and the default treatment: all get control; conditions stay."""
    treatments = [{"name": "control", "keys": ["cy"]}, {"name": "treatment", "keys": ["ann"], "segments": ["beta"]}]
    rules = [{**RULE, "buckets": TWO}, {**RULE, "buckets": [{"treatment": "control", "size": 100}]}]
    vendor = Split(a_flag(treatments=treatments, rules=rules, defaultTreatment="treatment"))
    async with opened(vendor) as store:
        killed = await store.apply(command("kill"))
        again = await store.apply(command("kill"))

    flag = vendor.flag()
    assert ("applied", "already") == (killed.status, again.status)
    assert ({"control": 100}, "control") == (sizes(flag["defaultRule"]), flag["defaultTreatment"])
    assert [{**RULE, "buckets": [{"treatment": "control", "size": 100}]}] * 2 == flag["rules"]
    assert (["cy", "ann"], ["beta"]) == (flag["treatments"][0]["keys"], flag["treatments"][0]["segments"])
    assert ([], []) == (flag["treatments"][1]["keys"], flag["treatments"][1]["segments"])
    assert 1 == len(vendor.changes)
    assert "rules and lists of users that served 'treatment' serve 'control' from now on" in killed.detail


@pytest.mark.parametrize(("asked", "size"), [(0.337, 34), (0.254, 25), (0.001, 1), (0.999, 100)])
async def test_shares_are_whole_percents(asked: float, size: int):
    """A share is rounded to the next whole percent, and one that is more than nothing is 1 % at least."""
    vendor = Split()
    async with opened(vendor) as store:
        answer = await store.apply(command("set_share", asked, from_share=0.1))

    assert ("applied", size) == (answer.status, sizes(vendor.flag()["defaultRule"])["treatment"])


async def test_users_outside_of_the_exposure_count():
    """With half of all exposed, a fifth of those is a tenth of all; a share is set so that it is served to all."""
    vendor = Split(a_flag(trafficAllocation=50, defaultRule=TWO))
    async with opened(vendor) as store:
        assert 0.1 == (await store.read("production", "checkout-v2")).weights["treatment"]
        assert "applied" == (await store.apply(command("set_share", 0.2, from_share=0.1))).status

    assert (50, {"control": 60, "treatment": 40}) == (vendor.flag()["trafficAllocation"], sizes(vendor.flag()["defaultRule"]))


async def test_a_share_that_the_exposure_does_not_allow():
    """More than is exposed, or what whole percents of that cannot be, is refused with what to set; a kill goes through."""
    vendor = Split(a_flag(trafficAllocation=30, defaultRule=TWO))
    async with opened(vendor) as store:
        refused = [await store.apply(command("set_share", share, from_share=0.06)) for share in (0.5, 0.07)]
        killed = await store.apply(command("kill"))

    assert ["failed", "failed", "applied"] == [answer.status for answer in (*refused, killed)]
    assert all("Set Limit exposure to 100 % in Harness FME" in answer.detail for answer in refused)
    assert {"control": 100} == sizes(vendor.flag()["defaultRule"])


async def test_nobody_exposed_is_killed_all_the_same():
    """Where all get the default treatment, a kill is there when people expose the flag again."""
    vendor = Split(a_flag(trafficAllocation=0, defaultRule=TWO, defaultTreatment="treatment"))
    async with opened(vendor) as store:
        assert "applied" == (await store.apply(command("kill"))).status

    assert ({"control": 100}, "control") == (sizes(vendor.flag()["defaultRule"]), vendor.flag()["defaultTreatment"])


async def test_traffic_is_no_change():
    """That users came in the meantime makes no other version of the flag."""
    vendor = Split()
    async with opened(vendor) as store:
        versions = {(await store.read("production", "checkout-v2")).version for _ in range(2)}
        vendor.edit(trafficAllocation=90)
        versions.add((await store.read("production", "checkout-v2")).version)

    assert 2 == len(versions)


async def test_approvals_and_what_is_done_meanwhile():
    """Where changes need an approval, the kill fails and says so; the flag is killed whole, as that needs none."""
    vendor = Split()
    vendor.needs_approval = True
    async with opened(vendor) as store:
        late = await store.apply(command("set_share", 0.2, from_share=0.1))
        killed = await store.apply(command("kill"))

    assert ("failed", "failed", True) == (late.status, killed.status, vendor.flag()["killed"])
    assert "have somebody submit this one there and an approver approve it" in late.detail
    assert "Until then the flag is killed whole, which needs none there: everybody gets 'control'" in killed.detail
    assert [("PUT", True)] == [(came.method, came.path.endswith("/kill")) for came in vendor.changes]


async def test_a_flag_is_killed_whole_only_where_that_takes_no_more():
    """With another treatment alive, or a default that is the one to stop, nothing is killed whole: it fails, and pages."""
    alive = [{"treatment": "treatment", "size": 20}, {"treatment": "green", "size": 80}]
    names = [{"name": name} for name in ("control", "treatment", "green")]
    for flag in (a_flag(treatments=names, defaultRule=alive), a_flag(defaultTreatment="treatment")):
        vendor = Split(flag)
        vendor.needs_approval = True
        async with opened(vendor) as store:
            answer = await store.apply(command("kill"))
        assert ("failed", False, []) == (answer.status, vendor.flag()["killed"], vendor.changes)


async def test_where_not_even_kills_are_allowed():
    """An environment that asks for approval of kills, too, is told apart: people have to act."""
    vendor = Split()
    vendor.needs_approval, vendor.allows_kills = True, False
    async with opened(vendor) as store:
        answer = await store.apply(command("kill"))

    assert ("failed", False) == (answer.status, vendor.flag()["killed"])
    assert "Kills without approval are not allowed there either" in answer.detail


async def test_a_key_that_may_only_view():
    """A role that is too low is told with the one that is needed, and nothing is killed whole by it."""
    vendor = Split()
    vendor.may_only_read = True
    async with opened(vendor) as store:
        answer = await store.apply(command("kill"))

    assert ("failed", []) == (answer.status, vendor.changes)
    assert "API_FEATURE_FLAG_EDITOR" in answer.detail


async def test_what_people_have_killed_is_served_when_they_restore_it_as_the_guardian_left_it():
    """A kill of a flag that people have killed changes what it serves afterwards, and leaves it killed."""
    vendor = Split(a_flag(killed=True))
    async with opened(vendor) as store:
        await store.apply(command("kill"))

    assert (True, {"control": 100}) == (vendor.flag()["killed"], sizes(vendor.flag()["defaultRule"]))
