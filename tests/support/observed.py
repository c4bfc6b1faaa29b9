"""Events into Kafka and sums out of the journal, counted on both sides."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from guardian.journal import Summary, decode
from streams.observe import run_observe
from streams.reading import fetch_wait_ms
from streams.settings import Settings
from streams.status import Status
from tests.support.events import exposure, outcome
from tests.support.folds import totals

Totals = dict[tuple[str, str], tuple[int, int, int]]


class Services:
    """Sends exposures and outcomes, half of them with an id, and counts them by flag and variation."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, flags: int = 4) -> None:
        self._topics = settings.topics
        self._producer = producer
        self._number = 0
        self._flags = flags
        self.sent: Totals = {}

    async def send(self, count: int, *, ago_ms: int = 0) -> None:
        """Send so many events, evenly over the partitions, and wait until they are kept."""
        deliveries = [await self._send_one(ago_ms) for _ in range(count)]
        await asyncio.gather(*deliveries)

    @asynccontextmanager
    async def busy(self, events_per_s: int) -> AsyncIterator[None]:
        """Send events all the time, for as long as the context lasts."""
        going = True

        async def go() -> None:
            while going:
                await self.send(events_per_s // 20)
                await asyncio.sleep(0.05)

        sending = asyncio.ensure_future(go())
        try:
            yield
        finally:
            going = False
            await sending

    async def _send_one(self, ago_ms: int) -> Any:
        number, self._number = self._number, self._number + 1
        variation = "treatment" if number % 3 == 0 else "control"
        common: dict[str, Any] = {
            "time": time.time_ns() // 1_000_000 - ago_ms, "context_id": f"u-{number % 50}",
            "id": str(number) if number % 2 else None,
        }  # fmt: skip
        if number % 5 == 0:
            self._count("checkout-v2", variation, 1, 0, 0)
            event, topic = exposure(variant=variation, **common), self._topics.exposures[0]
        else:
            failed = number % 7 == 0
            flags = {"checkout-v2": variation, f"flag-{number % self._flags}": "on"}
            for flag, shown in flags.items():
                self._count(flag, shown, 0, 1, int(failed))
            event, topic = outcome(flags, outcome="error" if failed else "ok", **common), self._topics.outcomes[0]
        return await self._producer.send(topic, json.dumps(event).encode(), partition=number % 4)

    def _count(self, flag: str, variation: str, *more: int) -> None:
        key = f"production|{flag}", variation
        exposures, outcomes, errors = (a + b for a, b in zip(self.sent.get(key, (0, 0, 0)), more, strict=True))
        self.sent[key] = exposures, outcomes, errors


class Journal:
    """What is committed in the journal (or another topic), read as it comes."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._counted = 0
        self._totals: Totals = {}
        self.records: list[ConsumerRecord] = []

    async def poll(self) -> None:
        """Read on."""
        for records in (await self._consumer.getmany(timeout_ms=50)).values():
            self.records += records

    @property
    def entries(self) -> list[Any]:
        """All entries so far."""
        return [decode(record.value) for record in self.records]

    @property
    def summaries(self) -> list[Summary]:
        """All summaries so far."""
        return [entry for entry in self.entries if isinstance(entry, Summary)]

    @property
    def totals(self) -> Totals:
        """Exposures, outcomes and errors of all summaries so far, by flag and variation."""
        new = [decode(record.value) for record in self.records[self._counted :]]
        self._counted = len(self.records)
        for arm, more in totals(flag for entry in new if isinstance(entry, Summary) for flag in entry.flags).items():
            exposures, outcomes, errors = (a + b for a, b in zip(self._totals.get(arm, (0, 0, 0)), more, strict=True))
            self._totals[arm] = exposures, outcomes, errors
        return self._totals

    async def until_summed(self, sent: Totals, within_s: float) -> None:
        """Read until as much is summed as was sent; fails if it never is, or if it is something else."""
        deadline_s = time.monotonic() + within_s
        while _size(self.totals.values()) < _size(sent.values()) and time.monotonic() < deadline_s:
            await self.poll()
        # Something counted twice would come now.
        for _ in range(10):
            await self.poll()

        assert sent == self.totals


def _size(counts: Iterable[tuple[int, int, int]]) -> int:
    return sum(exposures + outcomes for exposures, outcomes, _ in counts)


@asynccontextmanager
async def observing(settings: Settings) -> AsyncIterator[Status]:
    """Observe for as long as the context lasts; ended as the supervisor ends it."""
    status = Status("observe")
    running = asyncio.ensure_future(run_observe(settings, status))
    try:
        yield status
    finally:
        running.cancel()
        await asyncio.wait({running})


@asynccontextmanager
async def services(settings: Settings, flags: int = 4) -> AsyncIterator[Services]:
    """Services that send to the input topics, with about so many flags."""
    producer = AIOKafkaProducer(**settings.kafka.client_options(), enable_idempotence=True, linger_ms=5)
    await producer.start()
    try:
        yield Services(settings, producer, flags)
    finally:
        await producer.stop()


@asynccontextmanager
async def journal(settings: Settings, topic: str = "") -> AsyncIterator[Journal]:
    """The committed records of the journal, or of another topic."""
    consumer = AIOKafkaConsumer(
        topic or settings.topics.journal,
        **settings.kafka.client_options(),
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        check_crcs=False,
        fetch_max_wait_ms=fetch_wait_ms(settings),
    )
    await consumer.start()
    try:
        yield Journal(consumer)
    finally:
        await consumer.stop()
