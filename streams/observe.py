"""
observe: from the users' events to summaries in the journal, each event exactly once.

One consumer reads all input partitions that the group gives us; each has its
own ``Source``, which sums its events and writes them with its offset in
transactions of its own (``streams.observing``).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
from collections.abc import Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from streams.clock import now_ms
from streams.environment import WORKER_VARIABLE
from streams.fold import Counts
from streams.observing.excess import too_many
from streams.observing.light import give_back, gulp, lighten
from streams.observing.metrics import BEHIND, LAG, OLDEST_TRANSACTION, OPEN_TRANSACTIONS
from streams.observing.plans import Plans
from streams.observing.source import Committed, Source
from streams.observing.unpacking import bound
from streams.reading import fetch_wait_ms
from streams.scaling import BEHIND_S, Busy
from streams.settings import Settings
from streams.standstill import ends_by, until_standstill
from streams.status import Status

log = structlog.get_logger()

POLL_MS = 100
REST_S, REST_BELOW = 0.015, 2_000
"""From few records to the next read: fewer and fuller answers; what has come meanwhile still makes its flush."""
SESSION_MS, HEARTBEAT_MS = 6_000, 500
"""A killed worker's partitions are read again by others after so long."""
RETRY_S = 1.0
SAY_S = 10.0
TELL_S = 0.5
GIVE_BACK_EVERY = 20
"""Free memory goes back to the system after so many times that it was told how we are: every ten seconds."""
SILENT_MS = 5_000
"""Without an answer of the broker for so long, a source counts as not being read."""
GARBAGE_AFTER = 50_000
"""Objects made before the collector looks: events are freed by counting, and looking for cycles among them is slow."""


async def run_observe(settings: Settings, status: Status, reader: type[AIOKafkaConsumer] = AIOKafkaConsumer) -> None:
    """
    Read events and write summaries until cancelled; then what has been read goes out first.

    Events are read when the plans are, or after five seconds of waiting for them.

    A broker that is away is waited for, and that is said: in the status, and in the log every ten seconds.

    Raises:
        StoodStill: nothing is read though events come.
    """
    # Brokers answer so while the transaction before still ends; it is tried again within 20 ms, several times a second.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE_AFTER, 20, 50)
    gc.freeze()
    plans = Plans(settings)
    observer = Observer(settings, status, plans, reader)
    plans.start()
    telling = asyncio.create_task(observer.tell(), name="observe status")
    watching = asyncio.create_task(until_standstill(observer.reads, ends_by(settings)), name="observe standstill")
    said_s = -SAY_S
    try:
        while True:
            try:
                await observer.run(watching)
            except KafkaError as error:
                observer.why = f"waiting for Kafka at {settings.kafka.bootstrap}: {error}"
                status.ready(False, observer.why)
                now_s = asyncio.get_running_loop().time()
                if now_s - said_s >= SAY_S:
                    said_s = now_s
                    log.warning("waiting_for_kafka", bootstrap=settings.kafka.bootstrap, reason=repr(error))
            await asyncio.sleep(RETRY_S)
    finally:
        gc.set_threshold(*before)
        telling.cancel()
        watching.cancel()
        await asyncio.wait({telling, watching})
        await plans.stop()


class Observer(ConsumerRebalanceListener):
    """The sources of this worker, as the group assigns them."""

    def __init__(
        self, settings: Settings, status: Status, plans: Plans, reader: type[AIOKafkaConsumer] = AIOKafkaConsumer
    ) -> None:
        self.why = "starting"
        self._plans = plans
        self._settings = settings
        self._status = status
        self._group = f"{settings.kafka.group_prefix}-observe"
        self._reader = reader
        self._consumer: AIOKafkaConsumer | None = None
        self._sources: dict[TopicPartition, Source] = {}
        self._kept: dict[TopicPartition, Committed] = {}
        self._call = 0
        self._busy = Busy()

    @property
    def is_reading(self) -> bool:
        """Whether there are partitions, and all of them are read."""
        return bool(self._sources) and not any(source.why for source in self._sources.values())

    def reads(self) -> dict[TopicPartition, int]:
        """Return where reading goes on, of the partitions that are read now."""
        positions = {at: source.reading.position for at, source in self._sources.items() if not source.why}
        return {at: position for at, position in positions.items() if position is not None}

    @property
    def committed(self) -> Counts:
        """What became of the events that are committed, over the partitions that we have."""
        return sum((source.counts for source in self._sources.values()), Counts())

    async def run(self, watching: asyncio.Task[Any] | None = None) -> None:
        """
        Read until cancelled, or until *watching* ends, whose error is raised.

        Raises:
            KafkaError: Kafka cannot be reached, or refuses us.
        """
        gulp()
        bound()
        consumer = self._reader(
            **self._settings.kafka.client_options(),
            client_id="guardian-observe",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            check_crcs=False,
            fetch_max_wait_ms=min(fetch_wait_ms(self._settings), POLL_MS),
            # Started again under the same name, a worker has its partitions back at once.
            group_instance_id=f"{worker}-{self._status.name}" if (worker := os.environ.get(WORKER_VARIABLE)) else None,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
        )
        try:
            await consumer.start()
            lighten(consumer)
            self._consumer = consumer
            self.why = "reading what the rollouts want summed"
            await self._plans.wait()
            self.why = "waiting for partitions"
            consumer.subscribe(list(self._settings.topics.inputs), listener=self)
            await self._read(consumer, watching)
        finally:
            await self._stop_all(flush=True)
            self._consumer = None
            stopping = asyncio.ensure_future(consumer.stop())
            await asyncio.wait({stopping}, timeout=1.0)

    async def _read(self, consumer: AIOKafkaConsumer, watching: asyncio.Task[Any] | None) -> None:
        while watching is None or not watching.done():
            self._call += 1
            found = await consumer.getmany(timeout_ms=POLL_MS)
            # No await in between: the consumer's positions and what the sources have taken must agree.
            for at, records in found.items():
                source = self._sources.get(at)
                if source is not None:
                    source.reading.take(records)
            self._plans.check()
            for source in list(self._sources.values()):
                source.check()
                if source.reading.is_batch_full:
                    source.reading.fold()
                    await asyncio.sleep(0)
            if 0 < sum(map(len, found.values())) < REST_BELOW:
                await asyncio.sleep(REST_S)
        watching.result()

    async def on_partitions_revoked(self, _: Iterable[TopicPartition]) -> None:
        """Give the partitions up, not in the middle of a transaction."""
        self.why = "the group is rebalancing"
        await self._stop_all(flush=False)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """
        Begin to read the partitions; each begins on its own, since the group waits for us in here.

        What we remember of a partition serves again if nobody else has read it meanwhile.
        """
        consumer = self._consumer
        assert consumer is not None
        kept, self._kept = self._kept, {}
        for at in assigned:
            source = Source(
                self._settings, self._group, consumer, at, self._plans, call=lambda: self._call, kept=kept.get(at)
            )
            self._sources[at] = source
            source.start()
        self.why = ""
        log.info("partitions_assigned", partitions=sorted(source.name for source in self._sources.values()))

    async def _stop_all(self, *, flush: bool) -> None:
        sources, self._sources = self._sources, {}
        kept = await asyncio.gather(*(source.stop(flush=flush) for source in sources.values()))
        self._kept.update({at: base for at, base in zip(sources, kept, strict=True) if base is not None})

    # ------------------------------------------------------------------ status

    async def tell(self) -> None:
        """Say twice a second how it is, till cancelled; sometimes give memory back that is free."""
        for said in itertools.count(1):
            await asyncio.sleep(TELL_S)
            why, numbers = self._state()
            self._status.ready(not why, why, **numbers)
            if said % GIVE_BACK_EVERY == 0:
                give_back()

    def _state(self) -> tuple[str, dict[str, Any]]:
        sources = list(self._sources.values())
        ages_s = [age for source in sources if (age := source.transactions.age_s) is not None]
        lags = {source: source.reading.lag() for source in sources}
        OPEN_TRANSACTIONS.set(len(ages_s))
        OLDEST_TRANSACTION.set(max(ages_s, default=0.0))
        behind_s = {source: source.reading.behind_s() for source in sources}
        for source, lag in lags.items():
            LAG.labels(source.at.topic, source.at.partition).set(lag)
            BEHIND.labels(source.at.topic, source.at.partition).set(behind_s[source])
        latest_s = max(behind_s.values(), default=0.0)
        committed = self.committed
        numbers = {
            "partitions": len(sources),
            "lag": sum(lags.values()),
            "behind_s": round(latest_s, 1),
            "busy": round(self._busy.share(), 2),
            "mode": "behind" if latest_s > BEHIND_S else "keeping up",
            "open_transactions": len(ages_s),
            "oldest_transaction_s": round(max(ages_s, default=0.0), 3),
            "dead_letters": committed.dead,
            "clamped": committed.future,
            "unknown": committed.unknown,
            "too_many": too_many(committed),
        }
        return self._complaint(sources), numbers

    def _complaint(self, sources: list[Source]) -> str:
        """Return why we are not ready, or nothing."""
        if self.why:
            return self.why
        if complaints := [source.why for source in sources if source.why]:
            return complaints[0]
        silent = [source.name for source in sources if (source.reading.heard_ms() or 0) < now_ms() - SILENT_MS]
        if silent:
            return f"no answer of Kafka for {silent[0]} for {SILENT_MS // 1000} s"
        return ""
