"""GO Feature Flag's file and its relays: what is changed in the file and what is left, and who is told."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import ValidationError

from demo.ports import free_ports
from guardian.ports import CommandKind, FlagCommand, StoreError, StoreUnavailable, UnknownFlag
from streams.stores.goff.document import changed, read_flag
from streams.stores.goff.file import change_text
from streams.stores.goff.kind import GoffBackend, GoffSection
from streams.stores.http import open_session
from streams.stores.shares.backend import NotTaken
from streams.stores.shares.flag import FORM, Change, Kept, Malformed
from streams.stores.shares.store import SharesStore
from tests.support.stores.goff import KEY, USERS_KEY, Relay, relaying

FILE = """\
# The flags of the shop: ü
checkout-v2:  # the new one
  variations:
    control: old   # as it was
    treatment: new
  targeting:
    # staff first
    - name: employees
      query: email ew "@shop.example"
      disable: true
      variation: control
  defaultRule:
    percentage:
      control: 90  # most
      treatment: 10

# another
search:
  variations: {"on": true, off: false}
  defaultRule:
    variation: off
"""
TEN_PARTS = """\
checkout-v2:
  variations: {control: 1, treatment: 2}
  defaultRule: {percentage: {control: 9, treatment: 1}}
"""
KILLED = Change({"control": 1.0, "treatment": 0.0}, {"employees": {}}, Kept(FORM, {}, {}))
_numbers = itertools.count(1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "flags.yaml"
    written.write_text(FILE)
    return written


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as made:
        yield made


@pytest.fixture
async def relay(file: Path) -> AsyncIterator[Relay]:
    async with relaying(file) as made:
        yield made


def store_of(session: ClientSession, file: Path, *relays: str, **fields: Any) -> SharesStore:
    section = GoffSection(**{"kind": "goff", "file": str(file), "relays": relays, "api_key": KEY, **fields})
    return SharesStore(GoffBackend(section, session))


def command(kind: CommandKind, share: float | None = None, variation: str = "treatment", **fields: Any) -> FlagCommand:
    name = f"production|checkout-v2|{variation}|{next(_numbers)}"
    given = {"flag_key": "checkout-v2", "control": "control", **fields}
    return FlagCommand(name, name, environment="production", kind=kind, variation=variation, share=share, **given)


def save(file: Path, text: str) -> None:
    """As an editor does it; no text is no file."""
    if text:
        file.write_text(text, errors="surrogateescape")
    else:
        file.unlink()


def text_of(file: Path) -> str:
    return file.read_text()


def files_beside(file: Path) -> list[Path]:
    return list(file.parent.iterdir())


async def test_a_kill_reaches_a_relay_at_once(session: ClientSession, file: Path, relay: Relay):
    """A relay that is told serves control to everybody; resumed, the same users have the variation, and growth adds to them."""
    store, before = store_of(session, file, relay.url), relay.users("checkout-v2", "treatment")
    assert 60 <= len(before) <= 140

    killed = await store.apply(command("kill"))
    assert ("applied", set()) == (killed.status, relay.users("checkout-v2", "treatment"))
    assert "relay" not in killed.detail

    await store.apply(command("resume"))
    assert before == relay.users("checkout-v2", "treatment")
    await store.apply(command("set_share", 0.333))
    assert before < relay.users("checkout-v2", "treatment")


async def test_the_sum_of_percentages_stays(session: ClientSession, file: Path):
    """Percentages that add up to 10 do so afterwards: another sum would give every user another bucket."""
    save(file, TEN_PARTS)
    async with relaying(file) as relay:
        store, before = store_of(session, file, relay.url), relay.users("checkout-v2", "treatment")
        await store.apply(command("set_share", 0.25))

        assert {"control": 7.5, "treatment": 2.5} == relay.flags["checkout-v2"]["defaultRule"]["percentage"]
        assert before < relay.users("checkout-v2", "treatment")


async def test_people_find_their_file_again(session: ClientSession, file: Path):
    """A change leaves every comment, the order and the other flags as they were: two lines are others, and one is new."""
    await store_of(session, file).apply(command("kill"))

    before, after = FILE.splitlines(), text_of(file).splitlines()
    assert ["      control: 90  # most", "      treatment: 10"] == [line for line in before if line not in after]
    new = [line for line in after if line not in before]
    assert ["      control: 100  # most", "      treatment: 0"] == new[1:]
    assert new[0].startswith('  metadata: {"guardian": "{')


async def test_json_stays_json(session: ClientSession, tmp_path: Path):
    """A JSON file is JSON afterwards, with all else in it as it was."""
    flags = {
        "checkout-v2": {"variations": {"control": 1, "treatment": 2}, "metadata": {}, "defaultRule": {"variation": "control"}},
        "search": {"variations": {"a": "é"}, "defaultRule": {"variation": "a"}},
    }
    file = tmp_path / "flags.json"
    save(file, json.dumps(flags, indent=2))
    answer = await store_of(session, file).apply(command("set_share", 0.125, from_share=0.0))

    assert "applied" == answer.status
    made = json.loads(text_of(file))
    assert {"control": 87.5, "treatment": 12.5} == made["checkout-v2"]["defaultRule"]["percentage"]
    assert flags["search"] == made["search"]


async def test_a_rule_with_a_name_is_a_ring(session: ClientSession, file: Path, relay: Relay):
    """A share for a ring switches its rule on; without one the rule is off, and people's query stays."""
    store = store_of(session, file, relay.url)
    await store.apply(command("set_share", 0.1, rings={"employees": 1.0}))
    (rule,) = relay.flags["checkout-v2"]["targeting"]
    assert (False, 'email ew "@shop.example"') == (rule["disable"], rule["query"])
    assert {"treatment": 100} == rule["percentage"]

    await store.apply(command("set_share", 0.2))
    (rule,) = relay.flags["checkout-v2"]["targeting"]
    assert rule["disable"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("key", "HTTP 401: it does not take the key: give api_key_file one of its authorizedKeys.admin"),
        ("away", "cannot be reached"),
        ("path", "or relays leads elsewhere"),
        ("blind", "could not read it"),
    ],
)
async def test_a_relay_that_cannot_be_told_keeps_no_kill(
    session: ClientSession, file: Path, relay: Relay, wrong: str, said: str
):
    """The kill stands in the file, which the relay reads by itself; the answer says what was wrong, without a secret."""
    relay.is_blind = wrong == "blind"
    url = {"away": f"http://127.0.0.1:{free_ports(1)[0]}", "path": f"{relay.url}/elsewhere"}.get(wrong, relay.url)
    store = store_of(session, file, url, api_key=USERS_KEY if wrong == "key" else KEY)

    answer = await store.apply(command("kill"))

    assert "applied" == answer.status
    assert "served by a relay when it next looks by itself: " in answer.detail
    assert said in answer.detail
    assert not [secret for secret in (KEY, USERS_KEY) if secret in answer.detail]
    assert 0.0 == read_flag(text_of(file), "checkout-v2").shares["treatment"]


async def test_two_guardians_lose_nothing(session: ClientSession, file: Path):
    """Changes of two flags at the same time, by guardians that know nothing of each other, are both in the file."""
    kill = command("kill")
    other = command("set_share", 0.5, "on", flag_key="search", control="off", from_share=0.0)
    answers = await asyncio.gather(store_of(session, file).apply(kill), store_of(session, file).apply(other))

    assert ["applied"] * 2 == [answer.status for answer in answers]
    text = text_of(file)
    assert (0.0, 0.5) == (read_flag(text, "checkout-v2").shares["treatment"], read_flag(text, "search").shares["on"])


async def test_a_change_that_people_save_meanwhile_stays(session: ClientSession, file: Path):
    """What is saved between reading and writing is found: nothing is written over it."""
    people = FILE.replace("control: 90", "control: 60").replace("treatment: 10", "treatment: 40")
    backend = GoffBackend(GoffSection(kind="goff", file=str(file)), session)
    seen = await backend.read("checkout-v2")
    save(file, people)
    with pytest.raises(NotTaken):
        await backend.write(seen, KILLED, command("kill"))

    def meanwhile(text: str) -> str:
        save(file, FILE + "# more\n")
        return text

    with pytest.raises(NotTaken):
        change_text(file, meanwhile)
    assert FILE + "# more\n" == text_of(file)
    assert [file] == files_beside(file)


def test_one_guardian_at_a_time_changes_the_file(file: Path, monkeypatch: pytest.MonkeyPatch):
    """While another guardian holds the lock of the folder nothing is written; the command is sent again."""
    monkeypatch.setattr("streams.stores.goff.file.LOCK_S", 0.05)
    other = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(StoreUnavailable) as held:
        change_text(file, lambda text: text + "# more\n")
    assert "somebody else holds the lock of its folder" in str(held.value)
    assert FILE == file.read_text()

    os.close(other)
    change_text(file, lambda text: text + "# more\n")
    assert FILE + "# more\n" == file.read_text()


def test_the_file_keeps_its_rights_and_its_link(file: Path):
    """A replaced file may be read by the same people as before, is newer than it was, and a link to it stays a link."""
    link, future_ns = file.parent / "link.yaml", time.time_ns() + 10**15
    file.chmod(0o640)
    os.utime(file, ns=(future_ns, future_ns))
    link.symlink_to(file)

    change_text(link, lambda text: text + "# more\n")

    assert file == link.readlink()
    assert FILE + "# more\n" == file.read_text()
    assert 0o640 == file.stat().st_mode & 0o777
    assert file.stat().st_mtime_ns > future_ns


async def test_a_disabled_flag_is_not_switched_on(session: ClientSession, file: Path, relay: Relay):
    """``disable`` gives everybody what stands in the code: it reads as not enabled, and only people change it."""
    save(file, FILE.replace("checkout-v2:  # the new one", "checkout-v2:\n  disable: true"))
    store = store_of(session, file, relay.url)
    assert not (await store.read("production", "checkout-v2")).enabled

    await store.apply(command("kill"))
    await store.apply(command("resume"))
    assert "" == relay.evaluate("checkout-v2", "user-1")


RULE = "defaultRule: {percentage: {b: 1}}"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (f"a: {{variations: {{b: 1}}, {RULE}, scheduledRollout: []}}", StoreError, "a.scheduledRollout: it changes shares by"),
        (f"a: {{variations: {{b: 1}}, {RULE}, experimentation: {{}}}}", StoreError, "a.experimentation: it changes shares"),
        ("a: {variations: {control: 1}, defaultRule: {progressiveRollout: {}}}", StoreError, "write percentage instead"),
        (f"a: {{variations: {{b: 1}}, targeting: [{{query: x}}], {RULE}}}", StoreError, "targeting[0]: has no name"),
        ("b: {}", UnknownFlag, "flag 'a' is not in the file"),
        ("a: {}\na: {}", Malformed, "flag 'a' is there twice"),
        ("a: [1]", Malformed, "a: it is no object"),
        ("- a", Malformed, "no object of flags"),
        ("a: {", Malformed, "it is no YAML or JSON"),
        ("", Malformed, "no object of flags"),
        ("a: {variations: {control: 1}}", Malformed, "a.defaultRule: is missing"),
        ("a: {variations: {b: 1}, defaultRule: {variation: c}}", Malformed, "'c' is no variation of the flag; there are: b"),
        ("a: {variations: {b: 1}, defaultRule: {percentage: {b: -1}}}", Malformed, "'-1' is no number from 0"),
        ("a: {variations: {b: 1}, defaultRule: {percentage: {b: .inf}}}", Malformed, "'.inf' is no number from 0"),
        ("a: {variations: {b: 1}, defaultRule: {percentage: {b: 0}}}", Malformed, "they add up to 0"),
        ("[" * 100_000, Malformed, ""),
    ],
)
def test_what_cannot_be_kept_in_order_is_told(given: str, error: type[Exception], said: str):
    """What moves by itself, what a kill would not reach and what is no configuration is named, with what would help."""
    with pytest.raises(error) as told:
        read_flag(given, "a")

    assert said in str(told.value)


def test_a_part_that_two_flags_share_is_not_changed():
    """A change of one flag that would change another one, by an anchor of YAML, is refused."""
    shared = "a: {variations: {b: 1, c: 2}, defaultRule: &rule {percentage: {b: 1, c: 1}}}\nd: {defaultRule: *rule}\n"

    with pytest.raises(StoreError) as told:
        changed(shared, "a", {"b": 1.0, "c": 0.0}, {}, "")

    assert "it shares a part with another flag or rule (a YAML anchor)" in str(told.value)


def test_whatever_is_written_is_read_back(dice: random.Random):
    """Shares of any size, in a text that was changed many times: each is read as it was written, and the text does not grow."""
    text, lengths = FILE, set()
    for _ in range(100):
        share, ring = dice.randint(0, 100_000) / 1e5, dice.choice([{}, {"control": 0.5, "treatment": 0.5}])
        shares = {"control": round(1.0 - share, 9), "treatment": share}
        text = changed(text, "checkout-v2", shares, {"employees": ring}, '{"a": "é\'\\"\\n"}')
        found = read_flag(text, "checkout-v2")
        assert (shares, ring, '{"a": "é\'\\"\\n"}') == (found.shares, found.rings["employees"], found.kept)
        lengths.add(text.count("\n"))
    assert max(lengths) <= FILE.count("\n") + 2


async def test_a_file_that_cannot_be_used_is_asked_again(session: ClientSession, file: Path):
    """A file that is away or broken, as in the middle of somebody's edit, is no answer yet: the command is sent again."""
    store = store_of(session, file)
    cannot = {"a: {": "flags.yaml cannot be used: it is no YAML", "\udcff": "it is no UTF-8", "": "cannot read it"}
    for broken, said in cannot.items():
        save(file, broken)
        with pytest.raises(StoreUnavailable) as told:
            await store.apply(command("kill"))
        assert said in str(told.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"file": "/nowhere/flags.yaml"}, "there is no such file"),
        ({"file": __file__}, "name a file that ends in .yaml, .yml or .json"),
        ({"relays": "localhost:1031"}, "is no address"),
        ({"relays": "http://localhost:1031"}, "give api_key_file one of their authorizedKeys.admin"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_errors_at_the_start(file: Path, fields: dict[str, Any], said: str):
    """Each says what would be right."""
    with pytest.raises(ValidationError) as wrong:
        GoffSection(**{"kind": "goff", "file": str(file), **fields})

    assert said in str(wrong.value)
