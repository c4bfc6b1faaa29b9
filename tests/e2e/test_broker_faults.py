"""
A kill comes through whatever happens on the way to Kafka: slow answers, none at all, connections that end.

Every client, users included, reaches the broker through a proxy only, on which things go wrong.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from demo.ports import free_ports
from streams.admin import ensure_topics
from tests.kafka import KafkaServer
from tests.streams.stores.support import treated
from tests.support.cluster import Cluster
from tests.support.installation import Installation
from tests.support.movers import until
from tests.support.proxy import Fault, Proxy
from tests.support.survival import WORKERS, rollout, until_ready

FAULTS: tuple[Fault, ...] = ("slow", "hole", "reset", "refuse")
LASTS_S = float(os.environ.get("FAULT_S", "8"))
LONG_S = 300.0
RESTARTS_MOST = 2
"""Of each worker, a fault: one that hangs may be started again, a loop of crashes is none."""

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


class Faulty:
    """An installation, and the proxy between it and its broker."""

    def __init__(self, guardian: Installation, proxy: Proxy) -> None:
        self.guardian, self.proxy = guardian, proxy

    def restarts(self) -> dict[str, int]:
        return {name: self.guardian.child(name)["restarts"] for name in WORKERS}


@pytest.fixture(scope="module")
def faulty(own_kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    port, controller, between = free_ports(3)
    told = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{between}"}
    server = KafkaServer(tmp_path_factory.mktemp("kafka"), ports=(port, controller), properties=told)
    with Proxy(port, between) as proxy, server:
        server.begin()
        settings = Cluster(f"127.0.0.1:{between}", embedded=False).settings(partitions=2)
        asyncio.run(ensure_topics(settings, inputs=True))
        flags = [f"{fault}-{lasts}" for fault in FAULTS for lasts in ("short", "long")] + ["slow-on"]
        with Installation(settings, tmp_path_factory.mktemp("guardian"), flags) as installation:
            try:
                asyncio.run(until_ready(installation, *WORKERS))
                yield Faulty(installation, proxy)
            finally:
                print(installation.said.read_text())


@pytest.mark.parametrize("fault", ["hole", *(pytest.param(one, marks=pytest.mark.long) for one in ("refuse", "slow", "reset"))])
async def test_a_kill_comes_through(faulty, fault):
    """
    Broken while the way to the broker is, a treatment is killed once the way is mended: one decision, one effect, by workers
    that found back by themselves.
    """
    await comes_through(faulty, fault, f"{fault}-short", LASTS_S)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_kill_comes_through_after_minutes(faulty, fault):
    """The same where nothing gets through for five minutes."""
    await comes_through(faulty, fault, f"{fault}-long", LONG_S)


async def test_a_kill_comes_through_while_answers_are_slow(faulty):
    """Where each answer of Kafka takes 0.6 s a treatment that breaks is killed all the same, not only in better times."""
    guardian = faulty.guardian
    async with rollout(guardian, "slow-on") as one:
        await one.records.until(one.is_watched, "the rollout is watched")
        faulty.proxy.set("slow")
        try:
            one.users.is_broken = True
            began_s = time.monotonic()
            await until(lambda: not treated(one.client, one.flag), within_s=60, what="everybody gets control")
            print(f"control was served {time.monotonic() - began_s:.1f} s after the treatment had broken")
        finally:
            faulty.proxy.set("none")
        await one.assert_survived()


async def comes_through(faulty: Faulty, fault: Fault, flag: str, lasts_s: float) -> None:
    guardian, before = faulty.guardian, faulty.restarts()
    async with rollout(guardian, flag) as one:
        await one.break_treatment()
        faulty.proxy.set(fault)
        began_s = time.monotonic()
        if fault in ("hole", "refuse") and lasts_s > 15.0:
            await until(lambda: not guardian.ready("observe", "judge"), within_s=lasts_s, what="that nothing is read is said")
        await asyncio.sleep(max(lasts_s - (time.monotonic() - began_s), 0.0))
        faulty.proxy.set("none")
        await one.assert_survived()
    after = faulty.restarts()

    assert all(after[name] - before[name] <= RESTARTS_MOST for name in WORKERS), (before, after)
