"""
Reading at less cost than aiokafka's own: larger gulps, and records without a ``ConsumerRecord`` around each.

Both reach into private parts of it; where those have changed, records simply
come as always.

A batch that cannot be taken apart (of an unknown compression, damaged, or a bomb) is one record that cannot be read:
aiokafka would fail at it again and again, and whoever writes one such batch would stop the partition for good.
"""

from __future__ import annotations

import ctypes
import sys
from functools import partial
from typing import Any

import aiokafka.conn
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords

from streams.folding.wire import Unread

_NEEDED = {
    FetchResult: ("check_assignment", "has_more", "_update_position"),
    PartitionRecords: ("_consume_aborted_up_to", "_contains_abort_marker"),
}


GULP = 2**22
"""Bytes that may wait to be parsed before a connection stops reading: some answers, where aiokafka has a part of one."""
KEPT_FREE = 2**26
"""Bytes of freed memory that the process keeps."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def gulp() -> None:
    """
    Let this process read in gulps: whole answers at a stretch, into memory that it keeps.

    Answers are megabytes that come and go many times a second. glibc would give their pages back to the system and
    take them again, zeroed, each time.
    """
    if hasattr(aiokafka.conn, "READER_LIMIT"):
        aiokafka.conn.READER_LIMIT = GULP
    tune = _glibc("mallopt")
    if tune is not None:
        tune(_M_TRIM_THRESHOLD, KEPT_FREE)
        tune(_M_MMAP_THRESHOLD, KEPT_FREE)


def give_back() -> None:
    """
    Give memory that this process has freed back to the system, where there is much more of it than it keeps.

    glibc gives back by itself what lies at the end of its heap alone, and after a burst some of what lives on lies there.
    """
    look, trim = _glibc("mallinfo2"), _glibc("malloc_trim")
    if look is None or trim is None:
        return
    look.restype = _Heap
    if look().fordblks > 2 * KEPT_FREE:
        trim(KEPT_FREE)


class _Heap(ctypes.Structure):
    """``struct mallinfo2``; *fordblks* are the bytes that are free."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),
        )
    )


def _glibc(name: str) -> Any:
    """A function of glibc; ``None`` where there is none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def lighten(consumer: AIOKafkaConsumer) -> None:
    """
    Let a consumer that was just started, and has read nothing, return light records; see ``folding.wire.Record``.

    Wrapping them is more than half of what reading costs, and a source needs nothing that it adds.
    """
    fetcher: Any = getattr(consumer, "_fetcher", None)
    is_known = all(hasattr(kind, name) for kind, names in _NEEDED.items() for name in names)
    if is_known and getattr(fetcher, "_records", None) == {}:
        fetcher._records = _LightResults()


class _LightResults(dict[Any, Any]):
    """Answers that wait to be read; each is made light when it comes."""

    def __setitem__(self, at: Any, result: Any) -> None:
        if type(result) is FetchResult:
            # aiokafka asks for exactly this class, so the one method is replaced on the object.
            result.getall = partial(_getall, result)
        super().__setitem__(at, result)


def _getall(result: FetchResult, max_records: int | None = None) -> list[Any]:
    """Return all records that are left, or as many as wanted; the latter wrapped as always."""
    if max_records is not None:
        return FetchResult.getall(result, max_records)
    records, found = result._partition_records, list[Any]()
    if result.check_assignment(result._topic_partition) and result.has_more():
        found = _drain(records)
        result._update_position()
        result._partition_records = None
    if records is not None and not result.has_more():
        # Without these cycles the answer, megabytes of it, is freed now, and not when the collector next looks.
        records._records_iterator = None
        result.__dict__.pop("getall", None)
    return found


def _drain(records: PartitionRecords) -> list[Any]:
    """Return all records, as ``PartitionRecords`` would yield them: none of aborted transactions, no markers."""
    found: list[Any] = []
    while records._records.has_next():
        batch = records._records.next_batch()
        is_aborted = False
        if records._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            records._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and records._contains_abort_marker(batch):
                records._aborted_producers.discard(batch.producer_id)
            is_aborted = batch.is_transactional and batch.producer_id in records._aborted_producers
        if not is_aborted and not batch.is_control_batch:
            here = _records(batch)
            # A batch is sent whole, also where reading begins in its middle.
            if here and here[0].offset < records.next_fetch_offset:
                here = [record for record in here if record.offset >= records.next_fetch_offset]
            found += here
        records.next_fetch_offset = batch.next_offset
    return found


def _records(batch: Any) -> list[Any]:
    try:
        return list(batch)
    except Exception as error:  # noqa: BLE001 - what is raised depends on the compression; the same bytes raise the same
        last = batch.next_offset - 1
        why = f"batch: records {batch.base_offset} to {last} cannot be taken apart: {error!r}"
        return [Unread(why, last)]
