"""
The page's feed: what the guardian publishes, read without a consumer group into the board, and on to open pages.

Without a group there is no rebalance to wait for and nothing to commit: each process that serves the page reads
everything itself, rollouts from their beginning, decisions and receipts of the last days.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, ROLLOUT_TYPE, Decision, Receipt
from guardian.errors import EventError
from streams.apps.board import Board, RolloutNow
from streams.apps.live import Hub
from streams.clock import now_ms
from streams.cloudevents import Data, from_event
from streams.settings import Settings
from streams.status import Status
from streams.telemetry import DEAD_LETTERS

log = structlog.get_logger()

BACK_MS = 7 * 86_400_000
"""How far back decisions and receipts are read at the start; the board keeps the newest of them."""
POLL_MS = 200
PROBE_S = 2.0
SILENT_S = 6.0
"""Without any answer of Kafka for this long the page says that it shows the past."""
RETRY_S = 1.0


class Feed:
    """Reads until cancelled; ``state`` is what the page says of it."""

    def __init__(self, settings: Settings, board: Board, hub: Hub, status: Status) -> None:
        self._settings = settings
        self._board = board
        self._hub = hub
        self._status = status
        self._answered_s = time.monotonic()
        self._broken = ""
        self.caught_up = False

    async def run(self) -> None:
        """Read until cancelled. A broker that is away is waited for, and said to be away."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                try:
                    await self._read()
                except KafkaError as error:
                    self._broken = f"Kafka: {error!r}"
                    self._say(False, self._broken)
                    await asyncio.sleep(RETRY_S)
        finally:
            watching.cancel()

    async def _read(self) -> None:
        topics = self._settings.topics
        consumer = AIOKafkaConsumer(
            topics.rollouts,
            topics.decisions,
            topics.receipts,
            **self._settings.kafka.client_options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            # The embedded broker holds every empty fetch for the whole wait, whatever arrives meanwhile.
            fetch_max_wait_ms=20 if self._settings.kafka.embedded else 500,
        )
        probing: asyncio.Task[None] | None = None
        try:
            await consumer.start()
            await self._skip_the_past(consumer)
            ends: dict[TopicPartition, int] = await consumer.end_offsets(consumer.assignment())
            probing = asyncio.create_task(self._probe(consumer))
            self._broken = ""
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
                for records in batches.values():
                    for record in records:
                        self._take(record)
                if not self.caught_up and await _passed(consumer, ends):
                    self.caught_up = True
                    self._say(True, "")
        finally:
            if probing is not None:
                probing.cancel()
            await consumer.stop()

    async def _skip_the_past(self, consumer: AIOKafkaConsumer) -> None:
        """Start decisions and receipts ``BACK_MS`` ago; where nothing came since, at what was before."""
        old = [tp for tp in consumer.assignment() if tp.topic != self._settings.topics.rollouts]
        since_ms = now_ms() - BACK_MS
        found = await consumer.offsets_for_times(dict.fromkeys(old, since_ms))
        for tp, offset in found.items():
            if offset is not None and offset.offset >= 0:
                consumer.seek(tp, offset.offset)

    async def _probe(self, consumer: AIOKafkaConsumer) -> None:
        """Ask Kafka something from time to time: a client whose broker is away is silent, not failed."""
        while True:
            asked = asyncio.ensure_future(consumer.end_offsets(consumer.assignment()))
            done, _ = await asyncio.wait({asked}, timeout=SILENT_S)
            if done and asked.exception() is None:
                self._answered_s = time.monotonic()
            asked.cancel()
            await asyncio.sleep(PROBE_S)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            silent_s = time.monotonic() - self._answered_s
            if silent_s > SILENT_S:
                self._say(False, f"Kafka has not answered for {silent_s:.0f} s")
            elif self.caught_up and not self._broken:
                self._say(True, "")

    def _say(self, ok: bool, why: str) -> None:
        changed = self._status.is_ready != ok
        self._status.ready(ok, why, rollouts=self._board.number_of_rollouts)
        if changed:
            self._hub.publish("feed", "feed", json.dumps(self.state()))

    def state(self) -> dict[str, bool | str]:
        """Return ``ok`` and ``why``: whether what the page shows is now, and if not, why."""
        ok = self._status.is_ready
        return {"ok": ok, "why": "" if ok else self._status.why}

    def _take(self, record: ConsumerRecord[Any, Any]) -> None:
        self._answered_s = time.monotonic()
        try:
            self._take_event(record)
        except EventError as error:
            DEAD_LETTERS.labels(record.topic).inc()
            log.warning(
                "record_not_readable",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=str(error),
            )

    def _take_event(self, record: ConsumerRecord[Any, Any]) -> None:
        topics = self._settings.topics
        if record.topic == topics.rollouts:
            self._take_rollout((record.key or b"").decode(errors="replace"), record.value)
        elif record.topic == topics.decisions:
            decision = self._board.take_decision(self._signed(record, Decision, DECISION_TYPE))
            if decision is not None:
                self._hub.publish("decision", decision.decision_id, decision)
        else:
            receipt = self._board.take_receipt(self._signed(record, Receipt, RECEIPT_TYPE))
            if receipt is not None:
                self._hub.publish("receipt", receipt.decision_id, receipt)

    def _signed(self, record: ConsumerRecord[Any, Any], model: type[Data], of_type: str) -> Data:
        return from_event(record.value, model, type=of_type, keys=self._settings.signing.keys)

    def _take_rollout(self, key: str, value: bytes | None) -> None:
        if value is None:
            if self._board.drop_rollout(key):
                self._hub.publish("gone", key, key_json(key))
            return
        now = from_event(value, RolloutNow, type=ROLLOUT_TYPE)
        if self._board.take_rollout(now):
            self._hub.publish("rollout", now.key, now)


def key_json(key: str) -> str:
    """Return ``{"key": …}`` as JSON."""
    return json.dumps({"key": key})


async def _passed(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    # Positions, not records: the last ones may be markers of transactions, which nobody is handed.
    for tp, end in ends.items():
        if await consumer.position(tp) < end:
            return False
    return True
