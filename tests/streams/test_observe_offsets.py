"""What observe believes of committed offsets: brokers that have just crashed, and the embedded one, may answer with old ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.admin import ensure_topics
from streams.observing import offsets
from streams.observing.offsets import EmbeddedOffsets, Offsets
from streams.observing.transactions import Transactions
from streams.settings import Settings
from tests.support.cluster import Cluster


@pytest.fixture
def settings(real_cluster) -> Settings:
    return real_cluster.settings()


@pytest.fixture
async def source(settings: Settings) -> AsyncIterator[tuple[Transactions, Offsets]]:
    """One input partition's transactions, the producer started, and its offsets."""
    await ensure_topics(settings, inputs=True)
    group, at = f"{settings.kafka.group_prefix}-observe", TopicPartition(settings.topics.outcomes[0], 0)
    transactions = Transactions(settings, group, at)
    consumer = AIOKafkaConsumer(**settings.kafka.client_options(), group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([at])
    await transactions.start()
    try:
        yield transactions, Offsets(consumer, at)
    finally:
        await transactions.stop(2.0)
        await consumer.stop()


@pytest.mark.kafka
async def test_settling_leaves_what_is_committed(source):
    """Whether nothing was ever committed or something was: after settling the same is committed, note and all."""
    transactions, known = source

    await transactions.settle([])
    assert (None, "") == await known.committed(None)
    await transactions.commit([], 7, "a note")
    await transactions.settle([])
    assert (7, "a note") == await known.committed((7, ""))


@pytest.mark.kafka
async def test_an_offset_before_ours_is_refused_for_a_while(source, monkeypatch):
    """An answer that lies before our own commit is an error at first; Kafka is believed when it stays at that."""
    transactions, known = source
    await transactions.commit([], 7, "")
    # A commit is acknowledged before it is seen; who starts again waits for that.
    await transactions.start()

    with pytest.raises(KafkaError, match="offset 7 is said to be committed, but we have committed 9"):
        await known.committed((9, ""))
    monkeypatch.setattr(offsets, "PATIENCE_S", 0.0)
    assert (7, "") == await known.committed((9, ""))
    assert (7, "") == await known.committed((7, ""))
    assert (7, "") == await known.committed((5, ""))


async def test_the_embedded_brokers_answer_is_for_whoever_begins(embedded_kafka):
    """
    It forgets offsets of transactions, and refuses others in a rebalance: who has committed knows it better, and reads on.

    ::

        transaction: 7, 9 ── plainly: 7 ──┤ rebalance: 9 is refused ├── we go on at 9, a new worker at 7
    """
    settings = Cluster(embedded_kafka, embedded=True).settings()
    await ensure_topics(settings, inputs=True)
    at = TopicPartition(settings.topics.outcomes[0], 0)
    consumer = AIOKafkaConsumer(**settings.kafka.client_options(), group_id="observe", enable_auto_commit=False)
    consumer.subscribe([at.topic])
    await consumer.start()
    try:
        known = EmbeddedOffsets(consumer, at)
        assert (None, "") == await known.committed(None)
        await known.confirm((7, "a note"))
    finally:
        await consumer.stop()
    await known.confirm((9, "another"))  # nobody takes it any more

    reader = AIOKafkaConsumer(**settings.kafka.client_options(), group_id="observe", enable_auto_commit=False)
    await reader.start()
    reader.assign([at])
    try:
        assert (9, "another") == await EmbeddedOffsets(reader, at).committed((9, "another"))
        assert (7, "a note") == await EmbeddedOffsets(reader, at).committed(None)
    finally:
        await reader.stop()
