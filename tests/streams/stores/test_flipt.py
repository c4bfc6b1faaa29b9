"""Flipt v2's own ways: whole flags at a revision that all flags share, segments in rules, and what is left as it was."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import SecretStr, ValidationError

from guardian.ports import Applied, CommandKind, FlagCommand, StoreError
from streams.stores.flipt.document import changed, told
from streams.stores.flipt.kind import FliptBackend, FliptSection
from streams.stores.http import open_session
from streams.stores.shares.flag import Malformed
from streams.stores.shares.store import SharesStore
from tests.support.stores.flipt import TOKEN, Flipt, flag, flipping, segment

EVERYBODY = "everyone"
REVISION = "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c"
RULES = flag("checkout")["rules"]
ALL_TREATMENT = [{"variant": "treatment", "rollout": 100.0}]
_numbers = itertools.count(1)


@pytest.fixture
async def flipt() -> AsyncIterator[Flipt]:
    groups = [segment(EVERYBODY), segment("staff", {"property": "email"}), segment("beta", {"property": "beta"})]
    async with flipping([flag("checkout"), flag("search")], groups) as made:
        yield made


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as made:
        yield made


def store_of(session: ClientSession, flipt: Flipt, **fields: Any) -> SharesStore:
    section = FliptSection(**{"kind": "flipt", "url": flipt.url, "token": SecretStr(TOKEN), **fields})
    return SharesStore(FliptBackend(section, session))


def command(kind: CommandKind, share: float | None = None, **fields: Any) -> FlagCommand:
    name = f"production|checkout|treatment|{next(_numbers)}"
    given = {"flag_key": "checkout", "variation": "treatment", "control": "control", **fields}
    return FlagCommand(name, name, environment="production", kind=kind, share=share, **given)


async def test_a_kill_is_what_flipt_evaluates(session: ClientSession, flipt: Flipt):
    """Nobody gets a killed variant; resumed the same users have it, and a larger share adds to them."""
    store, before = store_of(session, flipt), flipt.users("checkout", "treatment")
    assert 60 <= len(before) <= 140

    await store.apply(command("kill"))
    assert set() == flipt.users("checkout", "treatment")
    await store.apply(command("resume"))
    assert before == flipt.users("checkout", "treatment")
    assert "applied" == (await store.apply(command("set_share", 0.333))).status
    assert before < flipt.users("checkout", "treatment")


async def test_all_that_is_not_the_guardians_is_sent_back(session: ClientSession, flipt: Flipt):
    """An update takes the place of the whole flag: names, attachments, people's metadata and other rules stay."""
    flipt.edit("checkout", metadata={"team": "payments", "size": 3})
    before = flipt.flags["checkout"]
    await store_of(session, flipt).apply(command("kill"))

    after = flipt.flags["checkout"]
    assert {"team": "payments", "size": 3} == {name: after["metadata"][name] for name in ("team", "size")}
    for name in set(before) - {"metadata", "rules"}:
        assert before[name] == after[name], name
    assert flag("search") == flipt.flags["search"]


async def test_a_persons_change_of_another_flag_is_no_conflict(session: ClientSession, flipt: Flipt):
    """Every commit moves the revision of all flags: the guardian reads again, and its change is made once."""
    edits = iter(range(3))

    def somebody() -> None:
        if next(edits, None) is not None:
            flipt.edit("search", description="newer")

    flipt.before = somebody
    answer = await store_of(session, flipt).apply(command("kill"))

    assert ("applied", 1) == (answer.status, len(flipt.changes))
    assert "newer" == flipt.flags["search"]["description"]


async def test_a_persons_change_of_the_flag_is_not_overwritten(session: ClientSession, flipt: Flipt):
    """What somebody writes between reading and changing is seen; a kill that takes it away says so."""
    edits = iter(range(1))

    def somebody() -> None:
        if next(edits, None) is not None:
            flipt.edit("checkout", rules=[{**RULES[0], "distributions": ALL_TREATMENT}])

    flipt.before = somebody
    answer = await store_of(session, flipt).apply(command("kill"))

    assert "applied" == answer.status
    assert "it overrode what people had set: 100 % of 'treatment'" in answer.detail
    assert set() == flipt.users("checkout", "treatment")


async def test_a_segment_is_a_ring(session: ClientSession, flipt: Flipt):
    """A ring gets a rule before everybody's, and loses it again; a kill reaches every rule."""
    store = store_of(session, flipt)
    await store.apply(command("set_share", 0.0, rings={"staff": 1.0}))
    assert [["staff"], [EVERYBODY]] == [rule["segments"] for rule in flipt.flags["checkout"]["rules"]]
    assert 1000 == len(flipt.users("checkout", "treatment", (EVERYBODY, "staff")))
    assert set() == flipt.users("checkout", "treatment")

    await store.apply(command("kill"))
    assert set() == flipt.users("checkout", "treatment", (EVERYBODY, "staff"))


async def test_a_rule_of_several_segments_is_killed_and_never_taken_away(session: ClientSession, flipt: Flipt):
    """It is a ring of their names; without a share of its own it deals out what everybody gets."""
    both = {"segmentOperator": "AND_SEGMENT_OPERATOR", "segments": ["staff", "beta"], "distributions": ALL_TREATMENT}
    flipt.edit("checkout", rules=[both, *RULES])
    store = store_of(session, flipt)
    assert {"control": 0.0, "treatment": 1.0} == (await store.read("production", "checkout")).rings["staff&beta"]

    await store.apply(command("kill"))
    assert set() == flipt.users("checkout", "treatment", (EVERYBODY, "staff", "beta"))
    assert both["segments"] == flipt.flags["checkout"]["rules"][0]["segments"]

    await store.apply(command("resume", 0.2))
    assert 2 == len(flipt.flags["checkout"]["rules"])


async def test_without_a_rule_everybody_has_the_default_variant(session: ClientSession, flipt: Flipt):
    """The first share makes the rule of everybody; a flag that is killed before stays without."""
    flipt.edit("checkout", rules=[])
    store = store_of(session, flipt)
    assert {"control": 1.0, "treatment": 0.0} == (await store.read("production", "checkout")).weights

    await store.apply(command("kill"))
    assert [] == flipt.flags["checkout"]["rules"]
    await store.apply(command("resume", 0.25))
    assert [[EVERYBODY]] == [rule["segments"] for rule in flipt.flags["checkout"]["rules"]]
    assert 180 <= len(flipt.users("checkout", "treatment")) <= 320


async def failed(session: ClientSession, flipt: Flipt, **fields: Any) -> Applied:
    answer = await store_of(session, flipt, **fields).apply(command("kill"))
    assert "failed" == answer.status
    assert not [secret for secret in (TOKEN, "wrong-one") if secret in answer.detail]
    return answer


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"token": "wrong-one"}, "HTTP 401: give token_file a client token of Flipt's that may read and update flags"),
        ({"flipt_environment": "prod"}, "in namespace 'default' of environment 'prod' (settings: namespace, flipt_environment)"),
        ({"namespace": "shop"}, "flag 'checkout' in namespace 'shop' of environment 'default'"),
        ({"everybody": "all"}, "has no segment 'all': make one without constraints, or name yours in `everybody`"),
        ({"everybody": "staff"}, "segment 'staff' has constraints, and so does not hold everybody"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_settings_is_told_with_the_cure(
    session: ClientSession, flipt: Flipt, fields: dict[str, Any], said: str
):
    """Token, environment, namespace and segment: each answer names the setting, and nothing is changed."""
    assert said in (await failed(session, flipt, **fields)).detail
    assert [] == flipt.changes


async def test_an_address_that_leads_elsewhere_is_told(session: ClientSession, flipt: Flipt):
    """A path too many in the address is an unknown flag, and the address is named."""
    answer = await failed(session, flipt, url=f"{flipt.url}/ui")

    assert "or url leads elsewhere" in answer.detail


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"type": "BOOLEAN_FLAG_TYPE"}, StoreError, "is a BOOLEAN_FLAG_TYPE; the guardian changes a VARIANT_FLAG_TYPE"),
        ({"rules": [*RULES, {"segments": ["staff"], "distributions": []}]}, StoreError, "rules after that of 'everyone'"),
        ({"rules": [{"segments": ["staff"], "distributions": ALL_TREATMENT}] * 2}, StoreError, "two rules of segment 'staff'"),
        ({"rules": [], "defaultVariant": None}, StoreError, "give it a default variant, or a rule"),
        ({"rules": [{"segments": ["staff"], "distributions": [{"variant": "x", "rollout": 1}]}]}, Malformed, "'x' is no variant"),
        ({"enabled": "yes"}, Malformed, "Expected `bool`, got `str`"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_in_order_is_told(fields: dict[str, Any], error: type[Exception], said: str):
    """What the guardian could not kill, or cannot read, is named with what would help."""
    with pytest.raises(error) as wrong:
        told(flag("checkout", **fields), REVISION, EVERYBODY, ())

    assert said in str(wrong.value)


@pytest.mark.parametrize("revision", ["", "0" * 40])
def test_without_a_revision_nothing_is_changed(revision: str):
    """Flipt makes an update that names no revision whatever has changed since: such an answer is not used."""
    with pytest.raises(Malformed) as wrong:
        told(flag("checkout"), revision, EVERYBODY, ())

    assert "without it no change could be refused" in str(wrong.value)


def test_whatever_is_written_is_read_back(dice: random.Random):
    """Shares in tenths of a percent, written over one another: each is read as it was written, in the order of before."""
    flag_told = told(flag("checkout"), REVISION, EVERYBODY, ())
    for _ in range(100):
        share = dice.randint(0, 1000) / 1000
        shares = {"control": round(1.0 - share, 9), "treatment": share}
        flag_told = told(changed(flag_told, shares, {}, "kept", EVERYBODY), REVISION, EVERYBODY, ())
        assert (shares, "kept") == (flag_told.shares, flag_told.kept)
    (rule,) = flag_told.payload["rules"]
    assert ["treatment", "control"] == [one["variant"] for one in rule["distributions"]]


def test_an_address_that_is_none_is_an_error_at_the_start():
    """It says what would be right."""
    with pytest.raises(ValidationError) as wrong:
        FliptSection(kind="flipt", url="flipt:8080")

    assert "is no address" in str(wrong.value)
