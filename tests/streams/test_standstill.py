"""A worker that reads nothing though records come in ends; one that is idle, or whose Kafka is away, does not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from streams import standstill
from streams.act import run_act
from streams.admin import ensure_topics
from streams.faust_app import _ConsumerThread
from streams.judge import run_judge
from streams.observe import run_observe
from streams.settings import Settings
from streams.standstill import Offsets, StoodStill, until_standstill
from streams.status import Status
from streams.wiring import open_flag_store
from tests.support.cluster import Cluster
from tests.support.processes import producer

AT, OTHER = TopicPartition("journal", 0), TopicPartition("journal", 1)


async def _watched(reads: Callable[[], Offsets], ends: Iterator[Offsets | Exception], looks: int) -> None:
    """Watch for so many looks, in milliseconds for seconds."""
    looked, enough = itertools.count(1), asyncio.Event()

    def read() -> Offsets:
        if next(looked) > looks:
            enough.set()
        return reads()

    async def answer(partitions: list[TopicPartition]) -> Offsets:
        assert set(partitions) <= {AT, OTHER}
        found = next(ends)
        if isinstance(found, Exception):
            raise found
        return {at: found[at] for at in partitions}

    watching = asyncio.ensure_future(until_standstill(read, answer, patience_s=0.02, look_s=0.002))
    waiting = asyncio.ensure_future(enough.wait())
    try:
        await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=10.0)
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        waiting.cancel()


def _growing(start: int = 10) -> Iterator[Offsets]:
    return ({AT: end, OTHER: 10} for end in itertools.count(start))


async def test_a_partition_that_nobody_reads_while_records_come_is_told():
    """How far it was read stays the same, and its end moves on."""
    with pytest.raises(StoodStill, match="journal/0: nothing was read for 0 s, and records come in"):
        await _watched(lambda: {AT: 3, OTHER: 10}, _growing(), looks=50)


_numbers = itertools.count()


@pytest.mark.parametrize(
    ("reads", "ends"),
    [
        (lambda: {AT: next(_numbers)}, _growing()),
        (lambda: {AT: 3}, itertools.repeat({AT: 10})),
        (dict, _growing()),
        (lambda: {AT: 3}, itertools.cycle([KafkaConnectionError("away"), {AT: 10}, TimeoutError(), {AT: 11}])),
    ],
    ids=["it is read", "nothing comes", "others read it", "Kafka is away again and again"],
)
async def test_nobody_ends_who_reads_or_has_nothing_to_read(reads: Callable[[], Offsets], ends: Iterator[Offsets | Exception]):
    """Who reads something, has nothing to read, or cannot know because Kafka is away, goes on."""
    await _watched(reads, ends, looks=60)


@asynccontextmanager
async def _written_to(settings: Settings, topic: str) -> AsyncIterator[None]:
    """A topic into which a record comes all the time."""

    async def write() -> None:
        async with producer(settings) as producing:
            while True:
                await producing.send_and_wait(topic, b"{}", partition=0)
                await asyncio.sleep(0.05)

    writing = asyncio.ensure_future(write())
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.wait({writing})


@pytest.fixture
def settings(embedded_kafka: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(standstill, "PATIENCE_S", 1.0)
    monkeypatch.setattr(standstill, "LOOK_S", 0.3)
    return Cluster(embedded_kafka, embedded=True).settings(partitions=1)


class Deaf(AIOKafkaConsumer):
    """A client that asks no broker for records any more, and says nothing of it."""

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[object]]:
        await asyncio.sleep(0.05)
        return {}


async def test_observe_ends_when_its_client_has_stopped_in_silence(settings: Settings):
    """Events come and none is read: observe ends, and says of which partition."""
    await ensure_topics(settings)
    topic = settings.topics.outcomes[0]
    async with _written_to(settings, topic):
        with pytest.raises(StoodStill, match=topic):
            await asyncio.wait_for(run_observe(settings, Status("observe"), Deaf), 60.0)


@pytest.mark.parametrize("name", ["judge", "act"])
async def test_judge_and_act_end_when_faust_has_stopped_in_silence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
):
    """What they read comes in, and none of it is handed to them: they end, and say of which partition."""

    async def nothing(self: object, *_: object, **__: object) -> dict[TopicPartition, list[object]]:
        await asyncio.sleep(0.05)
        return {}

    await ensure_topics(settings)
    monkeypatch.setattr(_ConsumerThread, "_fetch_records", nothing)
    topic = settings.topics.journal if name == "judge" else settings.topics.decisions
    running = run_judge(settings, Status(name)) if name == "judge" else run_act(settings, Status(name), open_flag_store)
    async with _written_to(settings, topic):
        with pytest.raises(StoodStill, match=topic):
            await asyncio.wait_for(running, 60.0)
