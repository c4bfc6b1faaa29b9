"""
The dead man's switch: an address is called for as long as all is well, so that somebody else notices the silence.

"Well" is that this worker tells people, and that judge judges: every partition of its changelog has grown lately, as judge
keeps what it knows every few seconds, and that moves with the journal's beats. It is asked how far the changelog goes;
nothing of it is read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import aiohttp
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from streams.changelog import changelog_topic
from streams.outlet import Outlet
from streams.reading import open_consumer
from streams.settings import Settings

log = structlog.get_logger()

BEATS = Counter("guardian_report_heartbeats", "Calls of the heartbeat's address, by what came of each.", ["outcome"])
LOOK_S = 2.0
SILENT_S = 60.0
"""Longer than a judge takes to be taken over."""
RETRY_S = 2.0
CALL = aiohttp.ClientTimeout(total=10.0)


class JudgeBeats:
    """When judge was last heard of, by partition; *now* is a clock that never goes back, in seconds."""

    def __init__(self, *, silent_s: float = SILENT_S, now: Callable[[], float] = time.monotonic) -> None:
        self._silent_s = silent_s
        self._now = now
        self._ends: dict[int, int] = {}
        self._moved_s: dict[int, float] = {}

    @property
    def silent(self) -> list[int]:
        """The partitions that nothing was heard of lately, those never heard of included."""
        now_s = self._now()
        return [one for one in self._ends if now_s - self._moved_s.get(one, -self._silent_s - now_s) > self._silent_s]

    @property
    def is_heard(self) -> bool:
        """Whether every partition was heard of lately; of none is not enough."""
        return bool(self._ends) and not self.silent

    def take(self, ends: Mapping[int, int]) -> None:
        """Take it how far each partition goes now; the first look says nothing, as it has nothing to compare with."""
        for number, end in ends.items():
            if end > self._ends.get(number, end):
                self._moved_s[number] = self._now()
        self._ends = dict(ends)

    async def follow(self, settings: Settings, outlet: Outlet, look_s: float = LOOK_S) -> None:
        """Look until cancelled; while Kafka is away nothing is heard."""
        topic = changelog_topic(settings)
        while True:
            try:
                at = [TopicPartition(topic, number) for number in range(await outlet.partitions(topic))]
                async with open_consumer(settings) as consumer:
                    while True:
                        ends = await consumer.end_offsets(at)
                        self.take({one.partition: end for one, end in ends.items()})
                        await asyncio.sleep(look_s)
            except KafkaError as error:
                log.warning("judge_not_followed", reason=repr(error))
                await asyncio.sleep(RETRY_S)


class Heartbeats:
    """Calls *url* every *every_s* while *is_well*; says in the log when it begins and when it leaves off."""

    def __init__(
        self, session: aiohttp.ClientSession, *, url: str, every_s: float, method: str, is_well: Callable[[], bool]
    ) -> None:
        self._session = session
        self._url = url
        self._every_s = every_s
        self._method = method
        self._is_well = is_well

    async def run(self) -> None:
        """Go on until cancelled."""
        beating = False
        while True:
            is_well = self._is_well()
            if is_well != beating:
                (log.info if is_well else log.warning)("heartbeat_begins" if is_well else "heartbeat_withheld")
                beating = is_well
            if is_well:
                await self._beat()
            # What is not well is looked at more often, so that the first beat afterwards is not late.
            await asyncio.sleep(self._every_s if is_well else min(self._every_s, 1.0))

    async def _beat(self) -> None:
        try:
            async with self._session.request(self._method, self._url, timeout=CALL) as answer:
                outcome = "taken" if answer.status < 400 else "refused"
                why = f"HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Only the kind: the address is a secret of its own, and the error's text may quote it.
            outcome, why = "unreachable", type(error).__name__
        BEATS.labels(outcome).inc()
        if outcome != "taken":
            log.warning("heartbeat_not_taken", reason=why)
