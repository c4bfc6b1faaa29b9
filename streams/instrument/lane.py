"""One topic's way out: a bounded queue, and the task that empties it into Kafka."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import murmur2

from streams.instrument.events import HEADERS, Encoder, Event
from streams.instrument.link import Link

log = logging.getLogger("streams.instrument")

FLUSH_EVENTS = 1_000
SLICE_EVENTS = 100
ATTEMPTS = 3
# aiokafka would retry for ever, with a dozen lines a second in the service's log; then the link's pauses begin.
DELIVERY_S = 10.0
TOPIC_PAUSE_S = 1.0
SAY_EVERY_S = 30.0

OF_THE_TOPIC = (
    UnknownTopicOrPartitionError,
    TopicAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
)
"""What a new connection cannot mend."""

_Record = tuple[bytes | None, bytes, int]


class Lane:
    """
    Takes events from any thread, sends them in batches from one task.

    ``put`` never waits and never raises: when the queue is full the oldest
    event makes room (what happened last is what a verdict needs) and counts as
    dropped. An event is sent, or dropped and counted, never both.
    """

    def __init__(self, topic: str, encoder: Encoder, link: Link, *, queue_size: int, linger_ms: float) -> None:
        self.topic = topic
        self.sent = 0
        self.dropped = 0
        self._encoder = encoder
        self._link = link
        self._linger_s = linger_ms / 1000
        self._queue: deque[tuple[Event, int]] = deque(maxlen=queue_size)
        self._size = queue_size
        self._in_hand = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event
        self._asleep = False
        self._closing = False
        self._trouble = ""
        self._said_s = 0.0
        self._said_dropped = 0

    @property
    def queued(self) -> int:
        """Events not yet in Kafka: in the queue or on their way."""
        return len(self._queue) + self._in_hand

    def put(self, event: Event, at_ms: int) -> None:
        """Take one event; from any thread, with or without a running loop."""
        if len(self._queue) >= self._size:
            self.dropped += 1
        self._queue.append((event, at_ms))
        if self._asleep and self._loop is not None:
            self._asleep = False
            try:
                self._loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:
                pass  # the loop is closed: the service is going down

    def open(self) -> None:
        """Make ready for ``run``, in the loop that will run it."""
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._closing = False

    async def run(self) -> None:
        """Send what comes until ``close`` was called and all is sent; survives whatever happens to Kafka."""
        while True:
            self._say_drops()
            if not self._queue:
                if self._closing:
                    return
                await self._sleep()
                continue
            if not self._closing and len(self._queue) < FLUSH_EVENTS:
                await asyncio.sleep(self._linger_s)
            try:
                await self._flush()
            except Exception as err:  # noqa: BLE001 - a bug here must not end the sending for good
                self._drop(self._in_hand, repr(err))

    def close(self) -> None:
        """Ask ``run`` to send what is left and to end."""
        self._closing = True
        if self._loop is not None:
            self._wake.set()

    def abandon(self) -> None:
        """Count what never left as dropped; for after ``run`` was cancelled."""
        self._drop(self.queued, "stopped before it was sent")
        self._queue.clear()

    async def _sleep(self) -> None:
        self._wake.clear()
        self._asleep = True
        if not self._queue and not self._closing:  # else it came between the look and the flag
            await self._wake.wait()
        self._asleep = False

    async def _flush(self) -> None:
        # A way out first: while there is none the queue keeps turning over to what is newest.
        await self._find_topic()
        records = await self._take()
        attempts = 0
        while records:
            producer, partitions = await self._find_topic()
            records, error = await self._send(producer, partitions, records)
            self._in_hand = len(records)
            if error is None:
                return
            why = f"{self.topic}: {type(error).__name__}: {error}"
            attempts += await self._link.replace(producer, why)
            if attempts >= ATTEMPTS:
                self._drop(len(records), why)
                return

    async def _find_topic(self) -> tuple[Any, list[int]]:
        """Wait until Kafka is reached and has the topic; return the producer and the topic's partitions."""
        while True:
            producer = await self._link.producer()
            try:
                partitions = sorted(await producer.partitions_for(self.topic))
            except OF_THE_TOPIC as err:
                if not self._trouble:
                    log.warning("events for %s wait: %s", self.topic, type(err).__name__)
                self._trouble = f"{type(err).__name__}: {err}"
                self._say_drops()
                await asyncio.sleep(TOPIC_PAUSE_S)
            except (KafkaError, OSError) as err:
                await self._link.replace(producer, f"{self.topic}: {type(err).__name__}: {err}")
            else:
                self._trouble = ""
                return producer, partitions

    async def _take(self) -> list[_Record]:
        records: list[_Record] = []
        for number in range(min(len(self._queue), FLUSH_EVENTS)):
            if number and number % SLICE_EVENTS == 0:
                await asyncio.sleep(0)  # the loop is the service's: give it back every millisecond or so
            event, at_ms = self._queue.popleft()
            self._in_hand += 1
            try:
                key, value = self._encoder.encode(event, at_ms)
            except Exception as err:  # noqa: BLE001 - what a service put in or its pseudonymise raised
                self._drop(1, f"cannot encode {type(event).__name__.lower()}: {err!r}")
            else:
                records.append((key, value, at_ms))
        return records

    async def _send(
        self, producer: Any, partitions: list[int], records: list[_Record]
    ) -> tuple[list[_Record], Exception | None]:
        """Send; return the records that a new connection may still get through, and what was wrong with this one."""
        groups = _by_partition(records, partitions)
        results = await asyncio.gather(
            *(self._send_group(producer, partition, group) for partition, group in groups.items())
        )
        failed = [record for left, _ in results for record in left]
        return failed, next((error for _, error in results if error is not None), None)

    async def _send_group(
        self, producer: Any, partition: int, records: list[_Record]
    ) -> tuple[list[_Record], Exception | None]:
        start = 0
        while start < len(records):
            batch = producer.create_batch()
            end = start
            for key, value, at_ms in records[start:]:
                if batch.append(key=key, value=value, timestamp=at_ms, headers=HEADERS) is None:
                    break
                end += 1
            try:
                async with asyncio.timeout(DELIVERY_S):
                    await (await producer.send_batch(batch, self.topic, partition=partition))
            except OF_THE_TOPIC as err:
                self._drop(end - start, f"{type(err).__name__}: {err}")
            except (KafkaError, OSError) as err:  # TimeoutError is an OSError
                return records[start:], err
            else:
                self.sent += end - start
            start = end
        return [], None

    def _drop(self, number: int, why: str) -> None:
        self.dropped += number
        self._in_hand = max(0, self._in_hand - number)
        if number:
            self._say_drops(why)

    def _say_drops(self, why: str = "") -> None:
        """Log drops once in a while, not once each."""
        new = self.dropped - self._said_dropped
        now_s = time.monotonic()
        if new and now_s - self._said_s >= SAY_EVERY_S:
            reason = why or self._trouble or self._link.trouble or f"more than {self._size} events waiting"
            log.warning("dropped %d events for %s (%d in all): %s", new, self.topic, self.dropped, reason)
            self._said_s, self._said_dropped = now_s, self.dropped


def _by_partition(records: Iterable[_Record], partitions: list[int]) -> dict[int, list[_Record]]:
    """Group as Kafka's default partitioner does; keyless records of one flush share a random partition."""
    number = len(partitions)
    keyless = random.choice(partitions)
    groups: dict[int, list[_Record]] = {}
    for record in records:
        key = record[0]
        partition = keyless if key is None else partitions[(murmur2(key) & 0x7FFFFFFF) % number]
        groups.setdefault(partition, []).append(record)
    return groups
