"""
Records as aiokafka's parser makes them, without a ``ConsumerRecord`` around each.

That wrapper is about half of what reading costs, and a source needs nothing
that it adds. This reaches into a private part of the consumer; where that
part has changed, records simply come wrapped as always.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import PartitionRecords


class _LightRecords(PartitionRecords):
    """The records of one partition in one answer of a broker."""

    def __iter__(self) -> Iterator[Any]:
        # The generator itself: without a call of a method for each record.
        return self._records_iterator or iter(())

    def _consumer_record(self, tp: object, record: Any) -> Any:
        return record


class _LightResults(dict[Any, Any]):
    """Answers that wait to be read; each is made light when it comes."""

    def __setitem__(self, at: Any, result: Any) -> None:
        records = getattr(result, "_partition_records", None)
        if type(records) is PartitionRecords:
            records.__class__ = _LightRecords
        super().__setitem__(at, result)


def lighten(consumer: AIOKafkaConsumer) -> None:
    """Let a consumer that was just started, and has read nothing, return light records; see ``folding.wire.Record``."""
    fetcher = getattr(consumer, "_fetcher", None)
    if getattr(fetcher, "_records", None) == {} and hasattr(PartitionRecords, "_consumer_record"):
        fetcher._records = _LightResults()
