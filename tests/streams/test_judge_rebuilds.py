"""
A judge that is stopped, whose kept state is spoilt, and that is started again: on real topics, with real workers.

A second journal is not needed to know what is right: a bank in this process judges the same entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from guardian.bank import Bank
from guardian.decisions import RolloutView
from guardian.journal import NOTICED, Beat, Entry, PolicyEntry, ReceiptEntry, decode, encode
from guardian.keepsakes import keepsake_of
from guardian.names import rollout_key
from guardian.packing import pack
from guardian.policy import policy_hash
from guardian.rollout import Status
from streams.admin import ensure_topics
from streams.changelog import changelog_topic
from streams.cloudevents import from_event
from streams.judge import run_judge
from streams.partitioning import partition_of
from streams.reading import newest_values
from streams.settings import Settings
from streams.snapshots import packed, table_key, unpacked
from streams.status import Status as Said
from tests.support.cluster import Cluster
from tests.support.installation import written
from tests.support.movers import until
from tests.support.processes import Killable, producer
from tests.support.traffic import KEY, T0_MS, Traffic, entries, policy

TRAFFIC = Traffic(seconds=15, rps=60, error=lambda v, s: 0.4 if v == "treatment" and s > 4 else 0.01, seed=5)
TERMS = policy()


async def judging(status: Said, settings: Settings) -> None:
    await run_judge(settings, status)


def journal() -> list[Entry]:
    first = PolicyEntry(at_ms=T0_MS, key=KEY, hash=policy_hash(TERMS), document=TERMS.to_document())
    return [first, *entries(TRAFFIC.requests(), exposures=True)]


class Place:
    """One rollout's partition: what is written there, and what judge keeps of it."""

    def __init__(self, settings: Settings, producing: Any, partitions: int) -> None:
        self.settings, self.producing = settings, producing
        self.at = partition_of(KEY, partitions)
        self.last = -1

    async def write(self, given: Sequence[Entry]) -> None:
        for entry in given:
            kept = await self.producing.send_and_wait(self.settings.topics.journal, encode(entry), partition=self.at)
            self.last = kept.offset

    async def kept(self, part: str) -> bytes:
        values = await newest_values(self.settings, changelog_topic(self.settings))
        return values.get(table_key(self.at, part).decode(), b"")

    async def seen(self) -> int:
        value = await self.kept(Bank.SOURCES)
        return Bank.offset_of(unpacked(value)) if value else -1

    async def judged(self) -> None:
        """Wait until the snapshots hold all that is written."""
        async with asyncio.timeout(40.0):
            while await self.seen() < self.last:
                await asyncio.sleep(0.1)

    async def keep(self, part: str, value: bytes | None) -> None:
        """Write into the changelog what judge never would."""
        await self.producing.send_and_wait(
            changelog_topic(self.settings), value, key=table_key(self.at, part), partition=self.at
        )

    async def expected(self) -> Bank:
        """A bank that has read all of the partition in this process."""
        bank = Bank(self.settings.judge.config())
        async with written(self.settings, self.settings.topics.journal) as found:
            await found.to_end()
        for record in sorted(found.records, key=lambda one: one.offset):
            if record.partition == self.at:
                bank.apply(record.offset, decode(record.value))
        return bank

    async def is_shown(self, note: str, after: Entry) -> RolloutView:
        """Let time pass, as observe does, until the rollout says *note*."""
        at_ms = after.at_ms
        async with asyncio.timeout(40.0):
            while True:
                values = await newest_values(self.settings, self.settings.topics.rollouts)
                shown = from_event(values[KEY], RolloutView) if KEY in values else None
                if shown is not None and note in shown.note:
                    return shown
                at_ms += 100
                await self.write([Beat(source="file/0", at_ms=at_ms, passed_ms=at_ms)])
                await asyncio.sleep(0.2)


@asynccontextmanager
async def place_of(settings: Settings) -> AsyncIterator[Place]:
    partitions = await ensure_topics(settings)
    async with producer(settings) as producing:
        yield Place(settings, producing, partitions)


def spoilt(value: bytes) -> bytes:
    return value[:40] + bytes([value[40] ^ 4]) + value[41:]


@pytest.mark.timeout(120)
async def test_a_spoilt_snapshot_is_rebuilt_from_the_journal(embedded_kafka, tmp_path):
    """Its newest record damaged while judge is down, a rollout is rebuilt: the same bytes, and it says what was done."""
    settings, given = Cluster(embedded_kafka, embedded=True).settings(judge={"snapshot_s": 0.3}), journal()
    async with place_of(settings) as place:
        with Killable(judging, tmp_path / "judge", settings, worker="one") as judge:
            await place.write(given[:90])
            await place.judged()
            judge.kill()
            await place.keep(KEY, spoilt(await place.kept(KEY)))
            judge.start()
            await place.write(given[90:])
            await place.is_shown("its state was rebuilt from the journal", given[-1])
            await place.judged()
            expected = await place.expected()

        assert expected.rollouts[KEY].variations["treatment"].killed
        assert packed(expected.snapshot(KEY)) == await place.kept(KEY)


@pytest.mark.timeout(120)
async def test_state_of_a_newer_version_is_left_to_its_workers(embedded_kafka, tmp_path):
    """A judge of this version leaves the group and says why, and neither writes nor loses what the newer one has kept."""
    settings, given = Cluster(embedded_kafka, embedded=True).settings(judge={"snapshot_s": 0.3}), journal()
    async with place_of(settings) as place:
        with Killable(judging, tmp_path / "judge", settings, worker="one") as judge:
            await place.write(given[:40])
            await place.judged()
            judge.kill()
            tomorrow = packed(place.last.to_bytes(8, "big") + pack(200, b"of tomorrow"))
            await place.keep(KEY, tomorrow)
            judge.start()
            await until(lambda: "upgrade this one" in judge.why, within_s=30.0, what="it says that it is too old")
            await place.write(given[40:60])
            await asyncio.sleep(1.0)

        assert tomorrow == await place.kept(KEY)
        assert 39 == await place.seen() - (place.last - 59)


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_a_kill_outlives_the_journal(real_cluster, tmp_path):
    """With its snapshot spoilt and its kill retained no more, a variation stays killed; the rollout says what is not known."""
    settings, given = real_cluster.settings(judge={"snapshot_s": 0.3}), journal()
    async with place_of(settings) as place:
        with Killable(judging, tmp_path / "judge", settings, worker="one") as judge:
            await place.write(given)
            await place.judged()
            before = await place.expected()
            (killed,) = before.outbox()
            answer = ReceiptEntry(
                at_ms=before.sources.now_ms, key=KEY, decision_id=killed.decision_id, status="applied", action="kill",
                variation="treatment",
            )  # fmt: skip
            await place.write([answer])
            await place.judged()
            judge.kill()
            before = await place.expected()
            state = before.rollouts[KEY]
            await place.write([PolicyEntry(
                at_ms=before.sources.now_ms, key=KEY, hash=state.policy_hash, document=TERMS.to_document(), by=NOTICED,
                keepsake=keepsake_of(state, before.sources.offset),
            )])  # fmt: skip
            await delete_before(settings, place.at, place.last)
            await place.keep(KEY, spoilt(await place.kept(KEY)))
            judge.start()
            shown = await place.is_shown("is known no more", answer)

    assert ("killed", f"{rollout_key('production', 'checkout-v2')}|treatment|1") == (shown.status, shown.last_decision)
    assert Status.KILLED in {arm.status for arm in shown.arms}


async def delete_before(settings: Settings, partition: int, offset: int) -> None:
    """As retention would."""
    admin = AIOKafkaAdminClient(**settings.kafka.client_options())
    await admin.start()
    try:
        at = TopicPartition(settings.topics.journal, partition)
        await admin.delete_records({at: RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()
