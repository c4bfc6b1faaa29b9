"""Promises of observe about a flood of what is no event: each of it is among the dead letters, and the good ones count."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.admin import ensure_topics
from streams.deadletters import HEADERS_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX, DeadLetter, letter_of
from streams.observing.unpacking import UNPACKED_MAX
from streams.settings import Settings
from tests.support.cluster import Cluster
from tests.support.events import outcome
from tests.support.hostile import DEPTH, HUGE, Hostile, hostile, kinds
from tests.support.movers import until
from tests.support.observed import journal, observing, services

GOOD = outcome({"checkout-v2": "treatment"}, latency_ms=None, context_id=None, service_name=None, source=None)
"""Nothing in it may be otherwise."""
HUGE_ONES = 2 * len(kinds())
LARGEST = HUGE + 2_000_000
BATCH = 500
AT_A_TIME = 20_000


async def test_a_flood_of_poison(real_cluster, dice):
    """
    Among thousands of messages of every hostile kind, some of them of ten megabytes, every good event is counted once, and
    every hostile one is a dead letter once, with its reason; observe goes on without being started again.
    """
    await flood(real_cluster, dice, 20_000)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_a_long_flood_of_poison(real_cluster, dice):
    """The same with a million."""
    await flood(real_cluster, dice, 1_000_000)


async def flood(cluster: Cluster, dice: random.Random, count: int) -> None:
    settings = await prepared(cluster)
    topic = settings.topics.outcomes[0]
    places: set[tuple[int, int]] = set()
    letters: Counter[tuple[int, int]] = Counter()
    async with (
        services(settings) as sending,
        journal(settings) as written,
        journal(settings, settings.topics.dead_letters) as dead,
        observing(settings) as status,
    ):
        poison = islice(hostile(GOOD, dice, depth=2_000), count)
        poison_of_all = _chain(islice(hostile(GOOD, dice, huge=HUGE, depth=DEPTH), HUGE_ONES), poison)
        while more := list(islice(poison_of_all, BATCH if not places else AT_A_TIME)):
            await sending.send(BATCH)
            places |= await asyncio.to_thread(produce, settings, topic, more)
            await _take(dead, letters)
        await sending.send(BATCH)
        await written.until_summed(sending.sent, within_s=60 + count / 1_000)
        deadline_s = time.monotonic() + 60 + count / 1_000
        while len(letters) < len(places) and time.monotonic() < deadline_s:
            await _take(dead, letters)
        await until(lambda: status.numbers.get("dead_letters") == len(places), within_s=10, what="status counts them")
        assert status.is_ready, status.why

    assert count + HUGE_ONES == len(places)
    assert places == set(letters)
    assert {1} == set(letters.values())


async def _take(dead, letters: Counter[tuple[int, int]]) -> None:
    await dead.poll()
    for record in dead.records:
        letter = letter_of(record)
        letters[letter.origin.partition, letter.origin.offset] += 1
        _assert_is_told(letter)
    dead.records.clear()


def _assert_is_told(letter: DeadLetter) -> None:
    assert ": " in letter.reason
    assert len(letter.value or b"") <= VALUE_BYTES_MAX
    assert len(letter.key or b"") <= KEY_BYTES_MAX
    assert sum(len(name) + len(content or b"") for name, content in letter.headers) <= HEADERS_BYTES_MAX


def _chain(*parts: Iterator[Hostile]) -> Iterator[Hostile]:
    for part in parts:
        yield from part


async def prepared(cluster: Cluster) -> Settings:
    """Settings with an input topic that takes what is huge."""
    settings = cluster.settings()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    config = {"max.message.bytes": str(LARGEST)}
    for made in admin.create_topics([NewTopic(settings.topics.outcomes[0], 4, 1, config=config)]).values():
        await asyncio.to_thread(made.result, 30)
    await ensure_topics(settings, inputs=True)
    return settings


def produce(settings: Settings, topic: str, messages: list[Hostile]) -> set[tuple[int, int]]:
    """Write messages; return the partition and the offset of each."""
    places: set[tuple[int, int]] = set()
    failed = []

    def delivered(error, message) -> None:
        if error:
            failed.append(error)
        else:
            places.add((message.partition(), message.offset()))

    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap, "linger.ms": 20, "message.max.bytes": LARGEST})
    for one in messages:
        while True:
            try:
                producer.produce(topic, one.value, one.key, headers=list(one.headers), on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush(60)
    assert not failed, failed[0]
    return places


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_bomb_does_not_go_off(real_cluster, codec):
    """
    A batch of a few hundred kilobytes that would be more than may be unpacked is one dead letter, of whichever compression; what
    comes before and after it counts.
    """
    settings = await prepared(real_cluster)
    topic = settings.topics.outcomes[0]
    async with services(settings) as sending, journal(settings) as written, observing(settings):
        await sending.send(40)
        async with journal(settings, settings.topics.dead_letters) as dead:
            await asyncio.to_thread(send_bomb, settings, topic, codec)
            await sending.send(40)
            await written.until_summed(sending.sent, within_s=30)
            while not dead.records:
                await dead.poll()
    (letter,) = map(letter_of, dead.records)

    assert letter.reason.startswith("batch: records ")
    assert "when unpacked" in letter.reason
    assert letter.was_cut


def send_bomb(settings: Settings, topic: str, codec: str) -> None:
    """Write a record that is larger than may be unpacked, compressed; librdkafka compresses it whatever it is."""
    large = {"message.max.bytes": UNPACKED_MAX + 2_000_000, "compression.type": codec}
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap, **large})
    producer.produce(topic, b"\0" * (UNPACKED_MAX + 1_000_000), partition=1)
    assert not producer.flush(60)
