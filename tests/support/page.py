"""The API and its page as a test needs them, and a hand that publishes as judge and act do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, ROLLOUT_TYPE, Decision, Receipt, RolloutView
from guardian.journal import Entry, decode
from guardian.names import rollout_key
from streams.admin import ensure_topics
from streams.apps.api import run_api
from streams.cloudevents import CONTENT_TYPE, to_event
from streams.outlet import Outlet
from streams.settings import Settings
from streams.status import Status
from streams.topics import Topics
from tests.support.cluster import Cluster


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def until(true: Callable[[], Any], what: str, deadline_s: float = 30.0) -> Any:
    """Wait for a condition, or fail saying what was waited for."""
    try:
        async with asyncio.timeout(deadline_s):
            while not (found := true()):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {deadline_s:g} s: {what}") from None
    return found


@dataclass
class Hand:
    """Publishes what the guardian publishes."""

    outlet: Outlet
    topics: Topics

    async def rollout(self, view: RolloutView) -> None:
        event = to_event(ROLLOUT_TYPE, view, id=f"{view.key}|{view.at}", time=view.at, source="/test")
        await self.outlet.send(self.topics.rollouts, view.key, event, headers=CONTENT_TYPE)

    async def decision(self, decision: Decision) -> None:
        event = to_event(DECISION_TYPE, decision, id=decision.decision_id, time=decision.decided_at, source="/test")
        key = rollout_key(decision.environment, decision.flag_key)
        await self.outlet.send(self.topics.decisions, key, event, headers=CONTENT_TYPE)

    async def receipt(self, receipt: Receipt) -> None:
        event = to_event(RECEIPT_TYPE, receipt, id=receipt.receipt_id, time=receipt.at, source="/test")
        key = rollout_key(receipt.environment, receipt.flag_key)
        await self.outlet.send(self.topics.receipts, key, event, headers=CONTENT_TYPE)

    async def raw(self, topic: str, key: str, value: bytes | None) -> None:
        await self.outlet.send(topic, key, value)


@asynccontextmanager
async def hand(given: Settings) -> AsyncIterator[Hand]:
    await ensure_topics(given)
    producer = AIOKafkaProducer(**given.kafka.client_options(), acks="all")
    await producer.start()
    try:
        yield Hand(Outlet(producer), given.topics)
    finally:
        await producer.stop()


@asynccontextmanager
async def page(given: Settings) -> AsyncIterator[str]:
    """Serve until the context ends; gives the address once it has read everything."""
    await ensure_topics(given)
    status = Status("api")
    serving = asyncio.create_task(run_api(given, status))
    try:
        await until(lambda: status.is_ready or serving.done(), "the API is ready")
        if serving.done():
            serving.result()
        yield f"http://127.0.0.1:{status.numbers['port']}"
    finally:
        serving.cancel()
        await asyncio.wait({serving})


async def read_journal(given: Settings, entries: int) -> list[tuple[int, str, Entry]]:
    """The first entries of the journal: partition, key and content of each."""
    consumer = AIOKafkaConsumer(
        given.topics.journal, **given.kafka.client_options(), auto_offset_reset="earliest", fetch_max_wait_ms=20
    )
    found: list[tuple[int, str, Entry]] = []
    await consumer.start()
    try:
        async with asyncio.timeout(10.0):
            while len(found) < entries:
                record = await consumer.getone()
                found.append((record.partition, (record.key or b"").decode(), decode(record.value or b"")))
    finally:
        await consumer.stop()
    return found


@pytest.fixture
def given(embedded_kafka: str) -> Settings:
    """Settings of an API on an embedded broker, on a port of its own."""
    return Cluster(embedded_kafka, embedded=True).settings(api={"port": 0})


@pytest.fixture
async def publish(given: Settings) -> AsyncIterator[Hand]:
    """A hand that publishes what this API reads."""
    async with hand(given) as found:
        yield found


@pytest.fixture
async def url(given: Settings) -> AsyncIterator[str]:
    """The address of this API, once it has read everything."""
    async with page(given) as found:
        yield found
