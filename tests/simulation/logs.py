"""Logs as Kafka keeps them: ordered, numbered, and written by outlets that sometimes fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from guardian.names import Millis
from streams.outlet import NotDelivered
from tests.simulation.loop import Process


@dataclass(slots=True)
class Log:
    """
    One partition: records by their offset, when each was kept, and how far its readers have committed.

    What is acknowledged is committed now and then, as Faust does it: whoever dies before is followed by one that reads
    it again.
    """

    records: list[bytes] = field(default_factory=list)
    kept_ms: list[Millis] = field(default_factory=list)
    acknowledged: int = 0
    committed: int = 0
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    def append(self, value: bytes, kept_ms: Millis = 0) -> int:
        """Add a record; return its offset."""
        self.records.append(value)
        self.kept_ms.append(kept_ms)
        self._grown.set()
        return len(self.records) - 1

    async def beyond(self, position: int) -> None:
        """Wait until there is a record at *position*: to look again and again is what a run would take most steps for."""
        while position >= len(self.records):
            self._grown.clear()
            await self._grown.wait()

    def acknowledge(self, offset: int) -> None:
        """Be done with a record and all before it."""
        self.acknowledged = max(self.acknowledged, offset + 1)

    def commit(self) -> None:
        """Commit what is acknowledged."""
        self.committed = self.acknowledged


@dataclass(slots=True)
class Snapshots:
    """The table behind the changelog: of two snapshots of a part the one that has seen more stays."""

    offset_of: Callable[[bytes], int]
    parts: dict[str, bytes] = field(default_factory=dict)

    def put(self, part: str, snapshot: bytes) -> None:
        """Keep it unless a newer one is held."""
        held = self.parts.get(part)
        if held is None or self.offset_of(held) <= self.offset_of(snapshot):
            self.parts[part] = snapshot


@dataclass(slots=True)
class Chances:
    """How often a write is refused, and how often that was not true; 0 once it is quiet."""

    refused: float = 0.0
    kept: float = 0.0


class Outlet:
    """
    Mirrors ``streams.outlet.Outlet``: what it writes arrives a little later, in the order of posting.

    ``write`` takes topic, key and value of what arrived. Nothing of a dead process arrives.
    """

    def __init__(
        self, process: Process, dice: random.Random, chances: Callable[[str], Chances], write: Callable[[str, str, bytes], None]
    ) -> None:
        self._process, self._dice, self._chances, self._write = process, dice, chances, write
        self._due_s: dict[str, float] = {}

    async def partitions(self, topic: str) -> int:  # noqa: ARG002
        """How many partitions a topic has."""
        return 1

    async def send(self, topic: str, key: str, value: bytes | None, **_: Any) -> None:
        """Write one record; raises NotDelivered."""
        await self._deliver(topic, key, value or b"", self._turn(topic))

    async def post(self, topic: str, key: str, value: bytes | None, **_: Any) -> asyncio.Task[None]:
        """Put one record in line."""
        return asyncio.ensure_future(self._deliver(topic, key, value or b"", self._turn(topic)))

    async def send_all(self, topic: str, partition: int, records: Iterable[tuple[bytes, bytes]]) -> None:  # noqa: ARG002
        """Write many records one after the other; whoever dies in between has written some."""
        for key, value in records:
            await self._deliver(topic, key.decode(), value, self._turn(topic))

    def _turn(self, topic: str) -> float:
        now_s = asyncio.get_running_loop().time()
        self._due_s[topic] = max(self._due_s.get(topic, 0.0), now_s + self._dice.uniform(0.001, 0.02))
        return self._due_s[topic] - now_s

    async def _deliver(self, topic: str, key: str, value: bytes, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        chances = self._chances(topic)
        refused = self._dice.random() < chances.refused
        if self._process.alive and (not refused or self._dice.random() < chances.kept):
            self._write(topic, key, value)
        if refused:
            raise NotDelivered(f"{topic}: {key}: refused")
