"""The producer that answers for what it is given: a partition that nobody leads holds up nothing but itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from streams.admin import ensure_topics
from streams.outlet import NotDelivered, Outlet
from streams.settings import Settings
from tests.support.cluster import Cluster
from tests.support.processes import reader


class Leaderless:
    """As aiokafka is when a batch was refused and its partition has no leader: it takes nothing more for that partition."""

    def __init__(self, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.partitions: set[int] = set()
        self.is_over = asyncio.Event()
        add = producer._message_accumulator.add_message

        async def add_message(at: TopicPartition, *args: Any, **more: Any) -> Any:
            if at.partition in self.partitions:
                await self.is_over.wait()
            return await add(at, *args, **more)

        monkeypatch.setattr(producer._message_accumulator, "add_message", add_message)


@pytest.fixture
def settings(embedded_kafka: str) -> Settings:
    return Cluster(embedded_kafka, embedded=True).settings()


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    await ensure_topics(settings)
    made = AIOKafkaProducer(**settings.kafka.client_options(), acks="all")
    await made.start()
    yield made
    await made.stop()


async def test_whoever_posts_does_not_wait_for_a_partition_without_a_leader(settings: Settings, producer, monkeypatch):
    """
    What is for other partitions is kept meanwhile; when there is a leader again, what waited is kept in its order.
    """
    leaderless, outlet, topic = Leaderless(producer, monkeypatch), Outlet(producer, timeout_s=20.0), settings.topics.decisions
    leaderless.partitions.add(0)
    async with reader(settings, topic) as read:
        async with asyncio.timeout(5.0):
            waiting = [await outlet.post(topic, f"k{number}", b"%d" % number, partition=0) for number in range(20)]
            await outlet.send(topic, "other", b"other", partition=1)
        assert [b"other"] == await read.until(list, 10, "what is for another partition")
        assert not any(one.done() for one in waiting)
        leaderless.is_over.set()
        await asyncio.gather(*waiting)
        values = await read.until(lambda values: values[20:] and values, 10, "what has waited")
    assert [b"other", *(b"%d" % number for number in range(20))] == values


async def test_what_waits_too_long_is_told(settings: Settings, producer, monkeypatch):
    """Each of the records that wait for a leader is said not to be delivered after the outlet's time, all at once."""
    leaderless, outlet, topic = Leaderless(producer, monkeypatch), Outlet(producer, timeout_s=0.3), settings.topics.decisions
    leaderless.partitions.add(0)
    waiting = [await outlet.post(topic, "k", b"1", partition=0) for _ in range(10)]

    async with asyncio.timeout(5.0):
        told = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, NotDelivered) for one in told)
    assert outlet.failing_s > 0.0
    leaderless.is_over.set()
    await outlet.send(topic, "k", b"2", partition=0)
    assert 0.0 == outlet.failing_s
