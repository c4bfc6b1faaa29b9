"""Togglz's own ways, against a real application: what it takes, what it serves, and what it lets happen without a word."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import ValidationError

from demo.ports import free_ports
from guardian.ports import Applied, CommandKind, FlagCommand, StoreUnavailable, UnknownFlag
from streams.stores.http import open_session
from streams.stores.shares.backend import NotTaken
from streams.stores.shares.flag import FORM, Change, Kept
from streams.stores.shares.store import SharesStore
from streams.stores.togglz import TogglzBackend, TogglzSection
from tests.support.remembered import remembered
from tests.support.stores import togglz
from tests.support.stores.togglz import edit, percent, section, treated

FLAG = "checkout-v2"
_numbers = itertools.count(1)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as made:
        yield made


@pytest.fixture
async def store(session: ClientSession) -> SharesStore:
    """A guardian at a feature that a tenth of all users has."""
    await percent(session, 10)
    return store_of(session)


def store_of(session: ClientSession, **fields: Any) -> SharesStore:
    return SharesStore(remembered(TogglzBackend(section(**{"timeout_s": 4.0, **fields}), session)), call_s=20.0)


def command(kind: CommandKind, share: float | None = None, flag: str = FLAG, **fields: Any) -> FlagCommand:
    name = f"production|{flag}|treatment|{next(_numbers)}"
    return FlagCommand(name, name, flag, "production", kind, "treatment", "control", share, **fields)


async def share(store: SharesStore) -> float:
    return (await store.read("production", FLAG)).weights["treatment"]


@pytest.mark.togglz
@pytest.mark.timeout(180)
async def test_a_kill_is_seen_by_the_application(session: ClientSession, store: SharesStore):
    """None of 1,000 users has a killed feature; resumed, the same number has it as before, and more have a larger share."""
    before = await treated(session)
    assert 60 <= before <= 140

    assert "applied" == (await store.apply(command("kill"))).status
    assert 0 == await treated(session)

    assert "applied" == (await store.apply(command("resume"))).status
    assert before == await treated(session)

    assert "applied" == (await store.apply(command("set_share", 0.5))).status
    assert 420 <= await treated(session) <= 580


@pytest.mark.togglz
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("asked", "served"), [(0.126, 0.13), (0.001, 0.01), (1.0, 1.0)])
async def test_shares_are_whole_percents(session: ClientSession, store: SharesStore, asked: float, served: float):
    """A share is rounded to a whole percent, and never to none: Togglz serves ``12.6`` to nobody, and says nothing."""
    assert "applied" == (await store.apply(command("set_share", asked))).status
    assert served == await share(store)
    assert abs(served * 1000 - await treated(session)) <= 60

    assert "already" == (await store.apply(command("set_share", asked, from_share=asked))).status


@pytest.mark.togglz
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("written", "served"),
    [
        ({"strategy": "gradual", "parameters": "percentage=12.5"}, 0.0),
        ({"strategy": "gradual", "parameters": "percentage=250"}, 1.0),
        ({"strategy": "gradual", "parameters": "percentage=-5"}, 0.0),
        ({"strategy": "Gradual", "parameters": "percentage=+20"}, 0.2),
        ({"strategy": ""}, 1.0),
        ({"enabled": False}, 0.0),
    ],
    ids=str,
)
async def test_what_people_write_reads_as_it_is_served(
    session: ClientSession, store: SharesStore, written: dict[str, Any], served: float
):
    """Whatever stands in a feature, its share is the one that users get."""
    await edit(session, **{"enabled": True, **written})

    assert served == await share(store)
    assert abs(served * 1000 - await treated(session)) <= 60


@pytest.mark.togglz
@pytest.mark.timeout(180)
async def test_another_strategy_is_switched_off_and_on_and_never_replaced(session: ClientSession, store: SharesStore):
    """A feature whose users a strategy of people's selects can be killed and resumed; a share is refused with the cure."""
    await edit(session, enabled=True, strategy="username", parameters="users=user-7")
    assert 1 == await treated(session)
    assert 1.0 == await share(store)

    refused = await store.apply(command("set_share", 0.25, from_share=1.0))
    assert "failed" == refused.status
    assert "has the strategy 'username'" in refused.detail
    assert "Choose the strategy 'gradual' in Togglz" in refused.detail

    assert "applied" == (await store.apply(command("kill"))).status
    assert 0 == await treated(session)
    assert "applied" == (await store.apply(command("resume"))).status
    assert 1 == await treated(session)


@pytest.mark.togglz
@pytest.mark.timeout(180)
async def test_an_advance_does_not_switch_on_what_people_switched_off(session: ClientSession, store: SharesStore):
    """Off is a share that people have set: an advance is a conflict, and the feature stays off."""
    await edit(session, enabled=False)

    answer = await store.apply(command("set_share", 0.25, from_share=0.1))

    assert ("conflict", 0.0) == (answer.status, answer.share)
    assert 0 == await treated(session)


@pytest.mark.togglz
@pytest.mark.timeout(180)
async def test_a_change_between_looking_and_writing_is_found(session: ClientSession, store: SharesStore):
    """Just before it is changed the feature is looked at again: what people have changed since stays."""
    backend = TogglzBackend(section(timeout_s=4.0), session)
    seen = await backend.read(FLAG)
    await percent(session, 40)
    change = Change({"control": 1.0, "treatment": 0.0}, {}, Kept(FORM, {}, {}))

    with pytest.raises(NotTaken):
        await backend.write(seen, change, command("kill"))

    assert 0.4 == await share(store)


async def failed(session: ClientSession, given: FlagCommand, **fields: Any) -> Applied:
    answer = await store_of(session, **fields).apply(given)
    assert "failed" == answer.status
    assert not [secret for secret in ("wrong-one", togglz.LOGIN[1]) if secret in answer.detail]
    return answer


@pytest.mark.togglz
@pytest.mark.timeout(180)
async def test_what_is_wrong_with_settings_is_told_with_the_cure(session: ClientSession, store: SharesStore):
    """A wrong password, a login that may only look, a wrong address, a feature nobody has: each names what helps."""
    let_in = "it does not let the guardian in. Give username and password_file, or token_file, of somebody who may POST"
    wrong = await failed(session, command("kill"), password="wrong-one")
    assert f"HTTP 401: {let_in}" in wrong.detail
    token = await failed(session, command("kill"), username="", password="", token="wrong-one")
    assert f"HTTP 401: {let_in}" in token.detail
    looks = await failed(session, command("kill"), username="reader")
    assert f"HTTP 403: {let_in}" in looks.detail

    elsewhere = await failed(session, command("kill"), url=f"{togglz.address()}/manage")
    assert "or url leads elsewhere" in elsewhere.detail
    nobodys = await failed(session, command("kill", flag="checkout-v3"))
    assert "feature 'checkout-v3', or management.endpoints.web.exposure.include leaves out togglz" in nobodys.detail
    assert 0.1 == await share(store)


@pytest.mark.togglz
@pytest.mark.parametrize("key", ["a/b", "..", "", "ü", "checkout-v2?", "checkout-v2#", "%2e"])
async def test_what_cannot_be_the_name_of_a_feature_is_asked_of_nobody(session: ClientSession, key: str):
    """A key that would lead to another address is an unknown flag."""
    with pytest.raises(UnknownFlag) as unknown:
        await TogglzBackend(section(), session).read(key)

    assert f"{key!r} is no name of a feature in Togglz" in str(unknown.value)


async def test_an_application_that_is_away_is_asked_again(session: ClientSession):
    """Where nobody listens the outcome is unknown, and the command is to be sent again."""
    away = TogglzSection(kind="togglz", url=f"http://127.0.0.1:{free_ports(1)[0]}/actuator", username="a", password="wrong-one")

    with pytest.raises(StoreUnavailable) as error:
        await SharesStore(remembered(TogglzBackend(away, session))).apply(command("kill"))

    assert "cannot be reached" in str(error.value)
    assert "wrong-one" not in f"{error.value} {away!r}"


@pytest.mark.togglz
@pytest.mark.long
async def test_an_endpoint_that_can_only_be_read_is_told_with_the_cure(session: ClientSession, tmp_path: Path):
    """Where Spring lets nobody write, a kill fails for good and names the setting that opens it."""
    (port,) = free_ports(1)
    process = togglz.launch(tmp_path, port, management_endpoint_togglz_access="read-only")
    try:
        togglz.wait(process, tmp_path, port)
        answer = await store_of(session, url=f"http://127.0.0.1:{port}/actuator").apply(command("kill"))
    finally:
        process.kill()
        process.wait()

    assert "failed" == answer.status
    assert "set management.endpoint.togglz.access to unrestricted" in answer.detail


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"url": "localhost:8080"}, "is no address"),
        ({"control": "on"}, "control and variation are both 'on'"),
        ({"username": "guardian"}, "a login needs both: give username and password_file, or token_file alone"),
        ({"password": "wrong-one"}, "a login needs both"),
        ({"username": "guardian", "password": "wrong-one", "token": "t"}, "there are two logins"),
        ({"timeout_s": 9}, "less than or equal to 4"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_errors_at_the_start(fields: dict[str, Any], text: str):
    """Each says what would be right, and shows no secret."""
    with pytest.raises(ValidationError) as wrong:
        TogglzSection(**{"kind": "togglz", "url": "http://localhost:8080/actuator", **fields})

    assert text in str(wrong.value)
    assert "wrong-one" not in str(wrong.value)
