"""
Keeps what ``judge`` knows: writes snapshots, then acknowledges the journal entries that they have seen.

The order of one round, for each partition: what is owed for its entries is delivered, changed parts are written, the
sources are written, entries are acknowledged. A round that fails anywhere acknowledges nothing and is done again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import structlog

from guardian.bank import Bank
from guardian.packing import NewerFormat
from streams.outlet import Headers, NotDelivered, Outlet
from streams.snapshots import SnapshotTable, TooLarge, packed, table_key
from streams.telemetry import SNAPSHOT_BYTES, SNAPSHOT_SECONDS

log = structlog.get_logger()

REFRESHED_A_ROUND = 50


@dataclass(slots=True)
class Owed:
    """A record that must be delivered before the entry that led to it is acknowledged."""

    topic: str
    key: str
    value: bytes | None
    headers: Headers
    delivery: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Partition:
    """One journal partition: its bank, and what stands between its entries and their acknowledgement."""

    number: int
    bank: Bank
    applied_at_s: float = 0.0
    seen: int = -1
    entries: deque[Any] = field(default_factory=deque)
    owed: list[Owed] = field(default_factory=list)
    unsaved: dict[str, bytes] = field(default_factory=dict)
    saved_at_s: dict[str, float] = field(default_factory=dict)
    too_large: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    newer: dict[str, str] = field(default_factory=dict)
    is_missing: bool = False
    """Whether there is no snapshot at all, or none of the sources: without them nothing was ever acknowledged."""
    first: int = -1
    """The first entry taken since the partition was assigned; -1 before it."""

    def load(self, table: SnapshotTable) -> int:
        """
        Take each part from *table* where that has seen more; return how many were taken.

        A part whose newest record cannot be read is not taken from an older one: what lies between would be skipped.
        """
        now_s = time.monotonic()
        taken = 0
        self.unreadable, self.newer, self.first = table.unreadable(self.number), {}, -1
        parts = dict(table.parts(self.number))
        self.is_missing = Bank.SOURCES not in parts and self.seen < 0
        for part, snapshot in parts.items():
            if part in self.unreadable:
                continue
            try:
                taken += self.bank.load(part, snapshot)
            except NewerFormat as error:
                self.newer[part] = str(error)
            except Exception as error:  # noqa: BLE001 - one part must not keep all others unwatched
                self.unreadable[part] = repr(error)
            else:
                self.saved_at_s.setdefault(part, now_s)
        for part, why in self.unreadable.items():
            log.error("snapshot_not_readable", partition=self.number, part=part, reason=why)
        return taken

    def acknowledge(self, seen: int) -> None:
        """Let Faust commit every entry up to offset *seen*."""
        while self.entries and self.entries[0].message.offset <= seen:
            self.entries.popleft().ack()


class Keeper:
    """
    Writes the snapshots of partitions to *changelog*, and into *table* what is known to be kept.

    *refresh_s* is after how long a part is written again though it did not change: a broker that forgets or compacts
    then never holds only an old one.
    """

    def __init__(self, outlet: Outlet, table: SnapshotTable, changelog: str, *, refresh_s: float) -> None:
        self._outlet = outlet
        self._table = table
        self._changelog = changelog
        self._refresh_s = refresh_s
        self.written = 0
        """Bytes written until now."""

    async def save(self, partitions: list[Partition]) -> None:
        """One round for each of *partitions*; what could not be written is logged, and tried again next time."""
        started_s = time.perf_counter()
        await asyncio.gather(*map(self._save, partitions))
        SNAPSHOT_SECONDS.observe(time.perf_counter() - started_s)

    async def _save(self, held: Partition) -> None:
        # What is acknowledged below, what is owed for it, and the state that has seen it, taken in one go.
        seen, owed, held.owed = held.seen, held.owed, []
        for part, snapshot in held.bank.dirty().items():
            held.unsaved[part] = snapshot
        self._refresh(held)
        try:
            await self._settle(held, owed)
            await self._write_all(held, [part for part in held.unsaved if part != Bank.SOURCES])
            await self._write_all(held, [part for part in held.unsaved if part == Bank.SOURCES])
        except NotDelivered as error:
            log.warning("snapshot_not_kept", partition=held.number, reason=str(error))
        except TooLarge:
            pass  # said once, and by readiness for as long as it lasts
        else:
            held.acknowledge(seen)

    async def _settle(self, held: Partition, owed: list[Owed]) -> None:
        for number, one in enumerate(owed):
            try:
                if one.delivery is None:
                    await self._outlet.send(one.topic, one.key, one.value, headers=one.headers)
                else:
                    await one.delivery
            except NotDelivered:
                one.delivery = None
                held.owed[:0] = owed[number:]
                raise

    async def _write_all(self, held: Partition, parts: list[str]) -> None:
        records = {}
        too_large = None
        for part in parts:
            try:
                records[part] = (table_key(held.number, part), packed(held.unsaved[part]))
            except TooLarge as error:
                too_large = error
                if part not in held.too_large:
                    where = {"partition": held.number, "part": part}
                    log.error("snapshot_too_large", **where, size=str(error))  # noqa: TRY400 - no defect
                held.too_large[part] = str(error)
        await self._outlet.send_all(self._changelog, held.number, records.values())
        for part, (key, value) in records.items():
            self._kept(held, part, key, value)
        if too_large:
            raise too_large

    def _kept(self, held: Partition, part: str, key: bytes, value: bytes) -> None:
        self._table.snapshots.keep(held.number, key, value)
        held.too_large.pop(part, None)
        held.unreadable.pop(part, None)
        del held.unsaved[part]
        # Moved to the end: the dictionary stays in order of time.
        held.saved_at_s.pop(part, None)
        held.saved_at_s[part] = time.monotonic()
        self.written += len(value)
        SNAPSHOT_BYTES.inc(len(value))

    def _refresh(self, held: Partition) -> None:
        due_s = time.monotonic() - self._refresh_s
        due: list[str] = []
        for part, at_s in held.saved_at_s.items():
            if at_s > due_s or len(due) == REFRESHED_A_ROUND:
                break
            due.append(part)
        for part in due:
            snapshot = self._table.snapshot(held.number, part)
            if snapshot is not None:
                held.unsaved.setdefault(part, snapshot)
