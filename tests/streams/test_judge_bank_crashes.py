"""
The real bank behind the real mover: one journal, read by a judge that nobody disturbs and by one that dies all the time.

Both must publish the same decisions, to the letter, and keep the same snapshots, to the byte.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import zip_longest

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from guardian.bank import Bank
from guardian.decisions import DECISION_TYPE, Decision
from guardian.journal import Beat, Entry, PolicyEntry, ReceiptEntry, Summary, encode
from guardian.policy import parse_policy, policy_hash
from streams.admin import ensure_topics
from streams.changelog import changelog_topic
from streams.cloudevents import from_event
from streams.judge import run_judge
from streams.partitioning import partition_of
from streams.reading import newest_values
from streams.settings import Settings
from streams.snapshots import split_table_key, unpacked
from streams.status import Status
from tests.support.cluster import Cluster
from tests.support.installation import written
from tests.support.processes import Killable, producer
from tests.support.traffic import T0_MS, Traffic, entries

SECONDS = 20.0
ENTRIES_A_SECOND = 25
"""Of each rollout; journal time runs two and a half times as fast as the clock."""
CATCH_UP_S = 60.0
ERRORS = {"broken": (0.3, 4.0), "worse": (0.2, 8.0), "healthy": (0.01, 0.0), "broken-later": (0.5, 12.0)}
"""Each flag's error rate under treatment, and from which second on; before, and in control, it is one in a hundred."""


async def judging(status: Status, settings: Settings) -> None:
    await run_judge(settings, status)


def rollout(flag: str, seed: int, seconds: float) -> Iterator[Entry]:
    """A rollout's part of the journal: its policy, then what observe saw of its users."""
    key, (rate, from_s) = f"production|{flag}", ERRORS[flag]
    guardrails = [{"when": "error_rate > 1.2x control", "then": "kill"}]
    policy = parse_policy({"flag": flag, "environment": "production", "guardrails": guardrails})
    yield PolicyEntry(at_ms=T0_MS, key=key, hash=policy_hash(policy), document=policy.to_document())
    traffic = Traffic(
        seconds=seconds, rps=100, share=lambda s: 0.3, seed=seed,
        error=lambda variation, s: rate if variation == "treatment" and s > from_s else 0.01,
    )  # fmt: skip
    for entry in entries(traffic.requests(), exposures=True):
        if isinstance(entry, Summary):
            flags = [msgspec.structs.replace(sums, key=key) for sums in entry.flags]
            yield msgspec.structs.replace(entry, source=f"{flag}/0", flags=flags)
        elif isinstance(entry, Beat):
            yield msgspec.structs.replace(entry, source=f"{flag}/0")


@dataclass
class Judge:
    """A judge of the journal with topics of its own for all that it writes."""

    settings: Settings
    answered: set[str] = field(default_factory=set)

    async def decisions(self) -> dict[str, Decision]:
        """All that was published, each once; fails if one id ever had two contents."""
        found: dict[str, Decision] = {}
        async with written(self.settings, self.settings.topics.decisions) as records:
            await records.to_end()
        for record in records.records:
            decision = from_event(record.value, Decision, type=DECISION_TYPE)
            assert decision == found.setdefault(decision.decision_id, decision), "same id, two decisions"
        return found

    async def snapshots(self) -> dict[tuple[int, str], bytes]:
        values = await newest_values(self.settings, changelog_topic(self.settings))
        return {split_table_key(key.encode()): unpacked(value) for key, value in values.items()}

    async def has_seen(self, ends: dict[int, int]) -> bool:
        snapshots = await self.snapshots()
        seen = {at: Bank.offset_of(raw) for (at, part), raw in snapshots.items() if part == Bank.SOURCES}
        return ends.items() <= seen.items()


@dataclass
class Journal:
    """Writes entries, each where its rollout's are; ``ends`` are the last offsets."""

    producing: AIOKafkaProducer
    topic: str
    partitions: int
    ends: dict[int, int] = field(default_factory=dict)

    async def write(self, flag: str, entry: Entry) -> None:
        at = partition_of(f"production|{flag}", self.partitions)
        kept = await self.producing.send_and_wait(self.topic, encode(entry), partition=at)
        self.ends[at] = kept.offset

    async def play(self, dice: random.Random, seconds: float = SECONDS) -> None:
        """All rollouts beside each other, at an even pace."""
        for entries_now in zip_longest(*(rollout(flag, dice.randrange(1_000), seconds) for flag in ERRORS)):
            for flag, entry in zip(ERRORS, entries_now, strict=True):
                if entry is not None:
                    await self.write(flag, entry)
            await asyncio.sleep(1 / ENTRIES_A_SECOND)

    async def answer(self, decision: Decision) -> None:
        """What act would say."""
        key = f"{decision.environment}|{decision.flag_key}"
        entry = ReceiptEntry(
            at_ms=T0_MS, key=key, decision_id=decision.decision_id, status="applied", version="1"
        )
        await self.write(decision.flag_key, entry)


@asynccontextmanager
async def two_judges(cluster: Cluster) -> AsyncIterator[tuple[Judge, Judge, Journal]]:
    """Two that read one journal, which is written to for as long as the block runs."""
    first = Judge(cluster.settings(judge={"snapshot_s": 0.5}))
    topics = cluster.settings().topic_names.model_dump() | {"journal": first.settings.topics.journal}
    second = Judge(cluster.settings(judge={"snapshot_s": 0.5}, topics=topics))
    partitions = await ensure_topics(first.settings)
    await ensure_topics(second.settings)
    async with producer(first.settings) as producing:
        yield first, second, Journal(producing, first.settings.topics.journal, partitions)


@pytest.mark.kafka
@pytest.mark.timeout(150)
async def test_killed_again_and_again_it_decides_and_keeps_the_same(real_cluster, tmp_path, dice):
    """Killed at any moment, starting and recovering too, judge takes the same decisions and keeps the same snapshots."""
    async with two_judges(real_cluster) as (calm, killed, journal):
        with (
            Killable(judging, tmp_path / "calm", calm.settings, worker="calm"),
            Killable(judging, tmp_path / "killed", killed.settings, worker="killed") as victim,
        ):
            playing = asyncio.ensure_future(journal.play(dice))
            kills = 0
            while not playing.done():
                if dice.random() < 0.5:
                    await victim.ready()
                await asyncio.sleep(dice.uniform(0.0, 1.5))
                victim.kill()
                victim.start()
                kills += 1
                for decision_id, decision in (await calm.decisions()).items():
                    if decision_id not in calm.answered:
                        calm.answered.add(decision_id)
                        await journal.answer(decision)
            playing.result()
            await seen_by(calm, journal)
            await seen_by(killed, journal)
    found = await calm.decisions()

    assert kills >= 3
    assert {"broken", "worse", "broken-later"} == {one.flag_key for one in found.values()}
    assert found == await killed.decisions()
    kept = await calm.snapshots()
    assert {f"production|{flag}" for flag in ERRORS} < {part for _, part in kept}
    assert kept == await killed.snapshots()


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.timeout(400)
async def test_others_come_and_go_while_it_recovers(real_cluster, tmp_path, dice):
    """Rebalances begin at any moment of a recovery, again and again: no entry is skipped, and none counted twice."""
    async with two_judges(real_cluster) as (calm, struck, journal):
        with (
            Killable(judging, tmp_path / "calm", calm.settings, worker="calm"),
            Killable(judging, tmp_path / "one", struck.settings, worker="one") as one,
            Killable(judging, tmp_path / "two", struck.settings, worker="two") as two,
        ):
            playing = asyncio.ensure_future(journal.play(dice, seconds=200.0))
            rounds = 0
            while not playing.done():
                await one.ready()
                one.kill()
                two.signal(signal.SIGINT)
                await asyncio.to_thread(two.process.join, 5.0)
                two.kill()
                first, second = (one, two) if dice.random() < 0.5 else (two, one)
                first.start()
                await asyncio.sleep(dice.uniform(0.0, 0.6))
                second.start()
                await asyncio.sleep(dice.uniform(0.0, 1.0))
                rounds += 1
            playing.result()
            await seen_by(calm, journal)
            await seen_by(struck, journal)

    assert rounds >= 10
    assert await calm.decisions() == await struck.decisions()
    assert await calm.snapshots() == await struck.snapshots()


async def seen_by(judge: Judge, journal: Journal) -> None:
    """Wait until the snapshots hold the whole journal."""
    async with asyncio.timeout(CATCH_UP_S):
        while not await judge.has_seen(journal.ends):
            await asyncio.sleep(0.2)
