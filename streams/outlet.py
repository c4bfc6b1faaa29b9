"""
Writing to Kafka so that it is known what arrived: acknowledged by all replicas, and bounded in time.

Faust's own ``send`` loses silently when the broker refuses; this raises ``NotDelivered`` or keeps and repeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from guardian.errors import GuardianError
from streams.deadletters import DeadLetter, Origin
from streams.partitioning import partition_of
from streams.settings import Settings
from streams.status import Status
from streams.telemetry import DEAD_LETTERS, NOT_DELIVERED

log = structlog.get_logger()

MAX_BATCH = 256_000
MAX_REQUEST = 1_000_000
RETRY_S = 0.5
GIVE_UP_S = 30.0
STOP_S = 1.0

Headers = Sequence[tuple[str, bytes]]
Key = str | bytes | None


class NotDelivered(GuardianError):
    """The broker did not acknowledge a record in time, or refused it; it may still have arrived."""


def dead_letter_of(message: Any, reason: str) -> DeadLetter:
    """The dead letter of a record that Faust read; it is logged and counted here, too."""
    DEAD_LETTERS.labels(message.topic).inc()
    where = {"topic": message.topic, "partition": message.partition, "offset": message.offset}
    log.warning("record_not_readable", **where, reason=reason)
    return DeadLetter.kept(reason, Origin(**where), message.value, message.key, tuple(message.headers or ()))


class Outlet:
    """
    A producer that answers for what it is given.

    Records with a key and no *partition* go where Kafka's default partitioner puts the key, whichever client asks.
    """

    def __init__(self, producer: AIOKafkaProducer, *, timeout_s: float = 5.0) -> None:
        self._producer = producer
        self._timeout_s = timeout_s
        self._failing_from_s: float | None = None
        self._turns: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def failing_s(self) -> float:
        """For how long nothing was delivered though it should have been; 0 if the last record was."""
        return 0.0 if self._failing_from_s is None else time.monotonic() - self._failing_from_s

    def check(self) -> None:
        """
        Raise once records have failed for ``GIVE_UP_S``: some errors of a producer only a new one gets over.

        Raises:
            NotDelivered: the process should end and be started again.
        """
        if self.failing_s > GIVE_UP_S:
            raise NotDelivered(f"Kafka has taken nothing for {self.failing_s:.0f} s")

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return len(await self._producer.partitions_for(topic))

    async def send(
        self, topic: str, key: Key, value: bytes | None, *, partition: int | None = None, headers: Headers = ()
    ) -> None:
        """
        Write one record and wait until all replicas have it.

        Raises:
            NotDelivered: refused, or not acknowledged within the outlet's time; a repeat may double the record.
        """
        await (await self.post(topic, key, value, partition=partition, headers=headers))

    async def post(
        self, topic: str, key: Key, value: bytes | None, *, partition: int | None = None, headers: Headers = ()
    ) -> asyncio.Task[None]:
        """
        Put one record in line, and return the task that ends when it is kept, or with ``NotDelivered``.

        Records posted one after the other by one task keep their order in each partition. Where nobody leads a partition,
        what is for it waits, and whoever posts does not.
        """
        name = key if isinstance(key, str) else (key or b"").decode(errors="replace")
        try:
            if partition is None:
                async with asyncio.timeout(self._timeout_s):
                    partition = partition_of(name, await self.partitions(topic))
        except (TimeoutError, KafkaError) as error:
            return asyncio.ensure_future(self._refused(topic, name, error))
        raw = key.encode() if isinstance(key, str) else key
        return asyncio.ensure_future(self._in_turn(topic, partition, name, (raw, value, headers)))

    async def _in_turn(
        self, topic: str, partition: int, name: str, record: tuple[bytes | None, bytes | None, Headers]
    ) -> None:
        """
        Hand a record to the producer after those that were posted to its partition before, and wait until it is kept.

        After a refused batch aiokafka takes nothing more for its partition until that is sent again.
        """
        key, value, headers = record
        try:
            async with asyncio.timeout(self._timeout_s), self._turns[topic, partition]:
                delivery = await self._producer.send(topic, value, key=key, partition=partition, headers=list(headers) or None)
        except (TimeoutError, KafkaError) as error:
            await self._refused(topic, name, error)
        else:
            await self._delivered(topic, name, delivery)

    async def send_all(self, topic: str, partition: int, records: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Write many records, each a key and a value, to one partition in few requests; wait until all are kept.

        Raises:
            NotDelivered: not all are known to be kept; a repeat may double some.
        """
        batch = self._producer.create_batch()
        for key, value in records:
            if batch.append(timestamp=None, key=key, value=value) is None:
                await self._send_batch(topic, partition, batch)
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=key, value=value)
        if batch.record_count():
            await self._send_batch(topic, partition, batch)

    async def _send_batch(self, topic: str, partition: int, batch: Any) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                delivery = await self._producer.send_batch(batch, topic, partition=partition)
        except (TimeoutError, KafkaError) as error:
            await self._refused(topic, f"batch for partition {partition}", error)
        else:
            await self._delivered(topic, f"batch for partition {partition}", delivery)

    async def _delivered(self, topic: str, key: str, delivery: asyncio.Future[object]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.shield(delivery)
        except (TimeoutError, KafkaError) as error:
            await self._refused(topic, key, error)
        else:
            self._failing_from_s = None

    async def _refused(self, topic: str, key: str, error: Exception) -> None:
        NOT_DELIVERED.labels(topic).inc()
        if self._failing_from_s is None:
            self._failing_from_s = time.monotonic()
        timed_out = type(error) is TimeoutError
        reason = f"not acknowledged within {self._timeout_s:g} s" if timed_out else repr(error)
        if isinstance(error, TopicAuthorizationFailedError):
            reason = f"Write on topic {topic} is not granted"
        raise NotDelivered(f"{topic}: {key}: {reason}") from error


@contextlib.asynccontextmanager
async def open_outlet(settings: Settings, name: str, status: Status) -> AsyncIterator[Outlet]:
    """
    An outlet for as long as the context lasts; waits for Kafka and says so, however long that takes.

    Raises:
        asyncio.CancelledError: cancelled while it waits.
    """
    while True:
        producer = AIOKafkaProducer(
            **settings.kafka.client_options(),
            client_id=f"guardian-{name}",
            acks="all",
            enable_idempotence=True,
            max_batch_size=MAX_BATCH,
            max_request_size=MAX_REQUEST,
            request_timeout_ms=10_000,
        )
        try:
            await producer.start()
            break
        except KafkaError as error:
            await _stop(producer)
            status.ready(False, f"waiting for Kafka at {settings.kafka.bootstrap}: {error}")
            await asyncio.sleep(RETRY_S)
    try:
        yield Outlet(producer)
    finally:
        await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    # What was not delivered by now is not waited for: outboxes and unacknowledged entries bring it again.
    stopping = asyncio.ensure_future(producer.stop())
    _, pending = await asyncio.wait({stopping}, timeout=STOP_S)
    for one in pending:
        one.cancel()
