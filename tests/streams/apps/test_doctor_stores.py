"""The doctor at flag stores: each illness is found, named with its cure, and nothing is changed."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from demo.ports import free_ports
from streams.apps.doctor import stores
from streams.apps.doctor.checks import CHECK_S
from streams.apps.doctor.dates import Dates
from streams.settings import Settings
from tests.streams.apps.doctor_support import launchdarkly, policy, settings_of, wrong
from tests.support.receiver import SECRET, receiving
from tests.support.stores import flagsmith as fs
from tests.support.stores import launchdarkly as ld
from tests.support.stores import split as sp
from tests.support.stores.vendor import Fault, serving

STAFF_FIRST = [{"users": "staff", "for": "1h"}, {"share": "100%"}]


@pytest.fixture
async def vendor() -> AsyncIterator[ld.LaunchDarkly]:
    vendor = ld.LaunchDarkly()
    async with serving(vendor):
        yield vendor


# ---------------------------------------------------------------------------- one that is well


async def test_a_store_that_is_well_is_ok_and_as_it_was(vendor):
    """A store with the flag, the permission and the time is all ok; the dry run has changed nothing."""
    before = copy.deepcopy(vendor.flags)
    found = await stores.look(settings_of(web=launchdarkly(vendor)), [policy(), policy("new-search")])

    assert [] == wrong(found)
    said = " ".join(f"{one.about}: {one.found}" for one in found)
    assert "store web: flag 'checkout-v2' and 1 more: is there" in said
    assert "permission to kill: a dry run" in said and "its clock agrees" in said
    assert before == vendor.flags
    assert {"true"} == {came.query.get("dryRun") for came in vendor.came if came.method != "GET"}


async def test_what_a_dry_run_asks_for_is_next_to_nothing(vendor):
    """A server that overlooks that it is a dry run moves one user in a hundred thousand, to control."""
    await stores.look(settings_of(web=launchdarkly(vendor)), [policy()])
    (asked,) = [came.body["patch"] for came in vendor.came if came.method == "PATCH"]

    split = asked[-1]["value"]
    assert [90_001, 9_999] == [one["weight"] for one in split]


async def test_a_flag_that_is_all_control_is_not_tried(vendor):
    """Where control has everything a dry run could only take from it: nothing is sent."""
    vendor.edit(fallthrough={"variation": 0})
    found = await stores.look(settings_of(web=launchdarkly(vendor)), [policy()])

    assert [] == wrong(found) and "not tried" in str(found)
    assert {"GET"} == {came.method for came in vendor.came}


# ---------------------------------------------------------------------------- what is found


def forbid(vendor: ld.LaunchDarkly) -> None:
    vendor.may_only_read = True


def approve(vendor: ld.LaunchDarkly) -> None:
    vendor.needs_approval = True


def archive(vendor: ld.LaunchDarkly) -> None:
    vendor.flags["checkout-v2"]["archived"] = True


def switch_off(vendor: ld.LaunchDarkly) -> None:
    vendor.edit(on=False)


def nothing(_: ld.LaunchDarkly) -> None:
    pass


@pytest.mark.parametrize(
    ("ill", "store", "named", "level", "says"),
    [
        (nothing, {"token": "api-of-somebody-else-s3cr3t"}, {}, "error", "access token of LaunchDarkly's (token_file"),
        (forbid, {}, {}, "error", "whose role may read the flag and change its rules"),
        (approve, {}, {}, "error", "bypassRequiredApproval"),
        (nothing, {"environment_key": "prod"}, {}, "error", "see environment_key of this store"),
        (nothing, {"project": "shoop"}, {}, "error", "project or environment_key of this store leads elsewhere"),
        (archive, {}, {}, "error", "is archived in LaunchDarkly and is served to nobody: restore it there"),
        (switch_off, {}, {}, "warning", "switch it on in the store"),
        (nothing, {}, {"flag": "checkout-v3"}, "error", "make it in the store, or mend flag:"),
        (nothing, {}, {"variations": ["blue"]}, "error", "mend variations: in the policy; there are: control, treatment"),
        (nothing, {}, {"control": "old"}, "error", "mend control: in the policy; there are: control, treatment"),
        (nothing, {}, {"stages": STAFF_FIRST}, "error", "mend stages: in the policy; there are: none"),
    ],
)
async def test_each_illness_of_a_store_names_its_cure(vendor, ill: Callable[[Any], None], store, named, level, says):
    """A wrong token, right, name, environment, project, a flag that does not fit: one finding with what to mend, no secret."""
    ill(vendor)
    found = await stores.look(settings_of(web=launchdarkly(vendor, **store)), [policy(**named)])

    (one,) = wrong(found)
    assert level == one.level and "store web: flag" in one.about
    assert says in f"{one.found} -> {one.cure}"
    assert "s3cr3t" not in str(found) and ld.TOKEN not in str(found)


async def test_the_same_illness_of_many_flags_is_told_once(vendor):
    """A wrong token is one finding, however many policies there are."""
    settings = settings_of(web=launchdarkly(vendor, token="api-of-somebody-else"))
    found = wrong(await stores.look(settings, [policy(f"flag-{number}") for number in range(30)]))

    assert ["store web: flag 'flag-0' and 29 more"] == [one.about for one in found]


@pytest.mark.parametrize(("ahead_s", "way"), [(600.0, "ahead of"), (-900.0, "behind")])
async def test_a_clock_that_is_wrong_is_found(vendor, ahead_s, way):
    """A store whose answers are dated otherwise is warned of, with how far and which way."""
    vendor.ahead_s = ahead_s
    (one,) = wrong(await stores.look(settings_of(web=launchdarkly(vendor)), [policy()]))
    told = re.search(r"its clock is (\d+) s (ahead of|behind) this one", one.found)

    assert told and way == told[2] and abs(abs(ahead_s) - int(told[1])) <= 10
    assert ("warning", "store web") == (one.level, one.about) and "time server" in one.cure


@pytest.mark.parametrize(("ahead_s", "is_told"), [(1.9, False), (2.6, True), (-1.4, False), (-2.6, True)])
def test_two_seconds_are_where_signatures_suffer(ahead_s, is_told):
    """Of an answer at once, a clock that is off by more than two seconds is told; whole seconds make half of one uncertain."""
    now = datetime(2026, 11, 26, 12, 0, 0, 500_000, UTC).timestamp()
    dates = Dates()
    dates.take(formatdate(now + ahead_s, usegmt=True), began_s=now, ended_s=now)

    assert is_told == bool(wrong(dates.findings("store web")))


async def test_a_wrong_address_is_found():
    """Where nobody listens, and where somebody else does, the setting to look at is named."""
    (port,) = free_ports(1)
    nobody = settings_of(web={**launchdarkly(ld.LaunchDarkly()), "url": f"http://127.0.0.1:{port}"})
    (one,) = wrong(await stores.look(nobody, [policy()]))
    other = sp.Split()
    async with serving(other):
        (two,) = wrong(await stores.look(settings_of(web={**launchdarkly(ld.LaunchDarkly()), "url": other.url}), [policy()]))

    assert "cannot be reached" in one.found and "whether its address in the settings is right" in one.cure
    assert "error" == two.level and "HTTP" in two.found


async def test_a_store_that_hangs_is_a_finding_in_time(vendor):
    """A store that takes a request and never answers is told of within the time that one check has."""
    vendor.faults = [Fault("hang", times=100)]
    async with asyncio.timeout(CHECK_S + 2.0):
        found = wrong(await stores.look(settings_of(web=launchdarkly(vendor, timeout_s=0.2)), [policy()]))

    assert ["error"] == [one.level for one in found] and "does not answer within" in found[0].found


async def test_a_flag_of_no_store_and_a_store_of_no_flag_are_found(vendor):
    """A policy whose flag no store keeps is an error that lists the stores; one without is only asked if it answers."""
    settings = settings_of(web=launchdarkly(vendor, flags=["web-*"]))
    none, store = wrong(await stores.look(settings, [policy()]))[::-1]

    assert ("error", "flag 'checkout-v2'") == (none.level, none.about)
    assert "there are: web (production: web-*)" in none.cure
    assert "warning" == store.level and "no policy names a flag of it" in store.found


async def test_shares_that_a_store_cannot_hold_are_found():
    """A stage of 0.5 % in a store of whole percents becomes 1 %, and that is said with what to write."""
    vendor = sp.Split()
    async with serving(vendor, sp.PREFIX):
        keys = {"token": sp.TOKEN, "workspace": sp.WORKSPACE, "environment_id": "production"}
        settings = settings_of(web={"kind": "split", "url": vendor.url, **keys})
        stages = [{"share": "0.5%", "for": "10m"}, {"share": "10%", "for": "10m"}, {"share": "100%"}]
        found = wrong(await stores.look(settings, [policy(stages=stages)]))

    assert ["stage 1 asks for 0.5 %, and becomes 1 %"] == [one.found for one in found]


async def test_a_store_without_a_dry_run_says_that_it_was_not_tried():
    """Flagsmith and a webhook are read, and it is said that the permission to kill is not known."""
    vendor = fs.Flagsmith()
    flag = {"enabled": True, "shares": {"control": 0.9, "treatment": 0.1}, "rings": {}, "changed_by": "", "guardian": None}
    async with serving(vendor), receiving({"production|checkout-v2": flag}) as receiver:
        keys = {"token": fs.TOKEN, "project": fs.PROJECT, "environment_key": fs.ENVIRONMENT}
        own = {"kind": "webhook", "url": receiver.url, "secret": SECRET}
        settings = settings_of(flagsmith={"kind": "flagsmith", "url": vendor.url, **keys}, own=own)
        found = await stores.look(settings, [policy()])

    assert [] == wrong(found)
    assert 2 == sum("permission to kill is not tried" in one.found for one in found)
    assert [] == receiver.effects + vendor.changes


async def test_a_secret_that_does_not_fit_a_webhook_is_found():
    """A store that does not take the signature: both sides' secret is what to look at, and is not shown."""
    async with receiving({}) as receiver:
        other = "whsec_" + "QUJD" * 8
        settings = settings_of(own={"kind": "webhook", "url": receiver.url, "secret": other})
        (one,) = wrong(await stores.look(settings, [policy()]))

    assert "Give both sides the same secret" in one.found and "QUJD" not in str(one)


async def test_stores_that_differ_are_found(vendor):
    """Of two stores that serve one flag differently the sentence says what each serves."""
    other = ld.LaunchDarkly()
    other.edit(fallthrough={"variation": 0})
    async with serving(other):
        found = wrong(await stores.look(settings_of(web=launchdarkly(vendor), mobile=launchdarkly(other)), [policy()]))

    assert [("flag 'checkout-v2' in 'production'", "web serves treatment to 10 %, mobile to 0 %")] == [
        (one.about, one.found) for one in found
    ]


# ---------------------------------------------------------------------------- flagd's document


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda flags: flags.pop("checkout-v2"), "is no flag of the store"),
        (lambda flags: flags["checkout-v2"]["variants"].pop("treatment"), "is no variation of the flag in the store"),
        (lambda flags: flags["checkout-v2"].update(state="DISABLED"), "set its state to ENABLED"),
    ],
)
async def test_the_flag_document_is_compared_with_policies(tmp_path: Path, edit, says):
    """A flag, or a variation, that the document lacks, and one that is off there, are found."""
    document = {"flags": {"checkout-v2": _flag(), "other": _flag()}}
    edit(document["flags"])
    (tmp_path / "flags.json").write_text(json.dumps(document))
    settings = Settings.model_validate({"flagd": {"document": str(tmp_path / "flags.json")}})
    found = wrong(await stores.look(settings, [policy(variations=["treatment"])]))

    assert 1 == len(found) and says in f"{found[0].found} -> {found[0].cure}"


async def test_divided_flags_that_no_policy_is_about_are_named(tmp_path: Path):
    """Of three divided flags, one of them with a policy, the others are named with their shares; none if all have one."""
    split = {"targeting": {"fractional": [["control", 90], ["treatment", 10]]}}
    divided = {key: {**_flag(), **split} for key in ("checkout-v2", "new-search", "new-cart")}
    document = {"flags": {**divided, "plain": _flag()}}
    (tmp_path / "flags.json").write_text(json.dumps(document))
    given: dict[str, Any] = {"flagd": {"document": str(tmp_path / "flags.json")}}
    found = await stores.look(Settings.model_validate(given), [policy()])
    all_have_one = await stores.look(Settings.model_validate({**given, "policies_default": "all.yaml"}), [policy()])

    (told,) = [one for one in found if "no policy is about" in one.found]
    assert ("ok", 2) == (told.level, told.found.count("treatment 10 %"))
    assert "of 2 flags" in told.found and "new-cart (" in told.found and "new-search (" in told.found
    assert "no policy" not in str(all_have_one)


async def test_a_flag_document_that_is_not_there_is_found(tmp_path: Path):
    """Without a document there is nothing to serve; the setting that names it is said."""
    settings = Settings.model_validate({"flagd": {"document": str(tmp_path / "none.json")}})
    (one,) = wrong(await stores.look(settings, [policy()]))

    assert "cannot be read: No such file" in one.found and "flagd.document" in one.cure


def _flag() -> dict[str, Any]:
    return {"state": "ENABLED", "variants": {"control": "a", "treatment": "b"}, "defaultVariant": "control"}
