"""Flagsmith: variants as shares, and each trap of its API, against a strict stand-in for that."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from guardian.ports import CommandKind, FlagCommand, StoreError, UnknownFlag
from tests.support.stores.flagsmith import Flagsmith, a_flag
from tests.support.stores.opened import opened

_numbers = itertools.count(1)
VARIANT = 1010


def command(kind: CommandKind, share: float | None = None, **fields: Any) -> FlagCommand:
    name = f"production|checkout-v2|treatment|{next(_numbers)}"
    given: dict[str, Any] = {"variation": "treatment", "control": "control", "share": share, **fields}
    return FlagCommand(name, name, "checkout-v2", "production", kind, **given)


def override(segment: int, value: str = "old", weight: float = 0.0, *, enabled: bool = True) -> dict[str, Any]:
    return {
        "segment": {"id": segment}, "priority": segment, "enabled": enabled, "value": {"type": "string", "value": value},
        "variants": [{"id": VARIANT, "weight": weight}],
    }  # fmt: skip


def with_overrides(*overrides: dict[str, Any]) -> Flagsmith:
    flag = a_flag()
    flag["served"]["segment_overrides"] = list(overrides)
    return Flagsmith(flag)


async def test_a_kill_takes_the_variant_from_segments_as_well():
    """Overrides that serve the variant by percentage, or by its very value, serve control; others stay as they are."""
    by_share, by_value, neither = override(1, weight=40.0), override(2, value="new"), override(3, value="other")
    vendor = with_overrides(by_share, by_value, neither)
    async with opened(vendor) as store:
        killed = await store.apply(command("kill"))
        again = await store.apply(command("kill"))

    assert ("applied", "already") == (killed.status, again.status)
    assert [override(1), override(2), neither] == vendor.served()["segment_overrides"]
    assert 0.0 == vendor.served()["environment_default"]["variants"][0]["weight"]
    assert "rules and lists of users that served 'treatment' serve 'control' from now on" in killed.detail
    assert [1, 2] == [one["segment"]["id"] for one in vendor.changes[0].body["segment_overrides"]]


async def test_an_advance_leaves_segments_alone():
    """What people serve to a segment is theirs: an advance sends the percentage of everybody, and nothing else."""
    vendor = with_overrides(override(1, weight=40.0))
    async with opened(vendor) as store:
        await store.apply(command("set_share", 0.25, from_share=0.1))

    assert [{"environment_default": {"variants": [{"id": VARIANT, "weight": 25.0}]}}] == [one.body for one in vendor.changes]


async def test_the_window_in_which_a_change_of_theirs_would_be_lost_is_shown():
    """It cannot compare and set: the answer says how long ago the flag was read."""
    async with opened(Flagsmith()) as store:
        assert not store.capabilities.has_compare_and_set
        answer = await store.apply(command("kill"))

    assert "ms after it was read, and what somebody changed between is lost" in answer.detail


async def test_change_requests_are_no_conflict():
    """A 409 means that the environment wants change requests: the kill fails for good, with what to do, and is not repeated."""
    vendor = Flagsmith()
    vendor.change_requests = True
    async with opened(vendor) as store:
        answer = await store.apply(command("kill"))

    assert "failed" == answer.status
    assert "Turn change requests off for this environment, or have a person change the flag" in answer.detail
    assert 1 == len([came for came in vendor.came if came.method == "PATCH"])


async def test_a_key_that_may_not_manage_overrides_fails_only_where_that_is_needed():
    """Permissions are told by name; a kill of a flag without overrides needs none for them."""
    plain, with_one = Flagsmith(), with_overrides(override(1, weight=40.0))
    answers = []
    for vendor in (plain, with_one):
        vendor.may = {"environment_default"}
        async with opened(vendor) as store:
            answers.append(await store.apply(command("kill")))

    assert ["applied", "failed"] == [answer.status for answer in answers]
    assert "manage segment overrides" in answers[1].detail


async def test_a_key_that_may_not_change_the_environment_is_told_that_there_is_none():
    """Flagsmith answers 404 to whom it does not trust: the text says that it may be that."""
    vendor = Flagsmith()
    vendor.may = set()
    async with opened(vendor) as store:
        answer = await store.apply(command("kill"))

    assert ("failed", []) == (answer.status, vendor.changes)
    assert "The key may not view or change it, project or environment_key are others" in answer.detail


async def test_the_search_finds_more_than_was_asked_for():
    """A flag whose name another one contains is not taken for it, on whichever page it stands."""
    others = [a_flag(number, f"checkout-v2-{number}") for number in range(1, 103)]
    vendor = Flagsmith(*others, a_flag(200))
    async with opened(vendor) as store:
        assert "applied" == (await store.apply(command("kill"))).status
        with pytest.raises(UnknownFlag, match="has no flag 'checkout'"):
            await store.read("production", "checkout")

    assert [200] == [int(came.path.split("/")[-2]) for came in vendor.changes]


async def test_a_flag_without_variants_says_what_to_add():
    """An on/off flag has no shares: what would give it some is told."""
    flag = a_flag() | {"multivariate_options": [], "type": "STANDARD"}
    async with opened(Flagsmith(flag)) as store:
        with pytest.raises(StoreError, match="has no variants in Flagsmith, so there are no shares: add a variant"):
            await store.read("production", "checkout-v2")


async def test_an_archived_flag_says_what_to_do():
    """An archived flag is not changed; who wants it takes it out of the archive."""
    async with opened(Flagsmith(a_flag() | {"is_archived": True})) as store:
        with pytest.raises(StoreError, match="is archived in Flagsmith: take it out of the archive there"):
            await store.read("production", "checkout-v2")


async def test_control_that_is_the_treatment_is_no_control():
    """Where the own value is set to that of a variant, a kill would give everybody that: it fails and says so."""
    vendor = Flagsmith()
    vendor.served()["environment_default"]["value"]["value"] = "new"
    async with opened(vendor) as store:
        answer = await store.apply(command("kill"))

    assert ("failed", []) == (answer.status, vendor.changes)
    assert "the own value of flag 'checkout-v2' in this environment is that of its variant 'treatment'" in answer.detail


async def test_variants_without_keys_are_called_by_their_values():
    """Numbers and truths are written as Flagsmith writes them; two of one name are refused with what helps."""
    flag = a_flag()
    flag["multivariate_options"] = [
        {"id": 1, "type": "int", "integer_value": 42, "string_value": None, "boolean_value": None, "key": None},
        {"id": 2, "type": "bool", "integer_value": None, "string_value": None, "boolean_value": False, "key": None},
    ]
    flag["served"]["environment_default"]["variants"] = [{"id": 1, "weight": 10.0}, {"id": 2, "weight": 20.0}]
    twice = a_flag(2, "new-search")
    twice["multivariate_options"][0]["key"] = "control"
    async with opened(Flagsmith(flag, twice)) as store:
        assert {"control": 0.7, "42": 0.1, "false": 0.2} == (await store.read("production", "checkout-v2")).weights
        with pytest.raises(StoreError, match="two variations of flag 'new-search' are called 'control'"):
            await store.read("production", "new-search")
    async with opened(Flagsmith(twice), control="own") as store:
        assert ("own", "control") == (await store.read("production", "new-search")).variations


async def test_a_hundredth_of_a_percent_is_the_finest_share():
    """Percentages are rounded to what the engine tells apart."""
    vendor = Flagsmith()
    async with opened(vendor) as store:
        assert "applied" == (await store.apply(command("set_share", 1 / 3, from_share=0.1))).status

    assert 33.33 == vendor.served()["environment_default"]["variants"][0]["weight"]
