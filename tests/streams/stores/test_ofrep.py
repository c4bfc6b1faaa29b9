"""What clients that ask over OFREP get: the protocol's answers, whatever they send."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from guardian.flagdoc import Document
from streams.stores.flagd import ofrep
from streams.stores.flagd.answers import Evaluator, quieten
from streams.stores.flagd.callers import Callers
from streams.stores.flagd.documents import Documents
from streams.stores.flagd.ofrep import BODY_MAX_BYTES, OfrepServer
from streams.stores.flagd.server import FlagdStoreServer
from tests.streams.stores.support import USERS, connect, eventually, kill_record, sample, version, write
from tests.support.hostile import hostile

FLAG = "checkout-v2"
TOKENS = ("first-token-of-many", "second-token-of-many")
SHOP = "https://shop.example.com"


class Asker:
    """Asks as a client would, and checks what every answer promises."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session, self.address = session, f"http://127.0.0.1:{port}"

    async def ask(
        self, key: str = "", *, raw: bytes | None = None, method: str = "POST", headers: dict[str, str] | None = None,
        **context: Any,
    ) -> tuple[int, Any, Mapping[str, str]]:  # fmt: skip
        """Status, answer and headers; of all flags without *key*."""
        url = f"{self.address}/ofrep/v1/evaluate/flags{f'/{key}' if key else ''}"
        body = json.dumps({"context": context}).encode() if raw is None else raw
        given = {"Content-Type": "application/json", **(headers or {})}
        async with self._session.request(method, url, data=body, headers=given) as response:
            text = await response.read()
            return response.status, json.loads(text) if text else None, response.headers


def fits_the_protocol(status: int, answer: Any, *, key: str = "") -> bool:
    """Whether this is one of the answers that the protocol's OpenAPI document has."""
    if status == 200 and not key:
        return all(
            fits_the_protocol(400 if "errorCode" in one else 200, one, key=one["key"]) for one in answer["flags"]
        )
    if status == 200:
        types = {"key": str, "reason": str, "variant": str, "metadata": dict}
        reasons = ("STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN")
        typed = all(isinstance(answer[name], types[name]) for name in answer.keys() & types)
        return typed and answer["key"] == key and answer["reason"] in reasons
    codes = {404: ["FLAG_NOT_FOUND"], 400: ["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL"]}
    named = answer.get("key", "") == key and isinstance(answer["errorDetails"], str)
    return named and answer["errorCode"] in codes[status] and len(answer["errorDetails"]) <= 200


@pytest.fixture
async def server(base_path: Path) -> AsyncIterator[FlagdStoreServer]:
    """Replaces that of the other tests: it answers over OFREP, too."""
    async with FlagdStoreServer(base_path, port=0, poll_s=0.02, ofrep_port=0) as running:
        yield running
        await asyncio.to_thread(api.shutdown)


@pytest.fixture
async def asker(server: FlagdStoreServer) -> AsyncIterator[Asker]:
    assert server.ofrep is not None
    async with aiohttp.ClientSession() as session:
        yield Asker(session, server.ofrep.port)


def rule(targeting: Any, **parts: Any) -> Document:
    """A document with one flag, which is evaluated by this rule."""
    document = sample()
    document["flags"][FLAG]["targeting"] = targeting
    return {**document, **parts}


def answer(document: Document, **context: Any) -> dict[str, Any]:
    checked = Documents(json.dumps(document).encode()).document
    return Evaluator().answer(checked, FLAG, context)


# ---------------------------------------------------------------------------- answers


async def test_the_official_provider_sees_a_kill(server: FlagdStoreServer, asker: Asker):
    """
    The official Python provider gets the users that its in-process sibling gets, and after a kill none.
    """
    domain = "over-ofrep"
    await asyncio.to_thread(api.set_provider_and_wait, OFREPProvider(asker.address), domain)
    client, synced = api.get_client(domain), await connect(server.sync.port)

    def treated(of: OpenFeatureClient) -> list[EvaluationContext]:
        return [user for user in USERS[:100] if of.get_string_details(FLAG, "", user).variant == "treatment"]

    found = await asyncio.to_thread(treated, client)
    assert found and found == treated(synced)

    server.apply_overlay(kill_record())
    await eventually(lambda: version(synced) == "1+g1")

    assert not await asyncio.to_thread(treated, client)
    assert "1+g1" == await asyncio.to_thread(version, client)
    details = await asyncio.to_thread(client.get_string_details, "gone", "safe")
    assert ("safe", ErrorCode.FLAG_NOT_FOUND) == (details.value, details.error_code)


async def test_the_generation_of_the_hash_is_pinned():
    """
    A user stays where they are when the library is updated: this is the third generation of ``fractional``.
    """
    document, evaluator = sample(), Evaluator()
    answers = [evaluator.answer(document, FLAG, {"targetingKey": f"user-{n}"})["variant"] for n in range(1000)]

    assert 99 == answers.count("treatment")
    assert [19, 30, 35, 36, 39] == [n for n, variant in enumerate(answers) if variant == "treatment"][:5]


async def test_all_flags_at_once_and_again(server: FlagdStoreServer, asker: Asker):
    """
    All flags come with an ETag; asked again with it, the answer is 304 until something changes for that user.
    """
    status, everything, headers = await asker.ask(targetingKey="u1")
    assert 200 == status and {FLAG, "new-search"} == {one["key"] for one in everything["flags"]}
    assert {"flagSetId": "shop"} == everything["metadata"]
    etag = headers["ETag"]

    for known in (etag, f'"other", {etag}', f"W/{etag}"):
        assert (304, None) == (await asker.ask(targetingKey="u1", headers={"If-None-Match": known}))[:2]
    assert 200 == (await asker.ask(targetingKey="u2", headers={"If-None-Match": etag}))[0]
    server.apply_overlay(kill_record())
    status, changed, _ = await asker.ask(targetingKey="u1", headers={"If-None-Match": etag})

    assert 200 == status and everything != changed


@pytest.mark.parametrize(
    "is_late",
    [
        {">=": [{"var": "$flagd.timestamp"}, 2_000]},
        {">=": [{"var": [{"cat": ["$flagd.", "timestamp"]}]}, 2_000]},
        {"some": [{"merge": [{"var": "$flagd"}]}, {">=": [{"var": "timestamp"}, 2_000]}]},
    ],
)
async def test_a_rule_may_ask_for_the_time(is_late: Any, base_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    A flag that turns by the clock turns for who asks again with an ETag, though nothing was changed.
    """
    now_s = 1_000.0
    library = importlib.import_module("openfeature.contrib.tools.flagd.core.targeting.targeting")
    monkeypatch.setattr(library, "time", SimpleNamespace(time=lambda: now_s))
    document = rule({"if": [is_late, "treatment", "control"]})
    write(base_path, document)
    async with FlagdStoreServer(base_path, port=0, ofrep_port=0) as server, aiohttp.ClientSession() as session:
        assert server.ofrep is not None
        asker = Asker(session, server.ofrep.port)
        _, _, headers = await asker.ask(targetingKey="u")
        again = {"If-None-Match": headers["ETag"]}
        assert 304 == (await asker.ask(targetingKey="u", headers=again))[0]

        now_s = 3_000.0
        status, turned_now, _ = await asker.ask(targetingKey="u", headers=again)

    assert 200 == status
    assert "treatment" == next(one["variant"] for one in turned_now["flags"] if one["key"] == FLAG)


async def test_who_asks_again_costs_no_evaluation(
    asker: Asker, server: FlagdStoreServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Where no rule asks for the time, 304 is answered without looking at the flags.
    """
    _, _, headers = await asker.ask(targetingKey="u")
    assert server.ofrep is not None
    monkeypatch.setattr(server.ofrep, "_evaluator", None)

    again = {"If-None-Match": headers["ETag"]}

    assert 304 == (await asker.ask(targetingKey="u", headers=again))[0]


async def test_two_servers_have_one_etag(server: FlagdStoreServer, asker: Asker, base_path: Path):
    """
    Behind one address the same document gives the same ETag, whichever server answers, and after a restart.
    """
    server.apply_overlay(kill_record())
    other = FlagdStoreServer(base_path, port=0, ofrep_port=0)
    other.apply_overlay(kill_record())
    async with other, aiohttp.ClientSession() as session:
        assert other.ofrep is not None
        theirs = await Asker(session, other.ofrep.port).ask(targetingKey="u1")
    ours = await asker.ask(targetingKey="u1")

    assert ours[2]["ETag"] == theirs[2]["ETag"]


async def test_the_guardians_own_notes_stay_here(server: FlagdStoreServer, asker: Asker):
    """
    What the guardian notes in a flag for itself, shares and commands, is not told to browsers; its version is.
    """
    server.apply_overlay(kill_record())

    _, one, _ = await asker.ask(FLAG, targetingKey="u1")

    assert {"version": "1+g1", "flagSetId": "shop"} == one["metadata"]


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ({}, {"reason": "STATIC", "variant": "control", "value": "old"}),
        ({"state": "DISABLED"}, {"reason": "DISABLED", "variant": ""}),
        ({"defaultVariant": None}, {"reason": "UNKNOWN", "variant": ""}),
        ({"targeting": {"if": [False, "treatment"]}}, {"reason": "UNKNOWN", "variant": "control", "value": "old"}),
        ({"variants": {"control": 1, "treatment": 2.5}}, {"reason": "STATIC", "variant": "control", "value": 1}),
        ({"variants": {"control": [1], "treatment": []}}, {"reason": "STATIC", "variant": "control", "value": [1]}),
        (
            {"variants": {"control": False, "treatment": True}},
            {"reason": "STATIC", "variant": "control", "value": False},
        ),
    ],
)
async def test_values_are_as_they_were_written(flag, expected):
    """
    A value keeps its type, and where the code's default holds there is none. Nobody needs a key where nothing is split.
    """
    document = rule(None)
    document["flags"][FLAG] |= flag

    found = answer(document)

    assert expected == {name: value for name, value in found.items() if name not in ("key", "metadata")}


def test_shared_rules_are_understood_with_any_letters_in_them():
    """
    A shared rule holds backslashes, quotes and letters beyond ASCII, and answers.
    """
    is_ours = {"in": ['\\1 "Grüße" \\u', {"var": "say"}]}
    document = rule({"if": [{"$ref": "ours"}, "treatment", "control"]}, **{"$evaluators": {"ours": is_ours}})

    assert "treatment" == answer(document, say='oh: \\1 "Grüße" \\u')["variant"]
    assert "control" == answer(document, say="1")["variant"]


def test_a_kill_makes_one_evaluator_anew():
    """
    After a change of one flag the others' evaluators are used as they are; one of a flag that is gone is forgotten.
    """
    documents, evaluator = Documents(json.dumps(sample()).encode()), Evaluator()
    for key in documents.document["flags"]:
        evaluator.answer(documents.document, key, {"targetingKey": "u"})
    before = dict(evaluator._compiled)

    documents.apply_overlay(kill_record())
    evaluator.answer(documents.document, FLAG, {"targetingKey": "u"})

    assert before["new-search"] is evaluator._compiled["new-search"]
    assert before[FLAG] is not evaluator._compiled[FLAG]
    alone = sample()
    del alone["flags"]["new-search"]
    documents.edit(json.dumps(alone).encode())
    evaluator.answer(documents.document, FLAG, {"targetingKey": "u"})
    assert {FLAG} == evaluator._compiled.keys()


# ---------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("key", "raw", "status", "code"),
    [
        ("gone", b"{}", 404, "FLAG_NOT_FOUND"),
        ("a/b%20c", b"{}", 404, "FLAG_NOT_FOUND"),
        (FLAG, b"", 400, "PARSE_ERROR"),
        (FLAG, b"[]", 400, "PARSE_ERROR"),
        (FLAG, b'{"context": {"targetingKey": NaN}}', 400, "PARSE_ERROR"),
        (FLAG, b'{"context": ' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"}", 400, "PARSE_ERROR"),
        (FLAG, b'{"context": []}', 400, "INVALID_CONTEXT"),
        (FLAG, b'{"context": {"targetingKey": 7}}', 400, "INVALID_CONTEXT"),
        (FLAG, b" " * (BODY_MAX_BYTES + 1), 400, "INVALID_CONTEXT"),
        (FLAG, b"{}", 400, "TARGETING_KEY_MISSING"),
        (FLAG, b'{"context": {"targetingKey": ""}}', 400, "TARGETING_KEY_MISSING"),
        ("", b"", 400, "PARSE_ERROR"),
        ("", b'{"context": null}', 400, "INVALID_CONTEXT"),
    ],
)
async def test_errors_are_the_protocols(asker: Asker, key: str, raw: bytes, status: int, code: str):
    """
    Each thing that can be wrong with a request has the code that the protocol gives it.
    """
    found, said, _ = await asker.ask(key, raw=raw)

    assert (status, code) == (found, said["errorCode"])
    assert key.replace("%20", " ") == said.get("key", "")


async def test_a_user_without_a_key_gets_what_is_not_split(server: FlagdStoreServer, asker: Asker):
    """
    Of all flags, those that are split by the key are errors for who has none; the others are answered.
    """
    server.apply_overlay(kill_record(off=True, killed={}))

    status, everything, _ = await asker.ask()

    assert 200 == status
    said = {one["key"]: one.get("variant", one.get("errorCode")) for one in everything["flags"]}
    assert {FLAG: "control", "new-search": "TARGETING_KEY_MISSING"} == said


@pytest.mark.parametrize(
    ("targeting", "code"),
    [
        ({"if": [{">": [{"/": [1, {"var": "x"}]}, 1]}, "treatment", "control"]}, "GENERAL"),
        ({"var": "x"}, "GENERAL"),
        ({"substr": ["control", 0, {"var": "x"}]}, "GENERAL"),
    ],
)
def test_a_rule_that_does_not_fit_a_context_is_an_error(targeting, code):
    """
    What JSONLogic cannot do with a context is an error of that flag, not of the server; a context that fits is answered.
    """
    given: tuple[Any, ...] = ("0", 0, "no such", 1e300, [[]], {"x": {}})

    said = [answer(rule(targeting), targetingKey="u", x=x) for x in given]

    assert code in {one.get("errorCode") for one in said}
    assert all(fits_the_protocol(400 if "errorCode" in one else 200, one, key=FLAG) for one in said)


def test_nothing_that_is_sent_is_printed(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    """
    Neither a rule's ``log`` nor a version that is none puts what callers send into our log.
    """
    quieten()
    document = rule({"if": [{"sem_ver": [{"log": [{"var": "app"}]}, ">=", "2.0.0"]}, "treatment", "control"]})

    said = answer(document, app="secret of a user")

    assert "control" == said["variant"]
    assert "treatment" == answer(document, app="2.1.0")["variant"]
    assert "secret" not in "".join(capfd.readouterr()) + caplog.text


async def test_hostile_requests_are_answered(asker: Asker, dice: random.Random):
    """
    Whatever is made of a request, the answer is one of the protocol, never a 500, and the next is answered well.
    """
    good = {"context": {"targetingKey": "u1", "email": "a@b.example", "age": 7, "tags": ["x"]}}
    variants = hostile(good, dice, huge=BODY_MAX_BYTES + 1_000, depth=20_000)
    for number in range(600):
        found, key = next(variants), FLAG if number % 2 else ""

        status, said, _ = await asker.ask(key, raw=found.value or b"")

        assert fits_the_protocol(status, said, key=key), (found.kind, status, said)
    assert 200 == (await asker.ask(FLAG, targetingKey="u1"))[0]


async def test_a_small_request_cannot_become_a_large_one(asker: Asker):
    """
    A packed body is not unpacked.
    """
    packed = gzip.compress(b'{"context": {"a": "' + b"a" * 10_000_000 + b'"}}')

    status, said, _ = await asker.ask(FLAG, raw=packed, headers={"Content-Encoding": "gzip"})

    assert (400, "PARSE_ERROR") == (status, said["errorCode"])


async def test_a_request_that_never_ends_is_let_go(asker: Asker, monkeypatch: pytest.MonkeyPatch):
    """
    Who promises a body and does not send it is answered 408 after a while.
    """
    monkeypatch.setattr(ofrep, "BODY_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(asker.address.rpartition(":")[2]))
    writer.write(b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")

    line = await asyncio.wait_for(reader.readline(), 10)

    assert b"408" in line
    writer.close()
    await writer.wait_closed()


async def test_one_who_asks_for_all_delays_nobody():
    """
    While all of 3,000 flags are evaluated for one client, another's single flag is answered in between.
    """
    flag = sample()["flags"][FLAG]
    documents = Documents(json.dumps({"flags": {f"flag-{n}": flag for n in range(3_000)}}).encode())
    server = OfrepServer("127.0.0.1", 0, documents, Callers())
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            asker = Asker(session, server.port)
            everything = asyncio.create_task(asker.ask(targetingKey="u1"))
            between = 0
            while not everything.done():
                assert 200 == (await asker.ask("flag-7", targetingKey="u1"))[0]
                between += not everything.done()
            status, all_flags, _ = everything.result()
    finally:
        await server.stop()

    assert 200 == status and 3_000 == len(all_flags["flags"])
    assert between > 10


async def test_too_many_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch, asker: Asker, server: FlagdStoreServer):
    """
    When more wait for all flags than may, the next hears 429 and when to come back; those who wait get theirs.
    """
    monkeypatch.setattr(ofrep, "WAITING_MAX", 3)
    assert server.ofrep is not None
    async with server.ofrep._turn:
        waiting = [asyncio.create_task(asker.ask(targetingKey=f"u{n}")) for n in range(3)]
        await eventually(lambda: server.ofrep and server.ofrep._waiting == 3)
        status, _, headers = await asker.ask(targetingKey="late")
        assert (429, "1") == (status, headers["Retry-After"])

    assert [200] * 3 == [found[0] for found in await asyncio.gather(*waiting)]


# ---------------------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKENS[0]}"}, 401),
        ({"Authorization": "Bearer \u00fc"}, 401),
        ({"Authorization": f"Bearer {TOKENS[0]}"}, 200),
        ({"authorization": f"bearer {TOKENS[1]}"}, 200),
        ({"X-API-Key": TOKENS[1]}, 200),
        ({"X-API-Key": TOKENS[1][:-1]}, 401),
    ],
)
async def test_only_who_shows_a_token_is_answered(base_path: Path, headers: dict[str, str], status: int):
    """
    With tokens, only those who show one get flags, as bearers or by an API key; the others hear 401, and which tokens
    there are is not said.
    """
    callers = Callers(tokens=TOKENS)
    async with FlagdStoreServer(base_path, port=0, ofrep_port=0, callers=callers) as server:
        assert server.ofrep is not None
        async with aiohttp.ClientSession() as session:
            found, said, _ = await Asker(session, server.ofrep.port).ask(FLAG, headers=headers, targetingKey="u")

    assert status == found
    assert not any(token in json.dumps(said) + repr(callers) for token in TOKENS)


async def test_pages_of_named_sites_may_ask(base_path: Path):
    """
    A browser is told that a page from a named site may ask, with its headers, also before it does; another site's not.
    """
    callers = Callers(origins=[SHOP], tokens=TOKENS)
    async with FlagdStoreServer(base_path, port=0, ofrep_port=0, callers=callers) as server:
        assert server.ofrep is not None
        async with aiohttp.ClientSession() as session:
            asker = Asker(session, server.ofrep.port)
            preflight = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
            status, _, before = await asker.ask(method="OPTIONS", headers=preflight)
            assert 204 == status
            for allowed in ("authorization", "content-type", "if-none-match"):
                assert allowed in before["Access-Control-Allow-Headers"].lower()
            refused = (await asker.ask(headers={"Origin": SHOP}))[2]
            other = (await asker.ask(headers={"Origin": "https://shop.example.com.evil"}))[2]

    assert SHOP == before["Access-Control-Allow-Origin"] == refused["Access-Control-Allow-Origin"]
    assert "ETag" in refused["Access-Control-Expose-Headers"]
    assert not any(re.match("access-control", name, re.IGNORECASE) for name in other)
