"""What every flag store promises (`guardian.ports.FlagStore`), kept by each adapter that can be run here."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from guardian.ports import CommandKind, FlagCommand, FlagStore, UnknownFlag
from streams.stores.flagd.adapter import FlagdStore
from streams.stores.flagd.server import FlagdStoreServer
from streams.stores.flipt.kind import FliptBackend, FliptSection
from streams.stores.goff.kind import GoffBackend, GoffSection
from streams.stores.http import open_session
from streams.stores.memory import MemoryFlagStore
from streams.stores.shares.store import SharesStore
from streams.stores.togglz import TogglzBackend
from streams.stores.unleash.backend import UnleashBackend
from streams.stores.webhook.client import WebhookBackend
from tests.support.forgetful_store import ForgetfulBackend
from tests.support.receiver import SECRET, receiving
from tests.support.remembered import remembered
from tests.support.stores import togglz as real_togglz
from tests.support.stores import unleash as real_unleash
from tests.support.stores.flagsmith import Flagsmith
from tests.support.stores.flipt import TOKEN, flag, flipping, segment
from tests.support.stores.goff import KEY, relaying
from tests.support.stores.launchdarkly import LaunchDarkly
from tests.support.stores.opened import opened as opened_at
from tests.support.stores.split import Split

SAMPLE: dict[str, Any] = json.loads((Path(__file__).parents[2] / "config" / "flags.json").read_text())
SAMPLE["$evaluators"] = {
    "employees": {"ends_with": [{"var": "email"}, "@shop.example"]},
    "beta": {"in": ["beta", {"var": "programs"}]},
}
NINETY_TEN = {"control": 0.9, "treatment": 0.1}
WEBHOOK_FLAG = {"enabled": True, "shares": NINETY_TEN, "rings": {"employees": {}, "beta": {}}, "changed_by": "", "guardian": None}
STORES_PAGE = Path(__file__).parents[2] / "docs" / "stores.md"
ALL_CONTROL = {"control": 1.0, "treatment": 0.0}
Opened = AbstractAsyncContextManager[FlagStore]
_ids = itertools.count()


@asynccontextmanager
async def memory() -> AsyncIterator[FlagStore]:
    yield MemoryFlagStore(SAMPLE)


def _written(directory: str, name: str = "flags.json", text: str = "") -> Path:
    path = Path(directory, name)
    path.write_text(text or json.dumps(SAMPLE))
    return path


@asynccontextmanager
async def flagd() -> AsyncIterator[FlagStore]:
    """A real sync server and the adapter; the topic between them is a dictionary."""
    topic: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        async with FlagdStoreServer(_written(directory), port=0) as server:

            async def publish(record: dict[str, Any]) -> None:
                over_the_wire = json.loads(json.dumps(record))
                topic[f"{record['environment']}|{record['flag_key']}"] = over_the_wire
                server.apply_overlay(over_the_wire)

            store = FlagdStore(publish, topic.get, server.target)
            yield store
            await store.close()


@asynccontextmanager
async def webhook() -> AsyncIterator[FlagStore]:
    """A store of somebody's own, over HTTP, that refuses whatever its description does not allow."""
    flags = {f"production|{flag}": WEBHOOK_FLAG for flag in ("checkout-v2", "new-search")}
    async with receiving(flags) as receiver, webhook_at(receiver.url) as store:
        yield store


@asynccontextmanager
async def webhook_at(url: str) -> AsyncIterator[FlagStore]:
    async with open_session() as session:
        client = WebhookBackend(session, url=url, secret=SECRET, environment="production", timeout_s=5.0)
        yield SharesStore(client, call_s=20.0)


@asynccontextmanager
async def documented() -> AsyncIterator[FlagStore]:
    """The receiver that stands in docs/stores.md for people to begin with, as it stands there."""
    code = re.search(r"```python\n(.*?)```", STORES_PAGE.read_text(), re.DOTALL)
    assert code is not None
    example: dict[str, Any] = {"__name__": "example"}
    exec(code[1], example)
    example["SECRET"] = SECRET
    flags = {("production", flag): {**WEBHOOK_FLAG, "version": 1} for flag in ("checkout-v2", "new-search")}
    example["FLAGS"].clear()
    example["FLAGS"].update(flags)
    runner = web.AppRunner(example["app"](), access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with webhook_at(f"http://127.0.0.1:{runner.addresses[0][1]}/guardian") as store:
            yield store
    finally:
        await runner.cleanup()


@asynccontextmanager
async def noted() -> AsyncIterator[FlagStore]:
    """A store that has no place for the guardian's record and cannot compare and set; the topic is a dictionary."""
    backend = ForgetfulBackend(dict.fromkeys(("checkout-v2", "new-search"), WEBHOOK_FLAG))
    yield SharesStore(backend.noted(), call_s=20.0)


@asynccontextmanager
async def togglz() -> AsyncIterator[FlagStore]:
    """A real application with Togglz, which knows no rings and no variations but off and on."""
    async with open_session() as session:
        for feature in real_togglz.FEATURES:
            await real_togglz.percent(session, 10, feature)
        yield SharesStore(remembered(TogglzBackend(real_togglz.section(timeout_s=4.0), session)), call_s=20.0)


GOFF_FILE = """\
checkout-v2:
  variations: {control: old, treatment: new}
  targeting:
    - {name: employees, query: email ew "@shop.example", disable: true, variation: control}
    - {name: beta, query: programs co "beta", disable: true, variation: control}
  defaultRule: {percentage: {control: 90, treatment: 10}}
"""


@asynccontextmanager
async def goff() -> AsyncIterator[FlagStore]:
    """A file of GO Feature Flag, and a relay that reads it as strictly as the real one."""
    with tempfile.TemporaryDirectory() as directory:
        file = _written(directory, "flags.yaml", GOFF_FILE + GOFF_FILE.replace("checkout-v2", "new-search"))
        async with relaying(file) as relay, open_session() as session:
            section = GoffSection(kind="goff", file=str(file), relays=(relay.url,), api_key=SecretStr(KEY))
            yield SharesStore(GoffBackend(section, session), call_s=20.0)
            assert all(relay.refreshed)


@asynccontextmanager
async def flipt() -> AsyncIterator[FlagStore]:
    """Flipt v2 as its source describes it, where the revision is that of all flags together."""
    groups = [segment("everyone"), segment("employees", {"property": "email"}), segment("beta", {"property": "beta"})]
    async with flipping([flag("checkout-v2"), flag("new-search")], groups) as server, open_session() as session:
        section = FliptSection(kind="flipt", url=server.url, token=SecretStr(TOKEN))
        yield SharesStore(FliptBackend(section, session), call_s=20.0)


@asynccontextmanager
async def unleash() -> AsyncIterator[FlagStore]:
    """A real Unleash, asked by a user of the guardian's own; each test finds its flags as new."""
    people = real_unleash.Unleash()
    for key in ("checkout-v2", "new-search"):
        people.renew(key, weights={"control": 900, "treatment": 100})
    async with open_session() as session:
        backend = UnleashBackend(
            session, url=people.url, token=real_unleash.token(), project="default", at="production", environment="production",
            timeout_s=4.0,
        )  # fmt: skip
        yield SharesStore(backend, call_s=20.0)


def launchdarkly() -> Opened:
    return opened_at(LaunchDarkly())


def flagsmith() -> Opened:
    return opened_at(Flagsmith())


def split() -> Opened:
    return opened_at(Split())


REAL = {togglz: pytest.mark.togglz, unleash: pytest.mark.unleash}
"""Those that run a vendor's own server, with the tier that says where that can be had."""
STORES: list[Any] = [
    *(memory, flagd, webhook, documented, noted, goff, flipt, launchdarkly, flagsmith, split),
    *(pytest.param(opened, marks=[mark, pytest.mark.timeout(300)]) for opened, mark in REAL.items()),
]
"""Of each, how it is opened."""


@pytest.fixture(params=STORES, ids=lambda opened: opened.__name__)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[FlagStore]:
    async with request.param() as opened:
        yield opened


def command(kind: CommandKind, share: float | None = None, **fields: Any) -> FlagCommand:
    variation = "" if kind == "kill_flag" else "treatment"
    number = next(_ids)
    given = FlagCommand(f"c{number}", f"d{number}", "checkout-v2", "production", kind, variation, "control", share)
    return replace(given, **fields)


async def shares(store: FlagStore, flag_key: str = "checkout-v2") -> dict[str, float]:
    return dict((await store.read("production", flag_key)).weights)


async def test_a_flag_reads_as_it_is_served(store: FlagStore):
    """
    A state holds the variations, the share of each, whether the flag is on, and a version.
    """
    state = await store.read("production", "checkout-v2")

    assert ("checkout-v2", "production", True) == (state.flag_key, state.environment, state.enabled)
    assert (("control", "treatment"), NINETY_TEN) == (state.variations, dict(state.weights))
    assert state.version == (await store.read("production", "checkout-v2")).version != ""


@pytest.mark.parametrize(("environment", "flag_key"), [("production", "nowhere"), ("staging", "checkout-v2")])
async def test_what_the_store_does_not_have_is_an_unknown_flag(store: FlagStore, environment: str, flag_key: str):
    """
    Reading an unknown flag, or one of another environment, raises UnknownFlag; a command to it fails for good.
    """
    with pytest.raises(UnknownFlag) as unknown:
        await store.read(environment, flag_key)
    applied = await store.apply(command("kill", environment=environment, flag_key=flag_key))

    assert ("failed", str(unknown.value), None) == (applied.status, applied.detail, applied.state)


async def test_a_kill_is_applied_and_read_back(store: FlagStore):
    """
    A killed variation has no share, control has its users, and the answer is what can be read.
    """
    before = (await store.read("production", "checkout-v2")).version
    applied = await store.apply(command("kill"))

    assert "applied" == applied.status
    assert applied.state == await store.read("production", "checkout-v2")
    assert ALL_CONTROL == await shares(store)
    assert applied.version not in ("", before)
    assert NINETY_TEN == await shares(store, "new-search")


async def test_a_kill_given_twice_is_done_once(store: FlagStore):
    """
    The same command again, and another command for the same, change nothing and say so.
    """
    first = command("kill")
    done = await store.apply(first)

    again = [await store.apply(first), await store.apply(command("kill"))]

    assert ["already", "already"] == [answer.status for answer in again]
    assert [done.version] * 2 == [answer.version for answer in again]


async def test_a_flag_is_killed_whole_and_resumed(store: FlagStore):
    """
    A killed flag serves control to everybody and reads as not enabled; a resume brings back what was.
    """
    killed = await store.apply(command("kill_flag"))
    assert killed.state is not None
    assert ("applied", False, ALL_CONTROL) == (killed.status, killed.state.enabled, dict(killed.state.weights))

    resumed = await store.apply(command("resume", variation=""))

    assert resumed.state is not None
    assert ("applied", True, NINETY_TEN) == (resumed.status, resumed.state.enabled, dict(resumed.state.weights))
    assert "already" == (await store.apply(command("resume"))).status


async def test_a_share_is_set(store: FlagStore):
    """
    A variation gets the share asked for, control the rest; asked for again, nothing changes.
    """
    assert "applied" == (await store.apply(command("set_share", 0.25))).status
    assert {"control": 0.75, "treatment": 0.25} == await shares(store)

    assert "already" == (await store.apply(command("set_share", 0.25))).status


async def test_a_share_never_brings_back_what_was_killed(store: FlagStore):
    """
    A share for a killed variation, say of a stage decided before the kill, is a conflict; a resume may set one.
    """
    for stop in (command("kill"), command("kill_flag")):
        await store.apply(stop)
        late = await store.apply(command("set_share", 0.5))
        assert ("conflict", ALL_CONTROL) == (late.status, await shares(store))

        await store.apply(command("resume", 0.05))
        assert {"control": 0.95, "treatment": 0.05} == await shares(store)


async def rings(store: FlagStore) -> dict[str, dict[str, float]]:
    return {ring: dict(given) for ring, given in (await store.read("production", "checkout-v2")).rings.items()}


RINGED = [memory, flagd, webhook, documented, noted, goff, flipt, launchdarkly]
"""Those of the stores that can target rings."""


@pytest.fixture(params=RINGED, ids=lambda opened: opened.__name__)
async def ringed(request: pytest.FixtureRequest) -> AsyncIterator[FlagStore]:
    async with request.param() as opened:
        yield opened


async def test_a_store_that_cannot_target_rings_has_none(store: FlagStore, request: pytest.FixtureRequest):
    """
    A state names rings only where shares can be set for them; whoever says that it can is tried below.
    """
    assert store.capabilities.can_target_rings == bool(await rings(store))
    assert store.capabilities.can_target_rings == (request.node.callspec.params["store"] in RINGED)


async def test_a_ring_is_given_a_share_of_its_own(ringed: FlagStore):
    """
    A store that can target rings gives a named group its share and everybody else theirs; asked again, nothing changes.
    """
    store = ringed
    assert {"employees": {}, "beta": {}} == await rings(store)

    wanted = {"rings": {"employees": 1.0, "beta": 0.25}}
    assert "applied" == (await store.apply(command("set_share", 0.0, **wanted))).status
    assert ALL_CONTROL == await shares(store)
    apart = {"employees": {"control": 0.0, "treatment": 1.0}, "beta": {"control": 0.75, "treatment": 0.25}}
    assert apart == await rings(store)
    assert "already" == (await store.apply(command("set_share", 0.0, **wanted))).status

    await store.apply(command("set_share", 0.5, rings={"employees": 1.0}))
    assert {"control": 0.5, "treatment": 0.5} == await shares(store)
    assert {"employees": apart["employees"], "beta": {}} == await rings(store)
    assert {"control": 0.9, "treatment": 0.1} == await shares(store, "new-search")


@pytest.mark.parametrize("stop", ["kill", "kill_flag"])
async def test_a_kill_takes_the_variation_from_rings_as_well(ringed: FlagStore, stop: CommandKind):
    """
    After a kill no ring has the variation, a late share brings it back to none, and a resume gives back what they had.
    """
    store = ringed
    await store.apply(command("set_share", 0.05, rings={"employees": 1.0}))
    await store.apply(command(stop))

    assert ALL_CONTROL == await shares(store)
    assert not any(given.get("treatment") for given in (await rings(store)).values())
    assert "conflict" == (await store.apply(command("set_share", 0.5, rings={"employees": 1.0}))).status

    await store.apply(command("resume"))
    assert {"control": 0.95, "treatment": 0.05} == await shares(store)
    assert 1.0 == (await rings(store))["employees"]["treatment"]


async def test_a_ring_that_nobody_defined_fails_with_those_that_are(store: FlagStore):
    """
    A share for an unknown group changes nothing at all, and the answer names the groups that there are.
    """
    applied = await store.apply(command("set_share", 0.5, rings={"employes": 1.0}))

    assert "failed" == applied.status
    assert "ring 'employes' is missing" in applied.detail
    assert f"there are: {', '.join(await rings(store)) or 'none'}" in applied.detail
    assert NINETY_TEN == await shares(store)


async def test_an_old_command_delivered_again_does_nothing(store: FlagStore):
    """
    A resume that was applied before a newer kill does not undo that kill when it is delivered once more.
    """
    resume = command("resume")
    for step in (command("kill"), resume, command("kill")):
        assert "applied" == (await store.apply(step)).status

    assert "already" == (await store.apply(resume)).status
    assert ALL_CONTROL == await shares(store)


async def test_a_pause_leaves_the_share_where_it_is(store: FlagStore):
    """
    Nothing raises a share but a command or a person, so a pause has nothing to change, and says so.
    """
    before = await store.read("production", "checkout-v2")

    paused = await store.apply(command("pause"))

    assert ("already", before) == (paused.status, paused.state)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (command("kill", variation="treatmnt"), "'treatmnt' is not a variant of flag 'checkout-v2'; it has control"),
        (command("kill", control="baseline"), "'baseline' is not a variant of flag 'checkout-v2'; it has control"),
    ],
)
async def test_what_cannot_be_done_fails_with_the_reason(store: FlagStore, wrong: FlagCommand, reason: str):
    """
    A command that can never work is answered with what is wrong, and leaves the flag as it was.
    """
    applied = await store.apply(wrong)

    assert "failed" == applied.status
    assert reason in applied.detail
    assert applied.state == await store.read("production", "checkout-v2")
    assert NINETY_TEN == await shares(store)


ASKED = st.lists(
    st.tuples(st.sampled_from(["kill", "kill_flag", "resume", "set_share", "pause"]), st.sampled_from([0.0, 0.5])), max_size=8
)


@pytest.mark.parametrize("opened", STORES, ids=lambda opened: opened.__name__)
def test_a_kill_stands_until_a_resume(opened: Callable[[], Opened]):
    """
    Whatever commands come in whatever order: the share is 0 from a kill to the next resume, else the last one set.
    """

    async def scenario(asked: list[tuple[CommandKind, float]]) -> None:
        killed, share = False, 0.1
        async with opened() as store:
            for kind, wanted in asked:
                answer = await store.apply(command(kind, wanted if kind == "set_share" else None))
                killed = (killed or kind.startswith("kill")) and kind != "resume"
                if kind == "set_share" and not killed:
                    share = wanted
                assert answer.status in ("applied", "already", "conflict")
                assert (0.0 if killed else share) == (await shares(store))["treatment"]

    # A real server takes milliseconds where the others take none.
    @settings(max_examples=4 if opened in REAL else 15, deadline=None)
    @given(ASKED)
    def in_any_order(asked: list[tuple[CommandKind, float]]) -> None:
        asyncio.run(scenario(asked))

    in_any_order()
