"""What all stores of vendors promise: what an answer means, no key in any text, limits kept, settings checked at start."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.errors import ConfigError
from guardian.ports import CommandKind, FlagCommand, StoreError, StoreUnavailable, UnknownFlag
from streams.settings import load_settings
from streams.stores.http import open_session
from streams.stores.kinds import kind_of
from tests.streams.stores.test_orders import Judged, ends_at_what_judge_says, steps
from tests.support.stores import flagsmith, launchdarkly, split
from tests.support.stores.opened import opened
from tests.support.stores.vendor import FOREVER, Fault, Vendor, serving

Made = Callable[[], Vendor]
VENDORS: list[Made] = [launchdarkly.LaunchDarkly, flagsmith.Flagsmith, split.Split]
KEYS = (launchdarkly.TOKEN, flagsmith.TOKEN, split.TOKEN)
OTHER = "api-quite-another-one"
_numbers = itertools.count(1)
each_vendor = pytest.mark.parametrize("made", VENDORS, ids=lambda made: made.__name__)


def command(kind: CommandKind, share: float | None = None, flag: str = "checkout-v2") -> FlagCommand:
    name = f"production|{flag}|treatment|{next(_numbers)}"
    return FlagCommand(name, name, flag, "production", kind, "treatment", "control", share)


def hides_keys(text: str) -> bool:
    return not any(key in text for key in (*KEYS, OTHER))


@each_vendor
@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (Fault("401", FOREVER), StoreError, "token_file"),
        (Fault("403", FOREVER), StoreError, "token_file"),
        (Fault("404", FOREVER), UnknownFlag, "the setting url"),
        (Fault("400", FOREVER), StoreError, 'HTTP 400: {"message": "told to"}'),
        (Fault("307", FOREVER), StoreError, "a redirect, which is not followed"),
        (Fault("408", FOREVER), StoreUnavailable, "HTTP 408"),
        (Fault("429", FOREVER), StoreUnavailable, "HTTP 429"),
        (Fault("503", FOREVER), StoreUnavailable, "HTTP 503"),
        (Fault("html", FOREVER), StoreUnavailable, "Content-Type: 'text/html': answer application/json"),
        (Fault("hang", FOREVER), StoreUnavailable, "does not answer within 0.2 s"),
        (Fault("200", FOREVER, body={"what": "is this?"}), StoreUnavailable, "an answer that cannot be used"),
    ],
    ids=lambda one: one.kind if isinstance(one, Fault) else "",
)
async def test_what_an_answer_means(made: Made, fault: Fault, error: type[StoreError], text: str):
    """Each answer is worth another try or is not; the text says what would be right and shows no key."""
    vendor = made()
    vendor.faults = [Fault(**vars(fault))]
    async with opened(vendor, timeout_s=0.2) as store:
        with pytest.raises(StoreError) as failed:
            await store.read("production", "checkout-v2")

    assert error is type(failed.value)
    assert text in str(failed.value)
    assert hides_keys(str(failed.value))
    assert [] == vendor.changes


@each_vendor
async def test_a_key_that_is_not_accepted(made: Made):
    """An expired or unknown key fails the kill for good, with what to give the store; the key is in no text."""
    vendor = made()
    async with opened(vendor, token=OTHER) as store:
        answer = await store.apply(command("kill"))

    assert ("failed", []) == (answer.status, vendor.changes)
    assert "HTTP 401" in answer.detail and "(token_file" in answer.detail
    assert hides_keys(answer.detail) and hides_keys(repr(vars(store)))


@each_vendor
@pytest.mark.parametrize("flag", ["nowhere", "a/../checkout-v2", "..", "checkout-v2/", "checkout-v2?x=y", "Checkout-V2"])
async def test_a_flag_that_the_store_does_not_have(made: Made, flag: str):
    """Whatever a flag is called, no other one is taken for it; the answer names it."""
    vendor = made()
    async with opened(vendor) as store:
        answer = await store.apply(command("kill", flag=flag))

    assert ("failed", []) == (answer.status, vendor.changes)
    assert repr(flag) in answer.detail


@each_vendor
async def test_an_environment_that_is_not_there(made: Made):
    """A wrong environment or project is told with the setting that holds it."""
    wrong = {"environment_id": "prod"} if made is split.Split else {"environment_key": "prod"}
    vendor = made()
    async with opened(vendor, **wrong) as store:
        answer = await store.apply(command("kill"))

    assert ("failed", []) == (answer.status, vendor.changes)
    assert next(iter(wrong)) in answer.detail


@each_vendor
async def test_a_variation_that_the_flag_does_not_have(made: Made):
    """A kill of what the flag cannot serve fails with what it can."""
    vendor = made()
    async with opened(vendor) as store:
        answer = await store.apply(FlagCommand("c", "d", "checkout-v2", "production", "kill", "treatmnt", "control"))

    assert ("failed", []) == (answer.status, vendor.changes)
    assert "'treatmnt' is not a variant of flag 'checkout-v2'; it has control, treatment" in answer.detail


LIMITS: dict[Made, Callable[[], dict[str, str]]] = {
    launchdarkly.LaunchDarkly: lambda: {"X-Ratelimit-Reset": str(round((time.time() + 30) * 1000))},
    flagsmith.Flagsmith: lambda: {"Retry-After": "30"},
    split.Split: lambda: {"X-RateLimit-Reset-Seconds-Org": "3", "X-RateLimit-Reset-Seconds-IP": "30"},
}


@each_vendor
async def test_a_limit_is_kept(made: Made):
    """Who has asked too much is told until when to wait, in each vendor's own words, and is not asked before."""
    vendor = made()
    vendor.faults = [Fault("429", headers=LIMITS[made]())]
    async with opened(vendor) as store:
        for text in ("HTTP 429", r"it is asked again in (30\.0|29\.\d) s"):
            with pytest.raises(StoreUnavailable, match=text):
                await store.read("production", "checkout-v2")

    assert 1 == len(vendor.came)


@each_vendor
async def test_a_change_that_was_made_unheard(made: Made):
    """Where the connection ends before the answer, it is read whether the change was made; it is made once."""
    vendor = made()
    vendor.faults = [Fault("lost", method="PATCH")]
    async with opened(vendor) as store:
        answer = await store.apply(command("kill"))

    assert ("applied", 1) == (answer.status, len(vendor.changes))


@each_vendor
async def test_a_flag_that_people_have_turned_off_stays_so(made: Made):
    """A kill changes what an off flag will serve, and neither a kill nor a resume turns it on."""
    vendor = made()
    turn_off(vendor)
    async with opened(vendor) as store:
        assert not (await store.read("production", "checkout-v2")).enabled
        statuses = [(await store.apply(command(kind))).status for kind in ("kill", "resume")]
        state = await store.read("production", "checkout-v2")

    assert ["applied", "applied"] == statuses
    assert (False, 0.1) == (state.enabled, state.weights["treatment"])


def turn_off(vendor: Vendor) -> None:
    if isinstance(vendor, launchdarkly.LaunchDarkly):
        vendor.edit(on=False)
    elif isinstance(vendor, flagsmith.Flagsmith):
        vendor.served()["environment_default"]["enabled"] = False
    elif isinstance(vendor, split.Split):
        vendor.edit(killed=True)


def with_two_arms(made: Made) -> Vendor:
    """A flag ``checkout`` that serves blue and green to a fifth each."""
    names = ("control", "blue", "green")
    if made is launchdarkly.LaunchDarkly:
        places = [{"variation": place, "weight": weight} for place, weight in enumerate((60_000, 20_000, 20_000))]
        flag = launchdarkly.a_flag("checkout", fallthrough={"rollout": {"variations": places}})
        flag["variations"] = [{"_id": f"id-{name}", "value": name} for name in names]
        flag["environments"].pop("staging")
        return launchdarkly.LaunchDarkly(flag)
    if made is flagsmith.Flagsmith:
        flag = flagsmith.a_flag(1, "checkout")
        flag["multivariate_options"] = [
            {"id": number, "string_value": name} for number, name in enumerate(names) if name != "control"
        ]
        flag["served"]["environment_default"]["variants"] = [{"id": number, "weight": 20.0} for number in (1, 2)]
        return flagsmith.Flagsmith(flag)
    sizes = zip(names, (60, 20, 20), strict=True)
    rule = [{"treatment": name, "size": size} for name, size in sizes]
    return split.Split(split.a_flag("checkout", treatments=[{"name": name} for name in names], defaultRule=rule))


@each_vendor
@settings(max_examples=5, deadline=None)
@given(wanted=steps, dice=st.randoms(use_true_random=False))
def test_it_ends_at_what_judge_says(made: Made, wanted: list[tuple[CommandKind, str, float]], dice: random.Random):
    """In whatever order commands come, and however often: the store ends as judge says, as any other one does."""

    async def scenario() -> None:
        async with opened(with_two_arms(made)) as store:
            await ends_at_what_judge_says(Judged(store), wanted, dice)

    asyncio.run(scenario())


SETTINGS = """
stores:
  ld: {kind: launchdarkly, project: shop, token_file: FOLDER/ld, rings: "employees, beta"}
  fs: {kind: flagsmith, project: 12, environment_key: abc, token_file: FOLDER/fs}
  sp: {kind: split, workspace: ws, environment_id: env-1, token_file: FOLDER/sp}
"""
GIVEN = dict(zip(("ld", "fs", "sp"), KEYS, strict=True))


def written(folder: Path, text: str = SETTINGS, **tokens: str) -> Path:
    for name, value in {**GIVEN, **tokens}.items():
        (folder / name).write_text(f"{value}\n")
    path = folder / "guardian.yaml"
    path.write_text(text.replace("FOLDER", str(folder)))
    return path


def test_settings_of_vendors_are_read(tmp_path):
    """Each kind is known by its word, with its key from a file; none is shown."""
    found = load_settings(written(tmp_path), {})

    assert ["launchdarkly", "flagsmith", "split"] == [section.kind for section in found.targets.values()]
    assert ("employees", "beta") == found.targets["ld"].model_dump()["rings"]
    assert hides_keys(repr(found))


@each_vendor
async def test_settings_lead_to_the_flag(tmp_path: Path, made: Made):
    """What stands in the settings is what the vendor is asked: its address, project, environment and key."""
    name, vendor = ("ld", "fs", "sp")[VENDORS.index(made)], made()
    own = {"ld": "", "fs": f", environment_key: {flagsmith.ENVIRONMENT}", "sp": f", workspace: {split.WORKSPACE}"}[name]
    text = SETTINGS.replace(", environment_key: abc", "").replace(" workspace: ws, environment_id: env-1,", "")
    async with serving(vendor, split.PREFIX if name == "sp" else ""), open_session() as session:
        given = text.replace(f"token_file: FOLDER/{name}", f"token_file: FOLDER/{name}, url: '{vendor.url}'{own}")
        only = "\n".join(line for line in given.splitlines() if not line.startswith("  ") or line.startswith(f"  {name}:"))
        section = load_settings(written(tmp_path, only), {}).targets[name]
        backend = kind_of(section.kind).backend
        assert backend is not None
        seen = await backend(section, session).read("checkout-v2")

    assert {"control": 0.9, "treatment": 0.1} == seen.shares
    assert not kind_of(section.kind).keeps_record


@pytest.mark.parametrize(
    ("token", "where", "right"),
    [
        ({"ld": "sdk-1234"}, "stores.ld.token", "it is a key of SDKs, which cannot change flags: give an access token"),
        ({"ld": "Bearer api-1234"}, "stores.ld.token", "begins with Bearer: write the token alone"),
        ({"fs": "ser.1234"}, "stores.fs.token", "it is a key of server-side SDKs, which cannot change flags"),
        ({"fs": "Api-Key 12.34"}, "stores.fs.token", "begins with Api-Key: write the token alone"),
        ({"sp": "Bearer 1234"}, "stores.sp.token", "begins with Bearer: write the token alone"),
        ({"sp": "12 34"}, "stores.sp.token", "is no token: one line of letters, digits and signs, without spaces"),
    ],
)
def test_a_key_of_the_wrong_kind_is_found_at_start(tmp_path, token: dict[str, str], where: str, right: str):
    """What is no key for the API is told before anything is asked, without being shown."""
    with pytest.raises(ConfigError) as wrong:
        load_settings(written(tmp_path, **token), {})

    told = {problem.field: problem.right for problem in wrong.value.problems}
    assert right in told[where]
    assert "1234" not in str(wrong.value) and "12 34" not in str(wrong.value)


@pytest.mark.parametrize(
    ("field", "where", "right"),
    [
        ("project: shop, ", "stores.ld.project", "is missing"),
        ("token_file: FOLDER/fs", "stores.fs.token", "is missing; name a file that holds it under token_file"),
        ("environment_key: abc, ", "stores.fs.environment_key", "is missing"),
        ("workspace: ws, ", "stores.sp.workspace", "is missing"),
    ],
)
def test_what_is_missing_is_found_at_start(tmp_path, field: str, where: str, right: str):
    """A store without its project, environment, workspace or key is told with the field."""
    with pytest.raises(ConfigError) as wrong:
        load_settings(written(tmp_path, SETTINGS.replace(field, "")), {})

    assert right in {problem.field: problem.right for problem in wrong.value.problems}[where]


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ({"url": "app.launchdarkly.com"}, "is no address; write one such as"),
        ({"named_by": "key"}, "write one of name, value, index"),
        ({"timeout_s": "10"}, "must be at most 4.0"),
    ],
)
def test_a_value_that_cannot_be_is_found_at_start(tmp_path, given: dict[str, Any], right: str):
    """An address that is none, and values that are not allowed, are told with what would be right."""
    more = "".join(f", {name}: {value}" for name, value in given.items())
    with pytest.raises(ConfigError) as wrong:
        load_settings(written(tmp_path, SETTINGS.replace(', rings: "employees, beta"', more)), {})

    assert right in wrong.value.problems[0].right, wrong.value.problems
