"""
Official clients in Python, Node, Java and for browsers on one server at once: who gets what, and how soon a kill is seen.

All are started once, for all tests of this file.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import combinations, count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from guardian.mixing import Mixing
from guardian.summaries import SIGHT_MS, Sight
from streams.stores.flagd.server import FlagdStoreServer
from tests.clients.asked import KINDS, Asked, asked
from tests.streams.stores.support import SAMPLE, eventually, kill_record, sample, write

pytestmark = [
    pytest.mark.clients,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("clients"),
    pytest.mark.timeout(600),  # the first run of all gets the clients from npm, Maven and PyPI
]

TRIO = ("python 0.3.0", "node 0.13.4", "java 0.11.15")
OVER_OFREP = ("ofrep python", "ofrep node", "ofrep web")
SYNCED = tuple(kind for kind in KINDS if kind not in OVER_OFREP)
REACHED_WITHIN_S = 2.0
"""A kill is at every client by then, on a machine that does much else; docs/stores.md has what was measured."""


@dataclass
class World:
    """The server, its base document, and a client of each kind."""

    server: FlagdStoreServer
    base: Path
    clients: dict[str, Asked]
    versions: count[int]

    async def treated(self, users: int, kinds: tuple[str, ...]) -> dict[str, set[int]]:
        found = await asyncio.gather(*(self.clients[kind].treated(users) for kind in kinds))
        return dict(zip(kinds, found, strict=True))

    async def decide(self, **decided: Any) -> dict[str, float]:
        """Put a decision in force; after how many seconds each client was first seen to obey it."""
        number = next(self.versions)
        waiting = [asyncio.create_task(client.sees(f"1+g{number}")) for client in self.clients.values()]
        await asyncio.sleep(0)
        began_s = time.time()
        assert self.server.apply_overlay(kill_record(number, **decided))
        return {
            kind: seen_s - began_s for kind, seen_s in zip(self.clients, await asyncio.gather(*waiting), strict=True)
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("clients")
    base = Path(shutil.copy(SAMPLE, folder / "flags.json"))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(FlagdStoreServer(base, port=0, ofrep_port=0, poll_s=0.02))
        assert server.ofrep is not None
        ports = {kind: server.ofrep.port if kind in OVER_OFREP else server.sync.port for kind in KINDS}
        starting = [stack.enter_async_context(asked(kind, ports[kind], folder / f"{kind}.log")) for kind in KINDS]
        clients = dict(zip(KINDS, await asyncio.gather(*starting), strict=True))
        yield World(server, base, clients, count(1))


async def test_the_pinned_trio_puts_users_alike(world: World):
    """
    Python 0.3.0, Node 0.13.4 and Java 0.11.15 have the same of 4,000 users in treatment.
    """
    found = await world.treated(4_000, TRIO)

    assert found[TRIO[0]] == found[TRIO[1]] == found[TRIO[2]]
    assert 300 < len(found[TRIO[0]]) < 500


async def test_newer_ones_disagree_and_the_guardian_says_so(world: World):
    """
    The newest of Python and Node put other users into treatment than the trio, and than each other. docs/stores.md says
    so; and where two of them serve the same users, each of those is counted as mixed, and both services are named.
    """
    found = await world.treated(1_000, ("java 0.11.15", "node 0.16.1", "python 0.6.1"))

    for one, other in combinations(found, 2):
        assert len(found[one] ^ found[other]) > 100, (one, other)
        mixing = Mixing()
        for service in (one, other):
            arms = (("treatment" if user in found[service] else "control") for user in range(1_000))
            mixing.hear([], [Sight(user, 0, arm, service) for user, arm in enumerate(arms)])
        mixing.settle([], passed_ms=10 * SIGHT_MS)
        assert found[one] ^ found[other] == mixing.units.keys()
        assert sorted([one, other]) == mixing.services
    page = (SAMPLE.parents[1] / "docs" / "stores.md").read_text()
    assert all(kind.split()[1] in page for kind in SYNCED)


async def test_over_ofrep_all_get_the_same(world: World):
    """
    Python, Node and a browser's provider have the same of 1,000 users in treatment, who are those of Python 0.6.1 in process.
    """
    found = await world.treated(1_000, (*OVER_OFREP, "python 0.6.1"))

    assert found["ofrep python"] == found["ofrep node"] == found["ofrep web"] == found["python 0.6.1"]
    assert 99 == len(found["ofrep web"])


async def test_a_kill_reaches_all(world: World, record_property: Callable[[str, object], None]):
    """
    A kill and its undoing reach all eight clients, whatever their language; nobody gets the killed variation then.
    """
    for killed in ({"treatment": "control"}, {}, {"treatment": "control"}):
        took_s = await world.decide(killed=killed)
        print({kind: f"{seconds * 1000:.0f} ms" for kind, seconds in took_s.items()})
        record_property("kill_to_client_ms", {kind: round(seconds * 1000) for kind, seconds in took_s.items()})
        assert max(took_s.values()) < REACHED_WITHIN_S
        treated = await world.treated(200, tuple(KINDS))
        assert all(bool(users) != bool(killed) for users in treated.values()), treated


async def test_growing_keeps_whoever_had_it(world: World):
    """
    From 10 to 20 %, every client keeps in treatment whoever it had there, and has about twice as many.
    """
    await world.decide(killed={})
    before = await world.treated(1_000, SYNCED)
    await world.decide(killed={}, shares={"treatment": 0.2}, control="control")

    after = await world.treated(1_000, SYNCED)

    assert all(before[kind] < after[kind] for kind in SYNCED)
    assert all(150 < len(users) < 250 for users in after.values())


async def test_a_bad_document_reaches_nobody(world: World):
    """
    Each edit that would blind some client is refused, and all go on as they were: the next decision reaches them.
    """
    before = await world.treated(200, tuple(KINDS))
    pushes = world.server.sync.pushes
    for spoil in (
        lambda flag: flag.update(defaultVariant="gone"),
        lambda flag: flag.pop("variants"),
        lambda flag: flag["targeting"]["fractional"].__setitem__(1, ["control", 90.5]),
        lambda flag: flag.update(note="unknown field"),
    ):
        bad = sample()
        spoil(bad["flags"]["checkout-v2"])
        write(world.base, bad)
        await eventually(lambda: world.server.documents.problems)
        write(world.base, sample())
        await eventually(lambda: not world.server.documents.problems)
    write(world.base, '{"flags": []}')
    await eventually(lambda: world.server.documents.problems)

    assert before == await world.treated(200, tuple(KINDS))
    await world.decide(killed={"treatment": "control"})
    assert world.server.sync.pushes - pushes <= len(SYNCED) * 6  # the good edits between, and the decision
    write(world.base, sample())
    await eventually(lambda: not world.server.documents.problems)


async def test_all_come_back_after_a_restart_with_a_kill_in_it(world: World):
    """
    While our server is away clients keep what they have; a decision that was made meanwhile reaches all of them after it.
    """
    await world.decide(killed={})
    before = await world.treated(200, SYNCED)
    old = world.server
    assert old.ofrep is not None
    await old.stop()
    assert before == await world.treated(200, SYNCED)
    world.server = FlagdStoreServer(world.base, port=old.sync.port, ofrep_port=old.ofrep.port, poll_s=0.02)
    world.server.apply_overlay(kill_record(number := next(world.versions)))

    async with world.server:
        await asyncio.gather(*(client.sees(f"1+g{number}") for client in world.clients.values()))

        assert not any((await world.treated(200, tuple(KINDS))).values())
