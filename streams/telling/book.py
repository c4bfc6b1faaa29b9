"""
The book of incidents: what is in ``guardian.incidents.v1`` of the partitions that this worker tells for.

An incident lies in the partition of its rollout, so whoever reads a rollout's decisions owns its incidents. A record is
written whole with each change, one after the other; of two records of one incident the one of the higher revision counts,
wherever it stands, as a worker that wakes up late may have written an older one behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

import structlog
from aiokafka.errors import KafkaError

from guardian.errors import EventError
from guardian.incidents import INCIDENT_TYPE, Incident, News, newer, remember
from streams.cloudevents import CONTENT_TYPE, from_event, to_event
from streams.outlet import Headers, Key, NotDelivered

log = structlog.get_logger()

SOURCE = "/guardian/report"
RETRY_S = 0.5


class Writer(Protocol):
    """Writes a record and waits until it is kept; see ``streams.outlet.Outlet.send``."""

    async def send(
        self, topic: str, key: Key, value: bytes | None, *, partition: int | None = None, headers: Headers = ()
    ) -> None:
        """Write one record."""
        ...


Read = Callable[[int], AsyncIterator[tuple[str, bytes | None]]]
"""Yields key and value of all that stands in a partition of the topic now; raises ``KafkaError`` where it cannot."""


class _Held:
    """One partition: its incidents by name, and what of them is written."""

    def __init__(self) -> None:
        self.loaded = asyncio.Event()
        self.incidents: dict[str, Incident] = {}
        self.written: dict[str, int] = {}
        self.locks: dict[str, asyncio.Lock] = {}
        self.touched_s = time.monotonic()


class Book:
    """The incidents of the partitions that are held."""

    def __init__(self, topic: str, outlet: Writer, read: Read) -> None:
        self._topic = topic
        self._outlet = outlet
        self._read_partition = read
        self._held: dict[int, _Held] = {}
        self._loading: dict[int, asyncio.Task[None]] = {}
        self.is_assigned = False
        """Whether the group has a place for this worker, be it one without partitions."""

    @property
    def is_loaded(self) -> bool:
        """Whether all that is held was read."""
        return all(held.loaded.is_set() for held in self._held.values())

    def hold(self, partitions: Iterable[int]) -> set[int]:
        """
        Hold these partitions and no other; return those that are held no more.

        What was held before is read again, too: somebody else may have held it in between.
        """
        self.is_assigned = True
        wanted = set(partitions)
        lost = self._held.keys() - wanted
        for number in lost:
            del self._held[number]
        for loading in self._loading.values():
            loading.cancel()
        self._loading.clear()
        for number in wanted:
            held = self._held.setdefault(number, _Held())
            held.loaded.clear()
            self._loading[number] = asyncio.ensure_future(self._load(number, held))
        return lost

    async def stop(self) -> None:
        """End reading."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ready(self, partition: int) -> None:
        """
        Wait until the incidents of a partition were read.

        Raises:
            asyncio.CancelledError: the partition is somebody else's, who reads again what is not acknowledged here.
        """
        held = self._held.get(partition)
        if held is None:
            raise asyncio.CancelledError
        await held.loaded.wait()

    def incident(self, partition: int, name: str) -> Incident | None:
        """An incident as it is now."""
        held = self._held.get(partition)
        return held.incidents.get(name) if held is not None else None

    def concerned(self, partition: int, news: News) -> list[Incident]:
        """The open incidents that these news concern."""
        held = self._held.get(partition)
        return [one for one in held.incidents.values() if one.is_open and news.concerns(one)] if held else []

    def all(self) -> list[tuple[int, Incident]]:
        """Every incident of the partitions that were read, with its partition."""
        return [
            (number, one)
            for number, held in self._held.items()
            if held.loaded.is_set()
            for one in held.incidents.values()
        ]

    def put(self, partition: int, incident: Incident) -> None:
        """Take an incident as it is now; it is durable after ``save``."""
        if (held := self._held.get(partition)) is not None:
            held.incidents[incident.incident] = incident

    def change(self, partition: int, name: str, by: Callable[[Incident], Incident]) -> None:
        """Put an incident as *by* leaves it, if there still is one."""
        if (known := self.incident(partition, name)) is not None:
            self.put(partition, by(known))

    def touch(self, partition: int) -> None:
        """Take it that something was read of a partition just now."""
        if (held := self._held.get(partition)) is not None:
            held.touched_s = time.monotonic()

    def quiet_s(self, partition: int) -> float:
        """For how long nothing was read of a partition."""
        held = self._held.get(partition)
        return time.monotonic() - held.touched_s if held is not None else 0.0

    async def save(self, partition: int, name: str) -> None:
        """
        Return when the incident as it is now is durable, or its partition somebody else's.

        Kafka is waited for, for as long as that takes.
        """
        held = self._held.get(partition)
        if held is None:
            return
        async with held.locks.setdefault(name, asyncio.Lock()):
            while self._held.get(partition) is held and (known := held.incidents.get(name)) is not None:
                if held.written.get(name, -1) >= known.revision:
                    return
                try:
                    await self._outlet.send(
                        self._topic, name, _event(known), partition=partition, headers=CONTENT_TYPE
                    )
                    held.written[name] = known.revision
                except NotDelivered as error:
                    log.warning("incident_not_kept", incident=name, reason=str(error))
                    await asyncio.sleep(RETRY_S)

    async def forget(self, partition: int, name: str) -> None:
        """Delete an incident that is long over; where Kafka does not take that, it is tried another time."""
        try:
            await self._outlet.send(self._topic, name, None, partition=partition)
        except NotDelivered as error:
            log.warning("incident_not_forgotten", incident=name, reason=str(error))
            return
        if (held := self._held.get(partition)) is not None:
            for kept in (held.incidents, held.written, held.locks):
                kept.pop(name, None)

    def where(self, incident: str) -> int | None:
        """The partition of an incident that is held here."""
        return next((number for number, held in self._held.items() if incident in held.incidents), None)

    async def _load(self, number: int, held: _Held) -> None:
        while True:
            try:
                await self._read(number, held)
            except KafkaError as error:
                log.warning("reading_interrupted", topic=self._topic, reason=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                break
        held.loaded.set()
        for name, known in list(held.incidents.items()):
            if held.written.get(name, -1) < known.revision:
                await self.save(number, name)

    async def _read(self, number: int, held: _Held) -> None:
        found: dict[str, Incident] = {}
        last: dict[str, int] = {}
        async for key, value in self._read_partition(number):
            if value is None:
                found.pop(key, None)
                continue
            try:
                known = from_event(value, Incident, type=INCIDENT_TYPE)
            except EventError as error:
                log.warning("record_not_readable", topic=self._topic, partition=number, key=key, reason=str(error))
                continue
            found[key], last[key] = newer(found.get(key), known), known.revision
        # One that an older record came after is written once more: compaction keeps the last.
        held.written = {name: last[name] for name in found}
        for name, known in found.items():
            held.incidents[name] = newer(held.incidents.get(name), known)


class Memory:
    """What channels keep of incidents, in their book: a ``ChannelMemory``."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def get(self, incident: str, channel: str) -> str | None:
        """See ``ChannelMemory``."""
        where = self._book.where(incident)
        known = self._book.incident(where, incident) if where is not None else None
        return known.memory.get(channel) if known is not None else None

    async def put(self, incident: str, channel: str, value: str) -> None:
        """See ``ChannelMemory``."""
        where = self._book.where(incident)
        if where is not None:
            self._book.change(where, incident, lambda known: remember(known, channel, value))
            await self._book.save(where, incident)


def _event(known: Incident) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return to_event(INCIDENT_TYPE, known, id=f"{known.incident}|{known.revision}", time=now, source=SOURCE)

