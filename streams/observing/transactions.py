"""
One transaction after the other for one input partition.

The transactional id belongs to the input partition, not to the worker: who
starts a producer with it fences every earlier one. aiokafka commits offsets
without the group's generation, so this fence is the only one there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from guardian.errors import GuardianError
from streams.observing.metrics import TRANSACTION_SECONDS, TRANSACTIONS
from streams.settings import Settings

log = structlog.get_logger()

START_S = 15.0
"""Longest wait for a producer to start; then another one is tried."""
RETRY_BACKOFF_MS = 20
"""aiokafka's pause when a transaction still ends on the broker; its own 100 ms would be most of a flush."""
MAX_BATCH = 256_000
MAX_REQUEST = 1_000_000

Headers = Sequence[tuple[str, bytes]]


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record to be written in the transaction; ``partition`` None: in the order of the source, together with others."""

    topic: str
    value: bytes | None
    partition: int | None = None
    key: bytes | None = None
    headers: Headers = ()


class TransactionFailed(GuardianError):
    """The transaction did not commit, or it is not known whether it did; a new producer is needed to find out."""

    def __init__(self, why: str, *, fenced: bool = False) -> None:
        super().__init__(why)
        self.fenced = fenced


class Transactions:
    """
    Transactions of one input partition; one at a time.

    After ``TransactionFailed`` nothing but ``start`` works, and ``start``
    settles the failed one: it is then aborted, or its offset is committed.
    """

    def __init__(self, settings: Settings, group: str, source: TopicPartition) -> None:
        self._settings = settings
        self._group = group
        self._source = source
        self._producer: AIOKafkaProducer | None = None
        self._began_s: float | None = None
        self._got_on_s = 0.0
        self._leaving: set[asyncio.Future[None]] = set()

    @property
    def transactional_id(self) -> str:
        """The id that fences every other writer of this input partition."""
        return f"{self._group}-{self._source.topic}-{self._source.partition}"

    @property
    def age_s(self) -> float | None:
        """How long the open transaction has been open, or None where there is none."""
        return None if self._began_s is None else time.monotonic() - self._began_s

    async def start(self) -> None:
        """
        Start a new producer, which fences all earlier ones of this input partition.

        Raises:
            KafkaError: Kafka cannot be reached or refuses.
        """
        self.abandon()
        producer = AIOKafkaProducer(
            **self._settings.kafka.client_options(),
            client_id="guardian-observe",
            transactional_id=self.transactional_id,
            transaction_timeout_ms=self._settings.observe.transaction_timeout_ms,
            acks="all",
            retry_backoff_ms=RETRY_BACKOFF_MS,
            max_batch_size=MAX_BATCH,
            max_request_size=MAX_REQUEST,
        )
        starting = asyncio.ensure_future(producer.start())
        try:
            done, _ = await asyncio.wait({starting}, timeout=START_S)
        except asyncio.CancelledError:
            self._leave(producer, starting)
            raise
        if not done or starting.exception() is not None:
            self._leave(producer, starting)
            error = starting.exception() if done else KafkaError(f"no producer within {START_S:g} s")
            # aiokafka asserts that a broker is known; one that has just begun may name none.
            raise KafkaError(repr(error)) if isinstance(error, AssertionError) else error or KafkaError("no producer")
        self._producer = producer

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        assert self._producer is not None, "start first"
        return len(await self._producer.partitions_for(topic))

    async def settle(self, messages: Sequence[Message]) -> None:
        """
        Write the messages, one for each partition that may be written to, and an offset, and take all of it back.

        A broker that crashed may, when it is back, hold a transaction for ended whose records it has not marked: our
        next commit would commit those, too, and what they hold is read again. So there is an abort first. It also
        lets the group's coordinator write: until then it may answer with older offsets than are committed.

        Raises:
            TransactionFailed: it was refused, or is not done within ``START_S``.
        """
        producer = self._producer
        assert producer is not None, "start first"
        settling = asyncio.ensure_future(self._settle(producer, messages))
        done, _ = await asyncio.wait({settling}, timeout=START_S)
        if not done or settling.exception() is not None:
            self._producer = None
            self._leave(producer, settling)
            raise TransactionFailed(repr(settling.exception()) if done else f"not settled within {START_S:g} s")

    async def _settle(self, producer: AIOKafkaProducer, messages: Sequence[Message]) -> None:
        await producer.begin_transaction()
        for message in messages:
            await producer.send(message.topic, message.value, partition=message.partition)
        await producer.send_offsets_to_transaction({self._source: OffsetAndMetadata(0, "")}, self._group)
        await producer.flush()
        await producer.abort_transaction()

    async def commit(self, messages: Sequence[Message], offset: int, note: str) -> None:
        """
        Write the messages and commit the offset with the note beside it: all or nothing.

        Raises:
            TransactionFailed: it was refused, or did not get on for ``observe.stuck_after_s``.
        """
        producer = self._producer
        if producer is None:
            raise TransactionFailed("there is no producer")
        self._began_s = self._got_on_s = time.monotonic()
        transaction = asyncio.ensure_future(self._commit(producer, messages, OffsetAndMetadata(offset, note)))
        try:
            await self._done_or_stuck(transaction)
        finally:
            if not transaction.done() or transaction.exception() is not None:
                self._producer = None
                self._leave(producer, transaction)
            took_s, self._began_s = time.monotonic() - self._began_s, None
        if not transaction.done():
            TRANSACTIONS.labels("stuck").inc()
            stuck_s = self._settings.observe.stuck_after_s
            raise TransactionFailed(f"not committed in {took_s:.1f} s, nothing was answered in the last {stuck_s:g} of them")
        if error := transaction.exception():
            TRANSACTIONS.labels("failed").inc()
            raise TransactionFailed(repr(error), fenced=isinstance(error, ProducerFenced)) from error
        TRANSACTIONS.labels("committed").inc()
        TRANSACTION_SECONDS.observe(took_s)

    def abandon(self) -> None:
        """Give up the producer without waiting for it; an open transaction is ended by the next ``start``."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._leave(producer, None)

    async def stop(self, timeout_s: float) -> None:
        """Stop the producer, waiting so long at most."""
        self.abandon()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=timeout_s)

    async def _done_or_stuck(self, transaction: asyncio.Future[None]) -> None:
        """
        Wait for the transaction for as long as it gets on.

        A limit of all of it would be too short for a broker that is slow, again and again; and what hangs shows sooner so.
        """
        while not transaction.done():
            left_s = self._got_on_s + self._settings.observe.stuck_after_s - time.monotonic()
            if left_s <= 0:
                return
            # Not wait_for: its exit would wait for the transaction to be aborted, which may hang just as long.
            await asyncio.wait({transaction}, timeout=left_s)

    def _gets_on(self, _: object = None) -> None:
        """Kafka has answered a part of the open transaction."""
        self._got_on_s = time.monotonic()

    async def _commit(
        self, producer: AIOKafkaProducer, messages: Sequence[Message], offset: OffsetAndMetadata
    ) -> None:
        await producer.begin_transaction()
        # The offsets first: readers of the journal wait from its first record to the end of the transaction.
        await producer.send_offsets_to_transaction({self._source: offset}, self._group)
        self._gets_on()
        deliveries = [
            await producer.send(
                message.topic, message.value, partition=message.partition, key=message.key,
                headers=list(message.headers) or None,
            )
            for message in messages if message.partition is not None
        ]  # fmt: skip
        deliveries += await self._send_together(producer, [message for message in messages if message.partition is None])
        for delivery in deliveries:
            delivery.add_done_callback(self._gets_on)
        results = await asyncio.gather(*deliveries, return_exceptions=True)
        if failed := [result for result in results if isinstance(result, BaseException)]:
            raise failed[0]
        await producer.commit_transaction()

    async def _send_together(
        self, producer: AIOKafkaProducer, messages: Sequence[Message]
    ) -> list[asyncio.Future[Any]]:
        """Send messages of one topic in few batches: one by one, thousands of dead letters would cost more than all else."""
        if not messages:
            return []
        topic = messages[0].topic
        partition = self._source.partition % len(await producer.partitions_for(topic))
        deliveries, batch = [], producer.create_batch()
        for one in messages:
            if batch.append(timestamp=None, key=one.key, value=one.value, headers=one.headers) is None:
                deliveries.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(timestamp=None, key=one.key, value=one.value, headers=one.headers)
        return [*deliveries, await producer.send_batch(batch, topic, partition=partition)]

    def _leave(self, producer: AIOKafkaProducer, task: asyncio.Future[None] | None) -> None:
        leaving = asyncio.ensure_future(_end(producer, task))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


async def _end(producer: AIOKafkaProducer, task: asyncio.Future[None] | None) -> None:
    """End what was abandoned, however long that takes; nobody waits for it."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen, so that nobody warns of it
    try:
        await producer.stop()
    except KafkaError as error:
        log.debug("abandoned_producer", reason=repr(error))
    finally:
        # aiokafka tells itself, too, why a transaction has failed; unseen, asyncio would warn of that with a traceback.
        waiter = getattr(getattr(producer, "_txn_manager", None), "_transaction_waiter", None)
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()
