"""What is committed for one input partition, as far as it can be believed."""

from __future__ import annotations

import time
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

log = structlog.get_logger()

PATIENCE_S = 10.0
"""So long a committed offset is not believed that lies before what we have committed."""


Place = tuple[int, str]
"""A committed offset and the note beside it."""


class Offsets:
    """The offsets of one input partition, asked of the consumer's group."""

    def __init__(self, consumer: AIOKafkaConsumer, at: TopicPartition) -> None:
        self._consumer = consumer
        self._at = at
        self._behind_from_s: float | None = None

    async def committed(self, ours: Place | None) -> tuple[int | None, str]:
        """
        Return the committed offset and the note beside it; None where nothing was ever committed.

        ``ours`` is what we have committed, if we have. Nobody commits an earlier offset while we read, but after a
        crash of a broker such answers were seen. They are refused for a while; after that Kafka has lost our commit.

        Raises:
            KafkaError: Kafka cannot be reached, or its answer lies before ours.
        """
        # The public ``committed()`` leaves out what is written beside the offset.
        try:
            answer: dict[TopicPartition, Any] = await self._consumer._coordinator.fetch_committed_offsets([self._at])
        except AssertionError as error:
            # aiokafka asserts that a broker is known; one that has just begun may name none.
            raise KafkaError(repr(error)) from error
        found = answer.get(self._at)
        offset, note = (None, "") if found is None or found.offset < 0 else (found.offset, found.metadata or "")
        if ours is None or (offset is not None and offset >= ours[0]):
            self._behind_from_s = None
            return offset, note
        now_s = time.monotonic()
        self._behind_from_s = self._behind_from_s or now_s
        if now_s - self._behind_from_s < PATIENCE_S:
            raise KafkaError(f"offset {offset} is said to be committed, but we have committed {ours[0]}")
        log.error("commit_lost", topic=self._at.topic, partition=self._at.partition, ours=ours[0], committed=offset)
        self._behind_from_s = None
        return offset, note

    async def beginning(self) -> int:
        """Return the first offset that there is."""
        first: dict[TopicPartition, int] = await self._consumer.beginning_offsets([self._at])
        return first[self._at]

    async def confirm(self, place: Place) -> None:
        """Take note of what a transaction has committed: nothing more is needed, Kafka has it."""


class EmbeddedOffsets(Offsets):
    """
    The same of the embedded broker, which forgets the offsets that come in transactions.

    Each is committed once more, without one. That may be refused in a rebalance; but whoever reads there is alone
    (decision 4), so what we have committed is never what the group says, where the two differ.
    """

    async def committed(self, ours: Place | None) -> tuple[int | None, str]:
        """
        Return what we have committed; if we have nothing, what is said to be.

        Raises:
            KafkaError: the broker cannot be reached.
        """
        return ours or await super().committed(None)

    async def confirm(self, place: Place) -> None:
        """Commit the offset once more, for whoever is started after us."""
        try:
            await self._consumer.commit({self._at: OffsetAndMetadata(*place)})
        except KafkaError as error:
            log.warning("offset_not_committed", topic=self._at.topic, partition=self._at.partition, reason=repr(error))
