"""Recorded events straight from Kafka topics, for ``guardian replay --topic``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from guardian.errors import GuardianError
from guardian.names import Millis
from streams.apps.recordings import Recorded, in_order, stamp_of
from streams.reading import open_consumer
from streams.settings import Settings, load_settings

POLL_MS = 1_000
FOREVER_MS = 2**62


class TopicNotRead(GuardianError):
    """A topic that is not there, or a broker that does not answer."""


def instant(text: str) -> Millis:
    """
    Return RFC 3339 text, or epoch milliseconds, as milliseconds; text without a zone is UTC.

    Raises ValueError.
    """
    if text.isdigit():
        return int(text)
    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)


def recorded(config: Path | None, topics: Sequence[str], from_text: str, to_text: str) -> Iterator[Recorded]:
    """
    Yield what the topics hold, as ``read_topics``, by the settings that ``guardian run`` would use.

    Raises:
        GuardianError: settings, times or topics that cannot be used; when the first event is asked for.
    """
    try:
        from_ms = instant(from_text)
        to_ms = instant(to_text) if to_text else FOREVER_MS
    except ValueError as error:
        raise TopicNotRead(f"--from, --to: {error}; write a time such as 2026-11-21T14:00:00Z") from None
    yield from asyncio.run(read_topics(load_settings(config), topics, from_ms, to_ms))


async def read_topics(settings: Settings, topics: Sequence[str], from_ms: Millis, to_ms: Millis) -> list[Recorded]:
    """
    Return what the topics hold between two record times, in the order of event times.

    Reads committed records without a consumer group: nothing is changed in Kafka.

    Raises:
        TopicNotRead: with the topic or the broker, and why.
    """
    try:
        async with open_consumer(settings, *topics) as consumer:
            # Without a group, a consumer of topics has all their partitions from the start.
            partitions = sorted(consumer.assignment())
            missing = sorted(set(topics) - {partition.topic for partition in partitions})
            if missing:
                raise TopicNotRead(f"{', '.join(missing)}: no such topic at {settings.kafka.bootstrap}")
            await _seek(consumer, partitions, from_ms)
            return list(in_order(await _read(consumer, partitions, to_ms)))
    except KafkaError as error:
        raise TopicNotRead(f"{', '.join(topics)} at {settings.kafka.bootstrap}: {error!r}") from None


async def _seek(consumer: AIOKafkaConsumer, partitions: list[TopicPartition], from_ms: Millis) -> None:
    if from_ms <= 0:
        await consumer.seek_to_beginning(*partitions)
        return
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, from_ms))
    ends = await consumer.end_offsets(partitions)
    for partition in partitions:
        at = found.get(partition)
        consumer.seek(partition, at.offset if at is not None else ends[partition])


async def _read(consumer: AIOKafkaConsumer, partitions: list[TopicPartition], to_ms: Millis) -> list[Recorded]:
    ends = await consumer.end_offsets(partitions)
    read: list[Recorded] = []
    while [p for p in partitions if await consumer.position(p) < ends[p]]:
        for partition, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
            for record in records:
                if record.value is not None and record.timestamp < to_ms and record.offset < ends[partition]:
                    place = f"{record.topic}/{record.partition}@{record.offset}"
                    read.append(stamp_of(place, record.value, record.headers, record.timestamp))
    # Partitions come interleaved in no set order; the place settles equal times.
    return sorted(read, key=lambda event: (event.time_ms, event.place))
