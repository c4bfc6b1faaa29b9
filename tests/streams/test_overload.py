"""
Twice as much comes as a worker can take: another one is started, the verdict stays timely, and every event is counted once.

A worker's capacity is set, not measured: it reads so many records a second, whatever the machine is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from guardian.bank import Bank
from guardian.config import JudgeConfig
from guardian.effects import Decide
from guardian.journal import PolicyEntry, encode
from guardian.policy import parse_policy, policy_hash
from streams.admin import ensure_topics
from streams.apps.run import workers_at_most
from streams.observe import run_observe
from streams.observing.behind import REMEMBERED, Behind
from streams.partitioning import partition_of
from streams.scaling import BEHIND_S, BUSY, Busy, Scaling
from streams.settings import Settings
from streams.status import Status
from tests.support.cluster import Cluster
from tests.support.events import exposure, outcome
from tests.support.observed import Journal, Totals, journal

KEY = "production|checkout-v2"
POLICY = parse_policy(
    {
        "flag": "checkout-v2", "environment": "production",
        "guardrails": [{"when": "error_rate > 1.2x control", "then": "kill"}],
    }
)  # fmt: skip
CAPACITY = 500
"""Records a second that a worker reads."""
AGAIN_S = 100_000
FETCH_BYTES = 16_384
LOAD = 2 * CAPACITY
LASTS_S = 9.0
LONG_S = float(os.environ.get("OVERLOAD_S", "300"))
HARM_PART = 0.6
LATE_MOST_S = 5.0
LOOK_S = 0.5
WORKERS = 4


class Slow(AIOKafkaConsumer):
    """
    A reader on a machine that has no more to give.

    What a worker reads again when it takes a partition over (``REMEMBERED_RECORDS``) is meant for one that reads a hundred
    thousand a second, and costs as little of its time here.
    """

    read: ClassVar[dict[TopicPartition, int]] = {}
    """Up to where anybody has read."""

    def __init__(self, *topics: str, **options: Any) -> None:
        super().__init__(*topics, **options, max_partition_fetch_bytes=FETCH_BYTES)

    async def getmany(self, *partitions: Any, timeout_ms: int = 0, max_records: int | None = None) -> Any:
        found = await super().getmany(*partitions, timeout_ms=timeout_ms, max_records=max_records)
        new = again = 0
        for at, records in found.items():
            old = sum(record.offset < self.read.get(at, 0) for record in records)
            new, again = new + len(records) - old, again + old
            self.read[at] = max(self.read.get(at, 0), records[-1].offset + 1)
        await asyncio.sleep(new / CAPACITY + again / AGAIN_S)
        return found


class Workers:
    """Workers of observe, and more of them as ``Scaling`` says, which the supervisor asks likewise."""

    def __init__(self, settings: Settings, most: int, reader: type[AIOKafkaConsumer]) -> None:
        self._settings, self._reader = settings, reader
        self._scaling = Scaling("observe", most)
        self._running: dict[str, asyncio.Task[None]] = {}
        self.status: dict[str, Status] = {}
        self.behind_s: list[float] = []

    def add(self, name: str) -> None:
        self.status[name] = Status(name)
        self._running[name] = asyncio.ensure_future(run_observe(self._settings, self.status[name], self._reader))

    async def look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            # The reader's rest stands for a processor that is taken.
            said = {name: {**status.numbers, "busy": 1.0} for name, status in self.status.items()}
            self.behind_s.append(max(numbers.get("behind_s", 0.0) for numbers in said.values()))
            for name in self._scaling.due(said):
                self.add(name)

    async def end(self) -> None:
        for running in self._running.values():
            running.cancel()
        await asyncio.wait(self._running.values())


@asynccontextmanager
async def workers(settings: Settings, most: int, reader: type[AIOKafkaConsumer]) -> AsyncIterator[Workers]:
    made = Workers(settings, most, reader)
    made.add("observe")
    looking = asyncio.ensure_future(made.look())
    try:
        yield made
    finally:
        looking.cancel()
        await made.end()


class Verdict:
    """Judges what is written as it is written; ``killed_s`` is when the treatment was killed."""

    def __init__(self, written: Journal) -> None:
        self._written = written
        self._banks: dict[int, Bank] = {}
        self._seen = 0
        self.killed_s: float | None = None

    async def follow(self) -> None:
        while True:
            await self._written.poll()
            new, self._seen = self._written.records[self._seen :], len(self._written.records)
            for record, entry in zip(new, self._written.entries[-len(new) :] if new else [], strict=True):
                bank = self._banks.setdefault(record.partition, Bank(JudgeConfig()))
                for effect in bank.apply(record.offset, entry):
                    if isinstance(effect, Decide) and effect.decision.action == "kill" and self.killed_s is None:
                        self.killed_s = time.monotonic()


class Users:
    """Sends requests at a rate; from some moment on the treatment fails."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._topics, self._producer = settings.topics, producer
        self.sent: Totals = {}
        self._number = 0

    async def send(self, seconds: float, *, harm: bool) -> None:
        began_s, count = time.monotonic(), 0
        while (passed_s := time.monotonic() - began_s) < seconds:
            while count < passed_s * LOAD / 2:
                await self._request(harm)
                count += 1
            await asyncio.sleep(0.02)

    async def _request(self, harm: bool) -> None:
        number, self._number = self._number, self._number + 1
        variation = "treatment" if number % 2 else "control"
        failed = harm and number % 2 == 1 and number % 5 < 2
        common: dict[str, Any] = {"time": time.time_ns() // 1_000_000, "context_id": f"u-{number}"}
        ended = outcome({"checkout-v2": variation}, outcome="error" if failed else "ok", latency_ms=1.0, **common)
        shown = exposure(variant=variation, **common)
        for topic, event in ((self._topics.exposures[0], shown), (self._topics.outcomes[0], ended)):
            await self._producer.send(topic, json.dumps(event).encode(), partition=number % 4)
        exposures, outcomes, errors = self.sent.get((KEY, variation), (0, 0, 0))
        self.sent[KEY, variation] = exposures + 1, outcomes + 1, errors + failed


async def test_nothing_is_lost(real_cluster):
    """
    While twice as much comes as one worker takes, the lag is told and others are started; a treatment that breaks meanwhile
    is killed, and in the end every event was counted once.
    """
    await overload(real_cluster, LASTS_S)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_the_verdict_stays_timely(real_cluster):
    """
    For five minutes of that, a treatment that breaks once the others have joined is killed not much later than by workers that
    have nothing else to do, on the same events.
    """
    assert await overload(real_cluster, LONG_S) < LATE_MOST_S


async def overload(cluster: Cluster, lasts_s: float) -> float:
    """Return how much later the verdict came than where nothing was overloaded, in seconds."""
    busy = cluster.settings()
    idle = _same_inputs(cluster, busy)
    for settings in (busy, idle):
        await ensure_topics(settings, inputs=True)
        await _publish(settings)
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        written, undisturbed = await enter(journal(busy)), await enter(journal(idle))
        producer = AIOKafkaProducer(**busy.kafka.client_options(), linger_ms=5)
        await producer.start()
        stack.push_async_callback(producer.stop)
        working = await enter(workers(busy, WORKERS, Slow))
        await enter(workers(idle, 1, AIOKafkaConsumer))
        verdicts = Verdict(written), Verdict(undisturbed)
        following = [asyncio.ensure_future(one.follow()) for one in verdicts]
        users = Users(busy, producer)
        await users.send(HARM_PART * lasts_s, harm=False)
        harm_s = time.monotonic()
        await users.send((1.0 - HARM_PART) * lasts_s, harm=True)
        while any(one.killed_s is None for one in verdicts):
            await asyncio.sleep(0.05)
        for task in following:
            task.cancel()
        await asyncio.wait(following)
        late_s, least_s = (one.killed_s - harm_s for one in verdicts if one.killed_s is not None)
        print(f"killed after {late_s:.1f} s, undisturbed {least_s:.1f} s; behind {working.behind_s}")
        await written.until_summed(users.sent, within_s=60)

    assert max(working.behind_s) > BEHIND_S
    assert WORKERS == len(working.status)
    return late_s - least_s


def _same_inputs(cluster: Cluster, other: Settings) -> Settings:
    inputs = {name: getattr(other.topics, name) for name in ("exposures", "outcomes", "feedback")}
    names = cluster.settings().topic_names.model_dump() | inputs
    kafka = {"bootstrap": cluster.bootstrap, "group_prefix": f"{other.kafka.group_prefix}-idle"}
    return Settings.model_validate({"kafka": kafka, "topics": names, "partitions": 4})


async def _publish(settings: Settings) -> None:
    entry = PolicyEntry(at_ms=1, key=KEY, hash=policy_hash(POLICY), document=POLICY.to_document())
    producer = AIOKafkaProducer(**settings.kafka.client_options())
    await producer.start()
    try:
        await producer.send_and_wait(settings.topics.journal, encode(entry), partition=partition_of(KEY, settings.partitions))
    finally:
        await producer.stop()


def test_how_late_reading_is():
    """What is read has waited since its offset was first there to be read; who is at the end is not late."""
    behind = Behind()
    for second in range(10):
        behind.saw(100 * (second + 1), float(second))

    assert 9.0 == behind.seconds(0, 9.0)
    assert 7.0 == behind.seconds(250, 9.0)
    assert 0.0 == behind.seconds(1_000, 9.0)
    for second in range(10, 10 + 2 * REMEMBERED):
        behind.saw(100 * (second + 1), float(second))
    assert REMEMBERED >= behind.seconds(1_000, 10.0 + 2 * REMEMBERED) > REMEMBERED - 2


def test_when_workers_are_added():
    """All that may be, after some looks in a row at which the one is behind and busy; other processors do not count."""
    scaling = Scaling("observe", 3)
    late, early = {"behind_s": BEHIND_S + 1.0, "busy": 0.9}, {"behind_s": 0.5, "busy": 0.9}

    assert [] == [name for _ in range(10) for name in scaling.due({"judge": late, "observe": early})]
    assert [] == [name for said in (late, late, early, late, late) for name in scaling.due({"observe": said})]
    assert ["observe-2", "observe-3"] == scaling.due({"observe": late})
    assert [] == [name for _ in range(10) for name in scaling.due(dict.fromkeys(("observe", "observe-2", "observe-3"), late))]


def test_who_waits_for_others_is_given_no_workers():
    """A worker that is behind and does little waits for Kafka or for a crowded host: a rebalance would make that worse."""
    scaling = Scaling("observe", 3)
    starved = {"behind_s": BEHIND_S + 10.0, "busy": BUSY - 0.1}

    assert [] == [name for _ in range(10) for name in scaling.due({"observe": starved})]


def test_how_busy_a_process_is():
    """Who computes all the time takes a processor, as far as others leave it; who waits takes next to nothing."""
    busy = Busy()
    time.sleep(0.3)
    waiting = busy.share()
    until_s = time.process_time() + 0.2
    while time.process_time() < until_s:
        pass

    assert waiting < BUSY / 2
    assert waiting < busy.share() <= 1.5


@pytest.mark.parametrize(("embedded", "most"), [(True, 1), (False, min(4, os.cpu_count() or 1))])
def test_how_many_workers_a_host_may_have(*, embedded, most):
    """As many as it has processors, and as are asked for; with the embedded broker one, which lets in one process a group."""
    assert most == workers_at_most(Settings.model_validate({"kafka": {"embedded": embedded}, "observe": {"workers": 4}}))
