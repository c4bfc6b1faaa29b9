"""
Judge's state as it is kept: one snapshot a part, in a Faust table whose changelog is partitioned as the journal.

The same prefix of the journal gives the same state on every worker, so two snapshots of one part never disagree;
one is only older. Wherever two meet (recovery, a worker that woke up late, memory against table) the one that has
seen the higher journal offset wins, and so no worker needs to be fenced off.
"""

from __future__ import annotations

import operator
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import faust
from faust.stores import memory

from streams.changelog import TABLE, changelog_topic
from streams.faust_app import GuardianApp
from streams.in_sequence import Place

SHRINK_OVER = 64_000
LARGEST = 900_000
"""Bytes of one snapshot, made small, that brokers take as they are usually set up (1 MB a batch)."""

__all__ = ["SnapshotStore", "SnapshotTable", "TooLarge", "changelog_topic", "packed", "snapshot_table", "unpacked"]

_PLAIN, _SMALL = b"p", b"z"

OffsetOf = Callable[[bytes], int]
_OFFSET = operator.attrgetter("offset")


class TooLarge(ValueError):
    """A part's snapshot is larger than a broker takes."""


def packed(snapshot: bytes) -> bytes:
    """
    Return a snapshot as it is kept: a marker byte, then the snapshot with a checksum of all of it; made small if long.

    Raises:
        TooLarge: it stays above ``LARGEST``. It is not cut in pieces: pieces could be mixed by two workers.
    """
    # What is stored unchanged has zlib's checksum all the same: it guards the offset, by which the newest one is told.
    value = _SMALL + zlib.compress(snapshot, 1 if len(snapshot) > SHRINK_OVER else 0)
    if len(value) > LARGEST:
        raise TooLarge(f"{len(value):,} bytes, {LARGEST:,} at most ({len(snapshot):,} before it was made small)")
    return value


def unpacked(value: bytes) -> bytes:
    """
    Return the snapshot that ``packed`` was given; without a checksum where an older version wrote it (``p``).

    Raises:
        ValueError: it was cut, changed or never written by ``packed``.
    """
    marker, rest = value[:1], value[1:]
    if marker not in (_PLAIN, _SMALL):
        raise ValueError(f"a snapshot begins with p or z, not with {marker!r}")
    if marker == _PLAIN:
        return rest
    whole = zlib.decompressobj()
    try:
        snapshot = whole.decompress(rest)
    except zlib.error as error:
        raise ValueError(f"a damaged snapshot: {error}") from None
    if not whole.eof or whole.unused_data:
        raise ValueError("a damaged snapshot: it was cut, or goes on after its end")
    return snapshot


def newest(records: Sequence[Any], to: int, offset_of: OffsetOf) -> list[Any]:
    """
    Return of the changelog's records, in their order, those after which a store knows what it would know after all of them.

    Up to the offset *to* that is of each key the newest snapshot, what cannot be read, and the last one: it says how far was
    read. What lies behind stays as it is: whoever reads to there may stop at any record of it, and has to know of each key what
    was the newest until then.
    """
    count = bisect_right(records, to, key=_OFFSET)
    best: dict[bytes, tuple[int, int]] = {}
    kept = {count - 1} if count else set()
    for at, record in enumerate(records[:count]):
        try:
            seen = offset_of(unpacked(record.value))
        except Exception:  # noqa: BLE001 - whatever a bank makes of bytes that it cannot read: the store tells of it
            kept.add(at)
        else:
            if record.key not in best or seen >= best[record.key][0]:
                best[record.key] = seen, at
    return [*(records[at] for at in sorted(kept | {at for _, at in best.values()})), *records[count:]]


def table_key(partition: int, part: str) -> bytes:
    """``partition|part``: parts of two journal partitions never share a key."""
    return f"{partition}|{part}".encode()


def split_table_key(key: bytes) -> tuple[int, str]:
    """Return ``(partition, part)``."""
    partition, _, part = key.decode().partition("|")
    return int(partition), part


class SnapshotStore(memory.Store[bytes, bytes]):
    """A table's content in memory; of two values of a key the one with the higher journal offset stays."""

    offset_of: OffsetOf

    def __post_init__(self) -> None:
        super().__post_init__()
        self.unreadable: dict[bytes, str] = {}
        """Keys of records that could not be read, and why; a part that is written again leaves it."""
        self.gaps: set[int] = set()
        """Partitions of which records of the changelog are missing here."""
        self._next: dict[int, tuple[int, int]] = {}

    def put(self, partition: int, key: bytes, value: bytes) -> bool:
        """
        Keep *value* unless a newer one is held; say whether it is held now.

        Raises:
            ValueError: *value* is no snapshot.
        """
        seen, held = self._seen(value), self.data.get(key)
        if held is not None and self._seen(held) > seen:
            return False
        self.keep(partition, key, value)
        return True

    def keep(self, partition: int, key: bytes, value: bytes) -> None:
        """Keep what this worker wrote itself: it is never older, as memory was compared with the table before."""
        self.data[key] = value
        self._key_partition[key] = partition
        self.unreadable.pop(key, None)

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:  # noqa: ARG002 - Faust's
        """Take records of the changelog, in any order, any number of times."""
        for event in batch:
            message = event.message
            self._follow(message)
            if message.key is None or message.value is None:
                continue
            try:
                self.put(message.partition, message.key, message.value)
            except Exception as error:  # noqa: BLE001 - whatever a bank makes of bytes that it cannot read
                # One unreadable record must not keep every rollout of the partition unwatched.
                self.unreadable[message.key] = f"offset {message.offset}: {error!r}"

    def _follow(self, message: Any) -> None:
        """Notice where Faust has dropped records on the way (`in_sequence`); when all is read from its start, all is there."""
        if not isinstance(place := getattr(message, "checksum", None), Place):
            return
        time, number = self._next.get(message.partition, (0, 0))
        if place.time > time and place.number == 0:
            if place.start == 0:
                self.gaps.discard(message.partition)
        elif (place.time, place.number) != (time, number):
            self.gaps.add(message.partition)
        self._next[message.partition] = (place.time, place.number + 1)

    def _seen(self, value: bytes) -> int:
        return self.offset_of(unpacked(value))


class SnapshotTable(faust.Table[bytes, bytes]):
    """The table of snapshots; make it with ``snapshot_table``."""

    offset_of: OffsetOf

    def _new_store_by_url(self, url: Any) -> SnapshotStore:
        store = SnapshotStore(
            url,
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
        )
        store.offset_of = self.offset_of
        return store

    @property
    def snapshots(self) -> SnapshotStore:
        """What the table holds now."""
        store = self.data
        assert isinstance(store, SnapshotStore)
        return store

    def unreadable(self, partition: int) -> dict[str, str]:
        """The parts of one journal partition whose snapshot cannot be read, and why."""
        found = ((split_table_key(key), why) for key, why in self.snapshots.unreadable.items())
        return {part: why for (owner, part), why in found if owner == partition}

    def snapshot(self, partition: int, part: str) -> bytes | None:
        """The snapshot held of one part, ``None`` if there is none."""
        value = self.snapshots.data.get(table_key(partition, part))
        return None if value is None else unpacked(value)

    def parts(self, partition: int) -> Iterator[tuple[str, bytes]]:
        """The parts of one journal partition and their snapshots."""
        for key, value in list(self.snapshots.data.items()):
            owner, part = split_table_key(key)
            if owner == partition:
                yield part, unpacked(value)


def snapshot_table(app: GuardianApp, topic: str, partitions: int, offset_of: OffsetOf) -> SnapshotTable:
    """Return the table over changelog *topic*, which has as many *partitions* as the journal."""
    changelog = app.topic(
        topic,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=partitions,
        compacting=True,
        acks=False,
        internal=True,
        maxsize=131_072,
        allow_empty=True,
    )
    table = app.Table(
        TABLE,
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        changelog_topic=changelog,
        recovery_buffer_size=256,
    )
    assert isinstance(table, SnapshotTable)
    table.offset_of = offset_of
    # Whoever takes over reads all of it, and Faust takes a tenth of a millisecond for each record that it hands on.
    app.shortened = partial(newest, offset_of=offset_of)
    return table
