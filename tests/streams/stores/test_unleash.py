"""Flags in a real Unleash: what the guardian makes of them, what it changes and leaves alone, and what it refuses."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st
from UnleashClient import UnleashClient  # type: ignore[attr-defined]

from guardian.journal import ReceiptEntry
from guardian.ports import CommandKind, FlagCommand, StoreError, StoreUnavailable, UnknownFlag
from streams.apps.doctor import stores
from streams.settings import Settings, load_settings
from streams.stores.http import Answer, open_session
from streams.stores.shares.backend import News
from streams.stores.shares.flag import Change, Seen
from streams.stores.shares.store import SharesStore
from streams.stores.unleash.backend import EDITS, UnleashBackend
from streams.wiring import open_flag_store
from tests.streams.apps.doctor_support import policy, settings_of, wrong
from tests.streams.stores.support import eventually
from tests.streams.stores.test_orders import Judged, ends_at_what_judge_says, steps
from tests.streams.test_noticing import Journal
from tests.support.stores.unleash import SDK, Unleash, hook_port, token, weights_of
from tests.support.stores.unleash.people import USER, VIEWER

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(180)]

SPLIT = {"control": 900, "treatment": 100}
USERS = [{"userId": f"user-{number}"} for number in range(1000)]
_numbers = itertools.count(1)


class Meddled(UnleashBackend):
    """Just before each change something may happen."""

    before: Callable[[], None] = staticmethod(lambda: None)

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        self.before()
        return await super().write(seen, change, command)


def command(flag: str, kind: Any, share: float | None = None, *, variation: str = "treatment", **more: Any) -> FlagCommand:
    name = f"production|{flag}|{variation}|{next(_numbers)}"
    about = "" if kind == "kill_flag" else variation
    return FlagCommand(name, name, flag, "production", kind, about, more.pop("control", "control"), share, **more)


@pytest.fixture
def people() -> Unleash:
    return Unleash()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as made:
        yield made


def backend_at(session: ClientSession, **given: Any) -> Meddled:
    options = {"url": Unleash().url, "project": "default", "at": "production", "environment": "production", "timeout_s": 4.0}
    return Meddled(session, **{"token": token(), **options, **given})


@pytest.fixture
def backend(session: ClientSession) -> Meddled:
    return backend_at(session)


@pytest.fixture
def store(backend: Meddled) -> SharesStore:
    return SharesStore(backend, call_s=20.0)


async def shares(store: SharesStore, flag: str) -> dict[str, float]:
    return dict((await store.read("production", flag)).weights)


# ---------------------------------------------------------------------------- what is changed, and what is left alone


async def test_a_kill_and_a_resume_leave_all_else_as_people_wrote_it(store: SharesStore, people: Unleash):
    """Payloads, stickiness, title and rollout come through a kill and a resume; the weights are then as they were."""
    flag = people.flag(weights=SPLIT, rollout="40", title="ten percent")
    before = people.strategy(flag)

    await store.apply(command(flag, "kill"))
    killed = people.strategy(flag)
    assert {"control": 1000, "treatment": 0} == weights_of(killed)
    await store.apply(command(flag, "resume"))

    after = people.strategy(flag)
    assert weights_of(before) == weights_of(after)
    for strategy in (killed, after):
        assert [one["payload"] for one in before["variants"]] == [one["payload"] for one in strategy["variants"]]
        assert [one["stickiness"] for one in before["variants"]] == [one["stickiness"] for one in strategy["variants"]]
        assert ("40", "ten percent") == (strategy["parameters"]["rollout"], strategy["title"])


async def test_other_variants_keep_their_weights_whatever_unleash_spreads(store: SharesStore, people: Unleash):
    """Unleash spreads the rest equally over variable variants: a kill among three of them moves nobody but the killed."""
    flag = people.flag(variants=[{"name": name, "weight": 0, "weightType": "variable", "stickiness": "userId"} for name in "abc"])
    had = weights_of(people.strategy(flag))

    applied = await store.apply(command(flag, "kill", variation="b", control="a"))

    assert "applied" == applied.status, applied.detail
    assert {"a": had["a"] + had["b"], "b": 0, "c": had["c"]} == weights_of(people.strategy(flag))


@pytest.mark.parametrize(("variants", "treatment"), [({}, "enabled"), ({"new": 1000}, "new")])
async def test_without_variants_the_rollout_is_the_share(store: SharesStore, people: Unleash, variants: Any, treatment: str):
    """Who is outside the rollout has ``disabled``; a kill leaves nobody inside, and a resume brings back who was."""
    flag = people.flag(weights=variants, rollout="10")
    assert {"disabled": 0.9, treatment: 0.1} == await shares(store, flag)
    about = {"variation": treatment, "control": "disabled"}

    for kind, share, rollout in (
        ("kill", None, "0"),
        ("resume", None, "10"),
        ("set_share", 0.25, "25"),
        ("step_back", 0.1, "10"),
        ("kill_flag", None, "0"),
    ):
        applied = await store.apply(command(flag, kind, share, **about))
        assert ("applied", rollout) == (applied.status, people.strategy(flag)["parameters"]["rollout"]), (kind, applied.detail)

    assert weights_of(people.strategy(flag)) == dict(variants)


@pytest.mark.parametrize(("weights", "asked", "given"), [(SPLIT, 0.12345, 0.123), (SPLIT, 0.0001, 0.001), ({}, 0.126, 0.13)])
async def test_shares_are_rounded_to_what_unleash_can_hold(
    store: SharesStore, people: Unleash, weights: Any, asked: float, given: float
):
    """A thousandth is the finest weight and a percent the finest rollout; the next advance is decided on what was set."""
    flag = people.flag(weights=weights, rollout="100" if weights else "1")
    about = {} if weights else {"variation": "enabled", "control": "disabled"}

    first = await store.apply(command(flag, "set_share", asked, **about))
    assert given == (await shares(store, flag))[about.get("variation", "treatment")]
    again = await store.apply(command(flag, "set_share", asked, **about))
    next_one = await store.apply(command(flag, "set_share", 0.5, from_share=asked, **about))

    assert ["applied", "already", "applied"] == [one.status for one in (first, again, next_one)]


async def test_a_flag_that_is_off_stays_off(store: SharesStore, people: Unleash):
    """Nothing the guardian does switches an environment on or off, or adds a strategy: each has done harm elsewhere."""
    flag = people.flag(weights=SPLIT, on=False)
    for kind in ("kill", "resume", "kill_flag", "resume"):
        await store.apply(command(flag, kind))

    state = await store.read("production", flag)
    assert (False, {"control": 0.9, "treatment": 0.1}) == (state.enabled, dict(state.weights))
    assert 1 == len(people.strategies(flag))
    assert {"feature-strategy-update"} == {one["type"] for one in people.events(flag) if one["createdBy"] == USER}


async def test_other_environments_are_left_alone(store: SharesStore, people: Unleash):
    """A kill in production changes nothing in development."""
    flag = people.flag(weights=SPLIT)
    elsewhere = Unleash("development")
    elsewhere.add(flag, weights=SPLIT)

    await store.apply(command(flag, "kill"))

    assert SPLIT == weights_of(elsewhere.strategy(flag))


async def test_an_environment_may_have_another_name_in_unleash(session: ClientSession, people: Unleash):
    """``unleash_environment`` says which; the guardian goes on calling it by its own."""
    flag = people.flag(weights=SPLIT)
    store = SharesStore(backend_at(session, environment="live"), environment="live")

    assert 0.1 == (await store.read("live", flag)).weights["treatment"]


# ---------------------------------------------------------------------------- people


async def test_the_record_comes_through_a_save_in_the_page(store: SharesStore, people: Unleash):
    """The page sends back every parameter, and so what was decided is known; the weights are people's from then on."""
    flag = people.flag(weights=SPLIT)
    await store.apply(command(flag, "kill"))
    people.weigh(flag, {"control": 400, "treatment": 600})

    applied = await store.apply(command(flag, "kill"))

    assert "applied" == applied.status
    assert applied.detail.endswith("it overrode what people had set: 60 % of 'treatment', last changed by admin")


async def test_an_advance_does_not_overwrite_people(store: SharesStore, people: Unleash):
    """An advance that was decided on another share than people have set is a conflict that names theirs."""
    flag = people.flag(weights=SPLIT)
    await store.apply(command(flag, "set_share", 0.2, from_share=0.1))
    people.weigh(flag, {"control": 950, "treatment": 50})

    applied = await store.apply(command(flag, "set_share", 0.3, from_share=0.2))

    assert ("conflict", 0.05) == (applied.status, applied.share)
    assert {"control": 950, "treatment": 50} == weights_of(people.strategy(flag))


@pytest.mark.parametrize("edit", ["weights", "rollout", "title", "constraint"])
async def test_a_change_in_between_is_not_overwritten(store: SharesStore, backend: Meddled, people: Unleash, edit: str):
    """What a person saves between the look and the change refuses the change; the flag is looked at again, and then killed."""
    flag = people.flag(weights=SPLIT)
    edits = {
        "weights": lambda: people.weigh(flag, {"control": 300, "treatment": 700}),
        "rollout": lambda: people.roll(flag, "55"),
        "title": lambda: people.save(flag, title="mine"),
        "constraint": lambda: people.save(flag, constraints=[{"contextName": "userId", "operator": "IN", "values": ["1"]}]),
    }
    backend.before = _once(edits[edit])

    applied = await store.apply(command(flag, "kill"))

    after = people.strategy(flag)
    if edit == "constraint":
        assert ("failed", 1) == (applied.status, len(after["constraints"]))
        return
    assert ("applied", 0) == (applied.status, weights_of(after)["treatment"])
    assert ("overrode what people had set: 70 %" in applied.detail) == (edit == "weights")
    assert ("55" if edit == "rollout" else "100") == after["parameters"]["rollout"]
    assert ("mine" if edit == "title" else None) == after["title"]


async def test_what_people_change_is_noticed_without_a_command(session: ClientSession, store: SharesStore, people: Unleash):
    """
    The log names each change of what a flag serves, its author, and before and after; not titles, and not the guardian's own.
    """
    flag, watched = people.flag(weights=SPLIT), backend_at(session)
    assert (await watched.news()).touched is None

    await store.apply(command(flag, "kill"))
    people.save(flag, title="a better one")
    people.weigh(flag, {"control": 700, "treatment": 300})
    people.switch(flag, "off")
    news = await watched.news()
    found = [(one.flag_key, one.by, one.what) for one in news.edits]

    before, after = "{'control': 1000, 'treatment': 0}", "{'control': 700, 'treatment': 300}"
    told = f"strategy-update: rollout 100 %, weights {before}; now rollout 100 %, weights {after}"
    assert [(flag, "admin", told), (flag, "admin", "switched off")] == found
    assert frozenset({flag}) == news.touched
    assert News([], frozenset()) == await watched.news()


async def test_where_more_has_happened_than_was_asked_for_any_flag_may_be_another(session: ClientSession, people: Unleash):
    """A hundred changes between two looks: what came before the oldest of them is not told, so all flags are read again."""
    flag, watched = people.flag(weights=SPLIT), backend_at(session)
    await watched.news()

    for number in range(EDITS):
        people.ask("POST", f"features/{flag}/tags", {"type": "simple", "value": f"tag-{number}"})

    assert (await watched.news()).touched is None
    assert flag in await watched.flags()


def _settings(people: Unleash, folder: Path, flag: str, poll_s: float, **sections: Any) -> Settings:
    (folder / "token").write_text(token())
    section = {
        "kind": "unleash", "url": people.url, "token_file": str(folder / "token"), "poll_s": poll_s, "timeout_s": 4.0,
        "propagation_s": 40, "flags": [flag],
    }  # fmt: skip
    (folder / "guardian.yaml").write_text(json.dumps({"stores": {"web": section}, **sections}))
    return load_settings(folder / "guardian.yaml", {})


def _shares_told(journal: Journal, flag: str) -> list[tuple[float, int]]:
    given = [entry.serves for entry in journal.entries(flag) if isinstance(entry, ReceiptEntry)]
    return [(one.shares["treatment"], one.order) for one in given if one is not None]


async def test_act_is_wired_to_it_by_settings(people: Unleash, tmp_path: Path):
    """
    As settings say it: commands reach the flag; what people change there comes into the journal, named, and what the flag
    gives whom at the start and after each change, with the number of the decision in it.
    """
    flag, journal = people.flag(weights=SPLIT), Journal()
    kill = command(flag, "kill")

    async with open_flag_store(_settings(people, tmp_path, flag, 0.5), journal) as store:  # type: ignore[arg-type]
        await eventually(lambda: _shares_told(journal, flag) == [(0.1, 0)], within_s=30.0)
        before = len(journal.changes)
        assert "applied" == (await store.apply(kill)).status
        await eventually(lambda: _shares_told(journal, flag)[1:] == [(0.0, kill.order)], within_s=30.0)
        people.weigh(flag, {"control": 700, "treatment": 300})
        await eventually(lambda: _shares_told(journal, flag)[2:] == [(0.3, kill.order)], within_s=30.0)
    (changed,) = journal.changes[before:]
    assert ("changed", "admin") == (changed.action, changed.by)
    assert "'treatment': 300" in changed.reason
    last = journal.written[-1][2]
    assert (changed.id, 40_000) == (last.change, last.propagation_ms)


async def test_a_strategy_that_was_removed_in_between_is_no_change(store: SharesStore, backend: Meddled, people: Unleash):
    """Removed and made anew by a person: the new one is looked at, and killed."""
    flag = people.flag(weights=SPLIT)
    place = f"projects/default/features/{flag}/environments/production/strategies"

    def remade() -> None:
        people.ask("DELETE", f"{place}/{people.strategy(flag)['id']}")
        people.add(flag, weights={"control": 500, "treatment": 500})

    backend.before = _once(remade)

    assert "applied" == (await store.apply(command(flag, "kill"))).status
    assert {"control": 1000, "treatment": 0} == weights_of(people.strategy(flag))


async def test_what_was_changed_in_the_same_moment_is_told(session: ClientSession, people: Unleash):
    """
    Unleash compares before its transaction: of two changes at once both may be taken, and the second overwrites the first.
    The log shows that, so whoever came second says what it overwrote, or, where the log was too slow, that it may have.
    """
    for _ in range(5):
        flag = people.flag(weights={"control": 600, "blue": 200, "green": 200})
        first, second = (SharesStore(backend_at(session), call_s=20.0) for _ in range(2))
        answers = await asyncio.gather(
            first.apply(command(flag, "kill", variation="blue")), second.apply(command(flag, "kill", variation="green"))
        )
        after = weights_of(people.strategy(flag))
        if (after["blue"], after["green"]) != (0, 0):
            said = [one.detail for one in answers]
            assert any("it overwrote what rollout-guardian changed in" in one or "is lost" in one for one in said), said


def _once(act: Callable[[], None]) -> Callable[[], None]:
    left = [act]
    return lambda: left.pop()() if left else None


@pytest.mark.long
@settings(max_examples=20, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_unleash_ends_at_what_judge_says(wanted: list[tuple[CommandKind, str, float]], dice: random.Random):
    """Whatever is lost, late or repeated, in whatever order: the flag ends where judge believes it to be."""

    async def scenario() -> None:
        Unleash().renew("checkout", weights={"control": 600, "blue": 200, "green": 200})
        async with open_session() as session:
            store = SharesStore(backend_at(session), call_s=20.0)
            await ends_at_what_judge_says(Judged(store), wanted, dice)

    asyncio.run(scenario())


# ---------------------------------------------------------------------------- what is refused, and what cures it

ONE_USER = [{"contextName": "userId", "operator": "IN", "values": ["1"]}]


def _two(people: Unleash) -> str:
    people.add(flag := people.flag(weights=SPLIT), rollout="50")
    return flag


def _none(people: Unleash) -> str:
    people.ask("POST", "projects/default/features", {"name": "empty", "type": "release"})
    return "empty"


def _another_kind(people: Unleash) -> str:
    people.ask("POST", "projects/default/features", {"name": "plain", "type": "release"})
    place = "projects/default/features/plain/environments/production/strategies"
    people.ask("POST", place, {"name": "default", "parameters": {}, "constraints": []})
    return "plain"


def _segment(people: Unleash) -> str:
    made = people.ask("POST", "segments", {"name": "beta", "constraints": ONE_USER})
    return people.flag(weights=SPLIT, segments=[made["id"]])


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (_two, "has 2 strategies that are not disabled (flexibleRollout, flexibleRollout)"),
        (_none, "has 0 strategies that are not disabled (none)"),
        (lambda people: people.flag(weights=SPLIT, constraints=ONE_USER), "its strategy has constraints"),
        (_segment, "its strategy has segments"),
        (_another_kind, "is served by strategy 'default'"),
        (lambda people: people.flag(weights={"disabled": 500, "b": 500}), "has a variant 'disabled'"),
        (lambda people: people.flag(rollout="12.5"), "rollout: '12.5' is no whole number of percent; write one from 0 to 100"),
    ],
    ids=["two", "none", "constraint", "segment", "other strategy", "variant disabled", "half a percent"],
)
async def test_what_is_no_share_is_refused(store: SharesStore, people: Unleash, made: Callable[[Unleash], str], text: str):
    """A flag that is served otherwise than by one split of everybody is not guessed at: the text says what it has."""
    flag = made(people)
    before = people.strategies(flag)

    applied = await store.apply(command(flag, "kill"))

    assert "failed" == applied.status
    assert text in applied.detail
    assert before == people.strategies(flag)


async def test_a_disabled_strategy_serves_nobody_and_is_left_alone(store: SharesStore, people: Unleash):
    """Beside the one strategy in force a disabled one may stand, and is as it was after a kill."""
    people.add(flag := people.flag(weights=SPLIT), weights=SPLIT, disabled=True)

    assert "applied" == (await store.apply(command(flag, "kill"))).status

    in_force, disabled = sorted(people.strategies(flag), key=lambda one: one["disabled"])
    assert ({"control": 1000, "treatment": 0}, SPLIT) == (weights_of(in_force), weights_of(disabled))


async def test_a_record_that_came_with_a_copy_is_none(store: SharesStore, people: Unleash):
    """Whoever copies a flag's strategy copies the record in it, too: it is that of the other flag, and forgotten."""
    first = people.flag(weights=SPLIT)
    await store.apply(command(first, "kill"))
    copied = people.flag(weights=SPLIT, parameters=people.strategy(first)["parameters"])

    assert {"control": 0.9, "treatment": 0.1} == await shares(store, copied)
    assert "applied" == (await store.apply(command(copied, "set_share", 0.2, from_share=0.1))).status


async def test_more_than_everybody_is_everybody(store: SharesStore, people: Unleash):
    """Unleash takes a rollout of 150 %: SDKs serve everybody then, and that is the share."""
    flag = people.flag(rollout="150")

    assert {"disabled": 0.0, "enabled": 1.0} == await shares(store, flag)


def _archived(people: Unleash) -> str:
    people.ask("DELETE", f"projects/default/features/{(flag := people.flag(weights=SPLIT))}")
    return flag


@pytest.mark.parametrize(
    ("made", "given", "error", "text"),
    [
        (None, {"token": "user:0123456789"}, StoreError, "Make a personal access token of a user who is the guardian's"),
        (None, {"token": SDK["production"]}, StoreError, "this is a token of SDKs. The guardian needs a personal access token"),
        (lambda _: "nowhere", {}, UnknownFlag, 'no feature named "nowhere" in project "default"'),
        (lambda _: "a/b", {}, UnknownFlag, "'a/b' cannot be in Unleash"),
        (lambda _: "..", {}, UnknownFlag, "'..' cannot be in Unleash"),
        (_archived, {}, UnknownFlag, "it may be archived"),
        (None, {"project": "web"}, UnknownFlag, 'but there\'s a feature with that name in project "default"'),
        (None, {"at": "live"}, UnknownFlag, "'live' in Unleash; write unleash_environment. There are: development, production"),
        (None, {"path": "/elsewhere"}, StoreUnavailable, "is url the address of Unleash itself"),
        (None, {"url": "http://127.0.0.1:9"}, StoreUnavailable, "Unleash at 127.0.0.1:9 cannot be reached"),
    ],
    ids=["token", "sdk token", "flag", "slash", "dots", "archived", "project", "environment", "path", "nobody there"],
)
async def test_what_is_wrong_names_its_cure(
    session: ClientSession, people: Unleash, made: Any, given: dict[str, str], error: type[StoreError], text: str
):
    """An expired token, a wrong project, a flag that is archived and the like: the text says what to do, and no secret."""
    flag = made(people) if made else people.flag(weights=SPLIT)
    given = {**given, "url": given.get("url", people.url) + given.get("path", "")}
    given.pop("path", None)
    backend = backend_at(session, **given)

    with pytest.raises(StoreError) as failed:
        await backend.read(flag)

    assert error is type(failed.value)
    assert text in str(failed.value)
    assert given.get("token", token()) not in f"{failed.value} {failed.value.__cause__} {backend!r} {vars(failed.value)}"


async def test_a_missing_permission_is_named(session: ClientSession, people: Unleash):
    """A user who may only look: the kill fails, and says which permission is missing where."""
    flag = people.flag(weights=SPLIT)

    applied = await SharesStore(backend_at(session, token=token(VIEWER)), call_s=20.0).apply(command(flag, "kill"))

    assert "failed" == applied.status
    assert "lacks the permission UPDATE_FEATURE_STRATEGY in project 'default', environment 'production'" in applied.detail


async def test_a_wanted_change_request_is_named(session: ClientSession):
    """
    Where the environment wants change requests, the text names the permission to go without.

    Only Enterprise has them: the answer is that of ``stopWhenChangeRequestsEnabled`` in the source of the server.
    """
    said = b'{"name":"PermissionError","message":"...","permissions":["SKIP_CHANGE_REQUEST"]}'

    error = backend_at(session)._meaning(Answer(403, {}, said))

    assert "wants change requests; give the guardian's user SKIP_CHANGE_REQUEST there" in str(error)


async def test_the_log_of_unleash_names_the_guardian(store: SharesStore, people: Unleash):
    """With a token of its own user every change is the guardian's in the audit log."""
    await store.apply(command(flag := people.flag(weights=SPLIT), "kill"))

    assert USER == people.events(flag, 1)[0]["createdBy"]


# ---------------------------------------------------------------------------- SDKs


@contextmanager
def sdk(folder: Path) -> Iterator[UnleashClient]:
    client = UnleashClient(
        Unleash().url + "/api", "shop", environment="production", custom_headers={"Authorization": SDK["production"]},
        instance_id=str(next(_numbers)), refresh_interval=1, disable_metrics=True, disable_registration=True,
        cache_directory=str(folder),
    )  # fmt: skip
    client.initialize_client()
    try:
        yield client
    finally:
        client.destroy()


def served(client: UnleashClient, flag: str) -> dict[str, int]:
    """How many of 1,000 users get which variation."""
    found: dict[str, int] = {}
    for user in USERS:
        name = client.get_variant(flag, user)["name"]
        found[name] = found.get(name, 0) + 1
    return found


async def _seen(client: UnleashClient, flag: str, expected: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    await eventually(lambda: expected(served(client, flag)), within_s=30.0, every_s=0.02)
    return served(client, flag)


async def test_the_official_client_obeys(store: SharesStore, people: Unleash, tmp_path: Path):
    """
    A kill, a share, a resume and a kill of the whole flag reach UnleashClient; who had the treatment at 10 % has it at 30 %.
    """
    flag = people.flag(weights=SPLIT)
    with sdk(tmp_path) as client:
        await _seen(client, flag, lambda found: found.get("treatment", 0) > 50)
        had = {user["userId"] for user in USERS if client.get_variant(flag, user)["name"] == "treatment"}

        await store.apply(command(flag, "kill"))
        assert {"control": 1000} == await _seen(client, flag, lambda found: "treatment" not in found)
        assert "value of control" == client.get_variant(flag, USERS[0])["payload"]["value"]

        await store.apply(command(flag, "resume", 0.3))
        found = await _seen(client, flag, lambda found: found.get("treatment", 0) > 200)
        assert abs(found["treatment"] - 300) < 60
        has = {user["userId"] for user in USERS if client.get_variant(flag, user)["name"] == "treatment"}
        assert had <= has

        await store.apply(command(flag, "kill_flag"))
        assert {"control": 1000} == await _seen(client, flag, lambda found: "treatment" not in found)
        assert client.is_enabled(flag, USERS[0])


async def test_a_rollout_of_nothing_reaches_nobody(store: SharesStore, people: Unleash, tmp_path: Path):
    """A flag without variants that was killed is off for everybody in UnleashClient, and on again after a resume."""
    flag = people.flag(rollout="50")
    about: dict[str, Any] = {"variation": "enabled", "control": "disabled"}
    with sdk(tmp_path) as client:
        await eventually(lambda: any(client.is_enabled(flag, user) for user in USERS), within_s=30.0)

        await store.apply(command(flag, "kill", **about))
        await eventually(lambda: not any(client.is_enabled(flag, user) for user in USERS), within_s=30.0)

        await store.apply(command(flag, "resume", **about))
        await eventually(lambda: any(client.is_enabled(flag, user) for user in USERS), within_s=30.0)


# ---------------------------------------------------------------------------- what a doctor finds


def doctors(**fields: Any) -> Settings:
    given = {"kind": "unleash", "url": Unleash().url, "token": token(), "timeout_s": 4.0, **fields}
    return settings_of(web=given)


async def test_an_unleash_that_is_well_is_ok_and_as_it_was():
    """The real Unleash says that the guardian's user may change the flag, and neither the flag nor its log has changed."""
    people = Unleash()
    flag = people.flag(weights=SPLIT)
    before = people.strategy(flag), people.events(flag)
    other = people.flag(weights=SPLIT)
    found = await stores.look(doctors(flags=[flag, other]), [policy(flag)])

    assert [] == wrong(found)
    assert any(f"no policy is about: {other} (control 90 %, treatment 10 %)" in one.found for one in found)
    assert any("the token's user may change strategies" in one.found for one in found)
    assert before == (people.strategy(flag), people.events(flag))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (lambda: {"token": "user:0123456789abcdef0123456789abcdef"}, "Make a personal access token"),
        (lambda: {"token": token(VIEWER)}, "lacks the permission UPDATE_FEATURE_STRATEGY"),
        (lambda: {"unleash_environment": "prod"}, "write unleash_environment. There are: "),
        (lambda: {"project": "shop"}, "project"),
        (lambda: {"url": f"{Unleash().url}/login"}, "Unleash"),
    ],
)
async def test_each_illness_of_unleash_names_its_cure(fields, says):
    """The real Unleash with a wrong token, a user who may only look, a wrong environment, project and address: what to mend."""
    people = Unleash()
    flag = people.flag(weights=SPLIT)
    given = fields()
    found = wrong(await stores.look(doctors(**given), [policy(flag)]))

    assert ["error"] == [one.level for one in found]
    assert says in f"{found[0].found} -> {found[0].cure}", found
    assert given.get("token", "unsaid") not in str(found)


async def test_an_archived_flag_of_unleash_is_found():
    """A flag that was archived is none any more, and it is said that it may be that."""
    people = Unleash()
    flag = people.flag(weights=SPLIT)
    people.archive(flag)
    (one,) = wrong(await stores.look(doctors(), [policy(flag)]))

    assert "archived" in one.found


async def test_its_own_webhook_says_when_to_look(people: Unleash, tmp_path: Path):
    """
    Whoever gives Unleash a webhook hears of a change at once, though the next look into the log is an hour away.
    """
    flag, journal = people.flag(weights=SPLIT), Journal()
    settings = _settings(people, tmp_path, flag, 3_600.0, act={"hook_port": hook_port()})

    async with open_flag_store(settings, journal):  # type: ignore[arg-type]
        await eventually(lambda: _shares_told(journal, flag) == [(0.1, 0)], within_s=30.0)
        before = len(journal.changes)
        people.weigh(flag, {"control": 700, "treatment": 300})
        await eventually(lambda: _shares_told(journal, flag)[1:] == [(0.3, 0)], within_s=30.0)
    (changed,) = journal.changes[before:]
    assert ("admin", True) == (changed.by, "'treatment': 300" in changed.reason)
