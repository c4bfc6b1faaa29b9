"""The doctor at Kafka: what is missing, not kept, not granted or stamped wrongly; on the embedded broker and a real one."""

from __future__ import annotations

import asyncio
import re
import time

from aiokafka.admin import NewTopic
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streams.admin import ensure_topics
from streams.apps.doctor import kafka as doctor
from streams.findings import Finding, Level
from streams.settings import Settings
from streams.wiring import processors_of
from tests.streams.apps.doctor_support import wrong
from tests.streams.test_admin import make
from tests.support.cluster import Cluster

DAY_MS = 86_400_000


async def looked(settings: Settings) -> list[Finding]:
    return wrong(await doctor.look(settings, processors_of(settings)))


def outside(cluster: Cluster) -> Settings:
    """Settings for a broker that is not the guardian's own."""
    return Cluster(cluster.bootstrap, embedded=False).settings()


async def made(bootstrap: str, *topics: NewTopic) -> None:
    """Make topics, and wait until the broker names them to whoever asks."""
    await make(bootstrap, *topics)
    client = AdminClient({"bootstrap.servers": bootstrap})
    async with asyncio.timeout(15.0):
        while {one.name for one in topics} - set((await asyncio.to_thread(client.list_topics, timeout=5.0)).topics):
            await asyncio.sleep(0.02)


async def test_topics_as_they_must_be_are_ok(kafka: Cluster):
    """Topics as `guardian run` makes them have nothing wrong with them."""
    settings = outside(kafka)
    await ensure_topics(settings, inputs=True)

    assert [] == await looked(settings)


async def test_topics_that_are_missing_are_found_and_not_made(kafka: Cluster):
    """Every topic that is not there is named, with who makes it; to look for it does not make it."""
    settings = outside(kafka)
    first, again = await looked(settings), await looked(settings)

    assert first == again and 11 == len(first)
    assert {"warning"} == {one.level for one in first}
    assert any(settings.topics.journal in one.about and "`guardian run` makes it" in one.cure for one in first)


async def test_topics_that_are_not_kept_as_they_must_be_are_found(real_cluster: Cluster):
    """Another number of partitions, decisions that are compacted, rollouts that are not, and a journal of a day."""
    settings = real_cluster.settings()
    topics = settings.topics
    await made(
        real_cluster.bootstrap,
        NewTopic(topics.receipts, 3, 1),
        NewTopic(topics.decisions, 4, 1, topic_configs={"cleanup.policy": "compact"}),
        NewTopic(topics.rollouts, 4, 1, topic_configs={"cleanup.policy": "delete"}),
        NewTopic(topics.journal, 4, 1, topic_configs={"retention.ms": str(DAY_MS)}),
        NewTopic(topics.flag_state, 4, 1, topic_configs={"cleanup.policy": "compact"}),
    )
    reported = await looked(settings)
    found = {(one.about, one.level): f"{one.found} -> {one.cure}" for one in reported}

    def of(topic: str, level: Level) -> str:
        return found[f"topic {topic}", level]

    journal = "; ".join(f"{one.found} -> {one.cure}" for one in reported if one.about == f"topic {topics.journal}")
    assert "keeps records for 24.0 h; 720.0 h are meant" in journal
    assert "--add-config retention.ms=2592000000" in journal
    assert "carries its writers' times" in journal
    assert "--add-config message.timestamp.type=LogAppendTime" in journal
    assert "--add-config cleanup.policy=compact" in of(topics.rollouts, "error")
    assert "min.compaction.lag.ms=86400000" in of(topics.flag_state, "warning")
    assert "cleanup.policy=delete" in of(topics.decisions, "error")
    said = of(topics.receipts, "error")
    assert f"has 3 partitions, but {topics.journal} has 4" in said and "the same number" in said


async def test_a_clock_that_is_ahead_is_found(real_cluster: Cluster):
    """A record that is stamped later than now is found, and whose clock may be wrong; nothing is written to find it."""
    settings = real_cluster.settings()
    await ensure_topics(settings, inputs=True)
    producer = Producer({"bootstrap.servers": real_cluster.bootstrap})
    topic = settings.topics.exposures[0]
    producer.produce(topic, b"{}", timestamp=time.time_ns() // 1_000_000 + 1_800_000)
    producer.flush(10.0)
    found = await looked(settings)

    assert [(f"topic {topic}", "warning")] == [(one.about, one.level) for one in found]
    assert re.search(r"is stamped (30|29) min from now", found[0].found)
