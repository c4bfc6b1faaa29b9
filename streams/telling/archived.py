"""
Whether a flag was archived while an incident of it is open: its rollout is deleted from ``guardian.rollouts.v1``.

Views of rollouts are many, so they are read only while an incident is open, from when the oldest of these was opened, and
nothing of them but which are deletions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from guardian.incidents import Incident, seconds_of
from guardian.names import Millis, rollout_key
from streams.reading import open_consumer
from streams.settings import Settings
from streams.telling.book import Book

log = structlog.get_logger()

LOOK_S = 1.0
RETRY_S = 2.0
POLL_MS = 500
End = Callable[[int, Incident, str, str], None]
"""Called with the partition, an incident, when it ended (RFC 3339), and why."""


class Archived:
    """Ends the open incidents of *book* whose rollout is deleted."""

    def __init__(self, settings: Settings, book: Book, end: End) -> None:
        self._settings = settings
        self._book = book
        self._end = end

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                if self._open():
                    async with open_consumer(self._settings) as consumer:
                        await self._follow(consumer)
            except KafkaError as error:
                log.warning("archived_not_followed", reason=repr(error))
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(LOOK_S)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        opened = self._open()
        if not opened:
            return  # it has ended while the consumer was on its way
        followed = frozenset(partition for partition, _ in opened)
        since_ms = int(min(seconds_of(one.opened_at) for _, one in opened) * 1_000)
        at = [TopicPartition(self._settings.topics.rollouts, number) for number in sorted(followed)]
        consumer.assign(at)
        for one, offset in (await self._since(consumer, at, since_ms)).items():
            consumer.seek(one, offset)
        while self._open() and frozenset(partition for partition, _ in self._open()) <= followed:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    if record.value is None:
                        self._gone(record)

    async def _since(
        self, consumer: AIOKafkaConsumer, at: list[TopicPartition], since_ms: Millis
    ) -> dict[TopicPartition, int]:
        """From where to read each partition: from when the oldest open incident was opened."""
        if self._settings.kafka.embedded:  # which finds nothing by its time, and holds little
            found: dict[TopicPartition, int] = await consumer.beginning_offsets(at)
            return found
        # The ends first: what is written after this is read, whatever the search by time finds.
        ends: dict[TopicPartition, int] = await consumer.end_offsets(at)
        places = await consumer.offsets_for_times(dict.fromkeys(at, since_ms))
        return ends | {one: place.offset for one, place in places.items() if place is not None}

    def _gone(self, record: Any) -> None:
        key = (record.key or b"").decode(errors="replace")
        at = datetime.fromtimestamp(record.timestamp / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for partition, one in self._open():
            is_its = partition == record.partition and rollout_key(one.environment, one.flag_key) == key
            if is_its and record.timestamp / 1_000 >= seconds_of(one.opened_at):
                self._end(partition, one, at, "The flag was archived: its rollout is gone.")

    def _open(self) -> list[tuple[int, Incident]]:
        return [(partition, one) for partition, one in self._book.all() if one.is_open and one.flag_key]
