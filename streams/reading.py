"""Reading a compacted topic whole, without a consumer group: from its beginning to its end, and on from there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.settings import Settings

log = structlog.get_logger()

FETCH_WAIT_MS = 500
FETCH_WAIT_EMBEDDED_MS = 20
"""The embedded broker holds every empty fetch for the whole wait, whatever arrives meanwhile."""
RETRY_S = 0.5
POLL_S = 0.2

Take = Callable[[str, bytes | None], None]
"""Called with each record's key and value, in the order of its partition; ``None`` is a deletion."""


def fetch_wait_ms(settings: Settings) -> int:
    """For how long a consumer may let the broker hold an empty fetch."""
    return FETCH_WAIT_EMBEDDED_MS if settings.kafka.embedded else FETCH_WAIT_MS


@contextlib.asynccontextmanager
async def open_consumer(settings: Settings, *topics: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """
    A consumer of committed records without a group, which begins at the beginning; *options* are further ones of its client.

    Raises:
        KafkaError: Kafka cannot be reached, or refuses us.
    """
    consumer = AIOKafkaConsumer(
        *topics,
        **settings.kafka.client_options(),
        **options,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=fetch_wait_ms(settings),
    )
    try:
        await consumer.start()
        # Stopped before its own tasks have begun, aiokafka's consumer raises that *we* are cancelled.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await consumer.stop()


class Follower:
    """Calls *take* with every committed record of *topic*, now and later."""

    def __init__(self, settings: Settings, topic: str, take: Take) -> None:
        self._settings = settings
        self._topic = topic
        self._take = take
        self.caught_up = asyncio.Event()
        """Set once all that stood in the topic when reading began was taken."""

    async def run(self) -> None:
        """Read until cancelled. A broker that is away is waited for; what was taken may be taken again then."""
        while True:
            try:
                async with open_consumer(self._settings, self._topic) as consumer:
                    await self._read(consumer)
            except KafkaError as error:
                log.warning("reading_interrupted", topic=self._topic, reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def read_to_end(self) -> None:
        """Read what stands in the topic now, and return."""
        running = asyncio.ensure_future(self.run())
        try:
            await self.caught_up.wait()
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        ends: dict[Any, int] = await consumer.end_offsets(consumer.assignment())
        while True:
            batches = await consumer.getmany(timeout_ms=int(POLL_S * 1000))
            for records in batches.values():
                for record in records:
                    self._take((record.key or b"").decode(errors="replace"), record.value)
            if not self.caught_up.is_set() and await _passed(consumer, ends):
                self.caught_up.set()


async def _passed(consumer: AIOKafkaConsumer, ends: dict[Any, int]) -> bool:
    # Positions, not records: the last records may be markers of transactions, which nobody is handed.
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True


async def newest_values(settings: Settings, topic: str) -> dict[str, bytes]:
    """The newest value of each key that stands in *topic* now."""
    values: dict[str, bytes] = {}

    def take(key: str, value: bytes | None) -> None:
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value

    await Follower(settings, topic, take).read_to_end()
    return values


async def read_partition(settings: Settings, at: TopicPartition) -> AsyncIterator[tuple[str, bytes | None]]:
    """
    Yield key and value of every committed record that stands in a partition now; ``None`` is a deletion.

    Raises:
        KafkaError: Kafka cannot be reached, or refuses us.
    """
    async with open_consumer(settings) as consumer:
        consumer.assign([at])
        await consumer.seek_to_beginning(at)
        end = (await consumer.end_offsets([at]))[at]
        while await consumer.position(at) < end:
            batches = await consumer.getmany(at, timeout_ms=int(POLL_S * 1000))
            for record in batches.get(at, []):
                yield (record.key or b"").decode(errors="replace"), record.value
