"""The requests to a webhook store and what each answer means, over HTTP, against a receiver that refuses and fails."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from guardian.ports import FlagCommand, StoreError, StoreUnavailable, UnknownFlag
from streams.stores import http
from streams.stores.http import open_session
from streams.stores.shares.flag import Malformed
from streams.stores.shares.store import SharesStore
from streams.stores.webhook.client import WebhookBackend
from streams.stores.webhook.wire import read_answer
from streams.webhooks import key_of, message_id, signed_headers
from tests.support.receiver import FOREVER, SECRET, Fault, Receiver, receiving

FLAG: dict[str, Any] = {"enabled": True, "shares": {"control": 0.9, "treatment": 0.1}, "rings": {}, "changed_by": "ada"}
ODD_KEYS = ("a/b", "..", "ü ?&#=%2e", "a|b", "flag=x&environment=y", "+")
_numbers = itertools.count(1)


def kill(flag: str = "checkout", variation: str = "treatment") -> FlagCommand:
    name = f"production|{flag}|{variation}|{next(_numbers)}"
    return FlagCommand(name, name, flag, "production", "kill", variation, "control")


def advance(share: float) -> FlagCommand:
    name = f"production|checkout|treatment|{next(_numbers)}"
    return FlagCommand(name, name, "checkout", "production", "set_share", "treatment", "control", share, from_share=0.1)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving({f"production|{key}": FLAG for key in ("checkout", "search", *ODD_KEYS)}) as made:
        yield made


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as made:
        yield made


def store_at(session: ClientSession, receiver: Receiver, *, timeout_s: float = 2.0, **given: Any) -> SharesStore:
    options = {"url": receiver.url, "secret": SECRET, "environment": "production", **given}
    return SharesStore(WebhookBackend(session, timeout_s=timeout_s, **options))


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_whatever_a_flag_is_called_it_is_that_flag(session, receiver, key):
    """Slashes, dots, signs of addresses: the flag asked for is the one that is read and changed, and no other."""
    answer = await store_at(session, receiver).apply(kill(key))

    assert "applied" == answer.status
    assert [key] == [one["flag"] for one in receiver.effects]
    assert 0.1 == receiver.shares("checkout")["treatment"]


async def test_the_change_says_what_led_to_it(session, receiver):
    """With the shares come the command, its kind, its order and all it asks for; a store may keep a log of them."""
    await store_at(session, receiver).apply(made := advance(0.25))

    assert [
        {"flag": "checkout", "command_id": made.command_id, "decision_id": made.decision_id, "order": made.order,
         "kind": "set_share", "variation": "treatment", "control": "control", "share": 0.25, "rings": {}}
    ] == receiver.effects  # fmt: skip


CURE = "Give both sides the same secret"


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        ("401", StoreError, CURE),
        ("403", StoreError, CURE),
        ("404", UnknownFlag, "it does not have it, or webhook_store.url leads elsewhere"),
        ("400", StoreError, 'HTTP 400: {"error": "told to"}'),
        ("405", StoreError, "HTTP 405"),
        ("422", StoreError, "HTTP 422"),
        ("redirect", StoreError, "a redirect, which is not followed: write the address it leads to into webhook_store.url"),
        ("408", StoreUnavailable, "HTTP 408"),
        ("429", StoreUnavailable, "HTTP 429"),
        ("500", StoreUnavailable, "HTTP 500"),
        ("503", StoreUnavailable, "HTTP 503"),
        ("204", StoreUnavailable, "HTTP 204 to a question for a flag; 200 would be right"),
        ("html", StoreUnavailable, "Content-Type: 'text/html': answer application/json"),
        ("malformed", StoreUnavailable, "an answer that cannot be used"),
        ("huge", StoreUnavailable, "an answer of more than 256 KiB"),
        ("reset", StoreUnavailable, "cannot be reached (ServerDisconnectedError)"),
        ("hang", StoreUnavailable, "does not answer within 0.3 s"),
    ],
)
async def test_what_an_answer_means(session, receiver, status, error, text):
    """Each answer to a question is worth another try or is not; the text says what would be right and shows no secret."""
    receiver.fail("checkout", Fault(status, times=FOREVER))
    store = store_at(session, receiver, timeout_s=0.3)

    with pytest.raises(StoreError) as failed:
        await store.read("production", "checkout")

    assert error is type(failed.value)
    assert text in str(failed.value)
    assert not [word for word in ("whsec", "hidden", SECRET[6:]) if word in str(failed.value)]
    assert [] == receiver.effects


@pytest.mark.parametrize("status", ["401", "403", "400", "413", "422", "redirect"])
async def test_a_refused_change_fails_for_good(session, receiver, status):
    """What the store refuses to do is an answer with its reason, and nothing that is tried again."""
    receiver.fail("checkout", Fault(status, times=FOREVER, method="PUT"))

    answer = await store_at(session, receiver).apply(kill())

    assert ("failed", None) == (answer.status, answer.state)
    assert "the webhook store at 127.0.0.1:" in answer.detail
    assert "whsec" not in answer.detail


async def test_another_secret_is_refused_and_the_cure_named(session, receiver):
    """A guardian with another secret than the receiver's is told to give both the same; neither is shown."""
    other = f"whsec_{base64.b64encode(b'x' * 32).decode()}"
    answer = await store_at(session, receiver, secret=other).apply(kill())

    assert "failed" == answer.status
    assert CURE in answer.detail
    assert other not in answer.detail
    assert SECRET not in answer.detail


async def test_a_signature_is_of_its_moment_and_its_request(session, receiver):
    """An hour-old signature is refused, and one that is taken from a question about another flag as well."""
    late = WebhookBackend(
        session, url=receiver.url, secret=SECRET, environment="production", timeout_s=2.0, now=lambda: time.time() - 3_600
    )
    with pytest.raises(StoreError, match="HTTP 401"):
        await late.read("checkout")
    asked = message_id("GET", "production", "search", "", hashlib.sha256(b"").hexdigest())
    headers = signed_headers(key_of("", SECRET), asked, time.time(), b"")
    async with session.get(f"{receiver.url}?environment=production&flag=search", headers=headers) as given:
        assert 200 == given.status
    async with session.get(f"{receiver.url}?environment=production&flag=checkout", headers=headers) as taken:
        assert 401 == taken.status


@pytest.mark.parametrize("status", ["409", "412"])
async def test_a_change_that_came_second_is_decided_anew(session, receiver, status):
    """Told that the flag has changed, the guardian reads it again, decides again and changes it then."""
    receiver.fail("checkout", Fault(status, times=2, method="PUT"))

    answer = await store_at(session, receiver).apply(kill())

    assert "applied" == answer.status
    assert 1 == len(receiver.effects)
    assert ["GET", "PUT"] * 3 + ["GET"] == [method for method, *_ in receiver.answered]


@pytest.mark.parametrize("lost", ["lost", "late"])
async def test_a_change_whose_answer_is_lost_is_found_by_reading(session, receiver, lost):
    """Made and not heard of: the change is read back, in this call or the next, and never made twice."""
    receiver.fail("checkout", Fault(lost, s=0.0, method="PUT"))

    answer = await store_at(session, receiver, timeout_s=0.5).apply(kill())

    assert ("applied", 0.0) == (answer.status, receiver.shares("checkout")["treatment"])
    assert 1 == len(receiver.effects)


async def test_a_change_that_may_still_come_is_of_unknown_outcome(session, receiver):
    """A change that was sent and is not there yet is not known to be lost; sent again, it is made once in effect."""
    receiver.fail("checkout", Fault("hang", method="PUT"))
    store, made = store_at(session, receiver, timeout_s=0.3), kill()

    with pytest.raises(StoreUnavailable, match="unknown outcome; read back before sending again"):
        await store.apply(made)
    answers = [await store.apply(made), await store.apply(made)]

    assert ["applied", "already"] == [one.status for one in answers]
    assert [made.command_id] == [one["command_id"] for one in receiver.effects]


@pytest.mark.parametrize("status", ["429", "503"])
async def test_a_store_that_asks_for_peace_has_it(session, receiver, status):
    """After Retry-After nothing is asked for so long, of any flag; then it goes on."""
    receiver.fail("checkout", Fault(status, s=1.0))
    store = store_at(session, receiver)
    with pytest.raises(StoreUnavailable, match=rf"HTTP {status}"):
        await store.apply(kill())
    until_s, asked = time.monotonic() + 1.0, len(receiver.answered)

    with pytest.raises(StoreUnavailable, match=r"asked to be left alone for 1 s; it is asked again in"):
        await store.read("production", "search")
    assert asked == len(receiver.answered)
    while True:
        try:
            answer = await store.apply(kill())
            break
        except StoreUnavailable:
            assert time.monotonic() < until_s + 5.0
            await asyncio.sleep(0.02)

    assert "applied" == answer.status
    assert time.monotonic() >= until_s - 0.05


async def test_peace_has_an_end(session, receiver, monkeypatch):
    """A store that asks for a day is asked again after a minute (here a moment): kills wait."""
    monkeypatch.setattr(http, "LONGEST_PEACE_S", 0.05)
    receiver.fail("checkout", Fault("503", s=86_400.0))
    store = store_at(session, receiver)
    with pytest.raises(StoreUnavailable):
        await store.apply(kill())
    deadline_s = time.monotonic() + 5.0
    while not receiver.effects:
        assert time.monotonic() < deadline_s
        try:
            await store.apply(kill())
        except StoreUnavailable:
            await asyncio.sleep(0.02)


async def test_nobody_there_is_worth_another_try(session, receiver):
    """A refused connection is transient; the text names host and port, and not the path."""
    with pytest.raises(StoreUnavailable, match=r"the webhook store at 127\.0\.0\.1:9 cannot be reached") as failed:
        await store_at(session, receiver, url="http://127.0.0.1:9/s3cr3t").apply(kill())

    assert "s3cr3t" not in str(failed.value)


async def test_a_slow_store_is_waited_for(session, receiver):
    """A store that takes its time for every request, and still answers in time, does what it is asked."""
    receiver.fail("checkout", Fault("slow", s=0.3, times=FOREVER))

    assert "applied" == (await store_at(session, receiver).apply(kill())).status


async def test_one_call_ends_before_act_gives_it_up(session, receiver):
    """However its requests add up, a call is over in time and says how far it had come."""
    receiver.fail("checkout", Fault("slow", s=0.3, times=FOREVER))
    client = WebhookBackend(session, url=receiver.url, secret=SECRET, environment="production", timeout_s=2.0)

    with pytest.raises(StoreUnavailable, match=r"0\.5 s have passed: unknown outcome; read back"):
        await SharesStore(client, call_s=0.5).apply(kill())


async def test_a_store_that_rounds_what_it_must_not_is_told_of(session, receiver):
    """Shares that the store keeps otherwise than they were sent are a failure that shows both."""
    made = receiver._store  # the receiver's own way to keep a flag

    def rounding(key: str, fields: dict[str, Any]) -> None:
        made(key, {**fields, "shares": {name: round(share, 1) for name, share in fields["shares"].items()}})

    receiver._store = rounding
    answer = await store_at(session, receiver).apply(advance(0.25))

    assert "failed" == answer.status
    assert "the store keeps other shares than it was sent: {'control': 0.8, 'treatment': 0.2}" in answer.detail


async def test_two_guardians_never_undo_each_others_work(session, receiver):
    """Two stores over one receiver, with commands to one flag at once: each takes effect, none is lost, none doubled."""
    receiver.flags["production|checkout"]["shares"] = {"control": 0.4, "treatment": 0.2, "other": 0.4}
    first, second = store_at(session, receiver), store_at(session, receiver)
    one, two = kill(), kill(variation="other")

    await asyncio.gather(first.apply(one), second.apply(two), second.apply(one), first.apply(two))

    assert {"control": 1.0, "treatment": 0.0, "other": 0.0} == receiver.shares("checkout")
    assert sorted((one.command_id, two.command_id)) == sorted(effect["command_id"] for effect in receiver.effects)


def body(**fields: Any) -> bytes:
    return json.dumps({"flag": "checkout", "environment": "production", **FLAG, **fields}).encode()


@pytest.mark.parametrize(
    ("given", "etag", "text"),
    [
        (body(), None, "ETag: None: answer a strong one"),
        (body(), 'W/"7"', "answer a strong one"),
        (b"[" * 100_000, '"7"', ""),
        (body(flag="search"), '"7"', "asked for was 'checkout' in 'production'; is a cache between?"),
        (body(shares={}), '"7"', "shares: {}: name every variation"),
        (body(shares={"a": "1"}), '"7"', "Expected `float`, got `str` - at `$.shares"),
        (body(shares={"a": 1.5}), '"7"', "shares.a: 1.5 is not a share from 0 to 1"),
        (body(shares={"a": 0.5}), '"7"', "shares: they add up to 0.5, not to 1"),
        (body(rings={"staff": {"b": 1.0}}), '"7"', "rings.staff.b: is no variation of the flag"),
        (body(guardian={"form": 1}), '"7"', "`$.guardian`"),
        (body(guardian={"form": 9, "overlay": {"version": 1}, "written": {}}), '"7"', "or null to have all it decided forgotten"),
        (b'{"flag": "checkout", "environment": "production", "shares": {"a": NaN}}', '"7"', "JSON is malformed"),
    ],
)
def test_what_is_wrong_with_an_answer_is_named(given, etag, text):
    """Each field that is missing or cannot be is named with its value and what would be right."""
    with pytest.raises(Malformed) as wrong:
        read_answer(given, etag, "production", "checkout")

    assert text in str(wrong.value)
