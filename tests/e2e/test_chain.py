"""
Events in a real broker to decisions in a topic, through real processes: one worker of each kind, and two.

The same traffic goes at the same time to two guardians that share nothing but the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from guardian.decisions import Decision
from streams.admin import ensure_topics
from streams.apps.replay import Report, replay
from streams.apps.replay_topics import read_topics
from streams.cloudevents import from_event
from streams.judge import run_judge
from streams.observe import run_observe
from streams.outlet import open_outlet
from streams.policies import load_policies
from streams.publish import publish_policies
from streams.settings import Settings
from streams.status import Status
from tests.support.cluster import REAL_FIRST, Cluster
from tests.support.processes import Killable
from tests.support.traffic import T0_MS, Request, Traffic

BUG = Traffic(seconds=14, rps=150, error=lambda v, s: 0.4 if v == "treatment" and s > 5 else 0.01, seed=5)
POLICY = "flag: checkout-v2\nenvironment: production\nguardrails: [{when: error_rate > 1.2x control, then: kill}]\n"


async def observe(status: Status, settings: Settings) -> None:
    await run_observe(settings, status)


async def judge(status: Status, settings: Settings) -> None:
    await run_judge(settings, status)


@dataclass
class Guardian:
    """An installation of its own, topics and consumer groups and all, with so many workers of each kind."""

    cluster: Cluster
    folder: Path
    workers: int

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.settings = self.cluster.settings()
        self.policies = self.folder / "policy.yaml"
        self.policies.write_text(POLICY)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await ensure_topics(self.settings, inputs=True)
        async with open_outlet(self.settings, "policies", Status("policies")) as outlet:
            await publish_policies(self.settings, outlet, load_policies([self.policies]), by="test")
        with contextlib.ExitStack() as stack:
            kinds = [(run, n) for run in (observe, judge) for n in range(self.workers)]
            alive = [Killable(run, self.folder / f"{run.__name__}-{n}.log", self.settings) for run, n in kinds]
            processes = [stack.enter_context(process) for process in alive]
            for process in processes:
                await process.ready(within_s=60)
            yield


def events_of(request: Request, number: int) -> list[tuple[int, str, dict[str, Any]]]:
    """Return when, where and what: the exposure at the start, the outcome at the end."""
    shown = {"flag_key": "checkout-v2", "variant": request.variation}
    ended = {
        "flags": {"checkout-v2": request.variation}, "outcome": "error" if request.failed else "ok",
        "latency_ms": request.latency_ms,
    }  # fmt: skip
    made = []
    for at_ms, kind, data in ((request.start_ms, "exposure", shown), (request.end_ms, "outcome", ended)):
        event = {
            "specversion": "1.0", "id": f"{kind}-{number}", "source": "/chain", "time": at_ms,
            "type": f"dev.rolloutguardian.{kind}.v1",
            "data": {**data, "environment": "production", "context_id": f"u{request.unit}"},
        }  # fmt: skip
        made.append((at_ms, f"{kind}s", event))
    return made


async def play(guardians: list[Guardian]) -> None:
    """Write the traffic to all guardians as it happens, now."""
    began_ms = round(time.time() * 1_000) + 500
    requests = [replace(r, start_ms=r.start_ms - T0_MS + began_ms) for r in BUG.requests()]
    due = sorted((e for n, r in enumerate(requests) for e in events_of(r, n)), key=lambda e: e[0])
    producer = AIOKafkaProducer(bootstrap_servers=guardians[0].settings.kafka.bootstrap, linger_ms=5)
    await producer.start()
    try:
        for at_ms, kind, event in due:
            while (wait_s := at_ms / 1_000 - time.time()) > 0:
                await asyncio.sleep(wait_s)
            key, value = event["data"]["context_id"].encode(), json.dumps(event).encode()
            for one in guardians:
                await producer.send(getattr(one.settings.topics, kind)[0], value, key=key)
    finally:
        await producer.stop()


async def decisions_of(one: Guardian) -> list[Decision]:
    """Return the distinct decisions that stand in the topic."""
    consumer = AIOKafkaConsumer(
        one.settings.topics.decisions, bootstrap_servers=one.settings.kafka.bootstrap, auto_offset_reset="earliest",
        group_id=None, isolation_level="read_committed",
    )  # fmt: skip
    await consumer.start()
    try:
        found: dict[str, Decision] = {}
        deadline_s = time.monotonic() + 15
        while not found and time.monotonic() < deadline_s:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    made = from_event(record.value, Decision, type="dev.rolloutguardian.decision.v1")
                    found[made.decision_id] = made
        return list(found.values())
    finally:
        await consumer.stop()


@pytest.fixture
async def played(kafka: Cluster, tmp_path: Path) -> AsyncIterator[list[Guardian]]:
    alone, pair = guardians = [Guardian(kafka, tmp_path / str(workers), workers) for workers in (1, 2)]
    async with alone.running(), pair.running():
        await play(guardians)
        yield guardians


def same(made: Decision) -> tuple[str, str, str, str]:
    """What must be equal however the events were cut and spread."""
    return made.decision_id, made.action, made.guardrail, made.policy_hash


@REAL_FIRST
@pytest.mark.timeout(180)
async def test_one_worker_two_workers_and_replay_decide_the_same(played: list[Guardian]) -> None:
    """Two observe and two judge workers, one of each, and a replay of the recorded topics take one and the same decision."""
    alone, pair = played
    by_one, by_two = await decisions_of(alone), await decisions_of(pair)
    topics = alone.settings.topics
    recorded = await read_topics(alone.settings, [*topics.exposures, *topics.outcomes], 0, 2**62)
    replayed = list(replay(recorded, load_policies([alone.policies]), Report()))

    assert [("production|checkout-v2|treatment|1", "kill")] == [(d.decision_id, d.action) for d in by_one]
    assert [same(d) for d in by_one] == [same(d) for d in by_two] == [same(d) for d in replayed]
