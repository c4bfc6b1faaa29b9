"""The topic of incidents in memory, and a worker that tells from it: for tests of what is told when one dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from streams.outlet import Headers, Key
from streams.telling.book import Book


class IncidentsTopic:
    """Records by partition, in their order, as a compacted topic that was never compacted."""

    def __init__(self) -> None:
        self.records: list[tuple[int, str, bytes | None]] = []

    async def send(
        self, _: str, key: Key, value: bytes | None, *, partition: int | None = None, headers: Headers = ()
    ) -> None:
        assert partition is not None
        assert dict(headers)["content-type"].startswith(b"application/cloudevents+json") or value is None
        assert isinstance(key, str)
        await asyncio.sleep(0)
        self.records.append((partition, key, value))
        await asyncio.sleep(0)

    async def read(self, number: int) -> AsyncIterator[tuple[str, bytes | None]]:
        for partition, key, value in list(self.records):
            if partition == number:
                yield key, value


def book(topic: IncidentsTopic | None = None, partitions: Iterable[int] = range(4)) -> Book:
    """The book of a worker that holds these partitions; it begins to read them."""
    topic = topic or IncidentsTopic()
    made = Book("incidents", topic, topic.read)
    made.hold(partitions)
    return made
