"""The producer of one process: made as soon as Kafka answers, replaced when it broke."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer

log = logging.getLogger("streams.instrument")

BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 3.0
CONNECT_S = 15.0
CLOSE_S = 1.0

_DEFAULTS: dict[str, Any] = {
    # Above what one flush holds; aiokafka sets this much memory aside for each batch.
    "max_batch_size": 65_536,
    # How long an unknown topic or an unanswered request may hold a batch up.
    "request_timeout_ms": 8_000,
    "retry_backoff_ms": 500,
}


class Link:
    """
    Hands out the producer that all lanes share.

    ``trouble`` says why there is none, ``""`` while there is one.
    """

    def __init__(self, bootstrap_servers: str, acks: str | int, kafka: Mapping[str, Any]) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.trouble = "not started"
        self._options = {**_DEFAULTS, "acks": acks, "enable_idempotence": acks in ("all", -1), **kafka}
        self._producer: AIOKafkaProducer | None = None
        self._lock: asyncio.Lock

    def open(self) -> None:
        """Make ready, in the loop that will use the producer."""
        self._lock = asyncio.Lock()

    async def producer(self) -> AIOKafkaProducer:
        """Return the producer; waits, with growing pauses, until Kafka can be reached."""
        async with self._lock:
            pause_s = BACKOFF_FIRST_S
            while self._producer is None:
                try:
                    self._producer = await self._connect()
                except Exception as err:  # noqa: BLE001 - whatever it is, the service must not feel it
                    self._say(f"{type(err).__name__}: {err}")
                    await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                    pause_s = min(pause_s * 2, BACKOFF_MOST_S)
            return self._producer

    async def replace(self, broken: AIOKafkaProducer, why: str) -> bool:
        """
        Let go of a producer that failed for good; the next call of ``producer`` makes a new one.

        ``False`` if somebody else had done so already: then the failure may
        have been no more than that.
        """
        async with self._lock:
            if self._producer is not broken:
                return False
            self._producer = None
            self._say(why)
            await _close(broken)
            return True

    async def close(self) -> None:
        """Close the connection; takes a second at most."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers, **self._options)
        try:
            async with asyncio.timeout(CONNECT_S):
                await producer.start()
        except BaseException:
            await _close(producer)
            raise
        if self.trouble:
            log.info("sending rollout events to Kafka at %s", self.bootstrap_servers)
        self.trouble = ""
        return producer

    def _say(self, why: str) -> None:
        if self.trouble in ("", "not started"):
            servers = self.bootstrap_servers
            log.warning("no Kafka at %s for rollout events, requests are served as ever: %s", servers, why)
        self.trouble = why


async def _close(producer: AIOKafkaProducer) -> None:
    """
    Close what can be closed within a second.

    ``stop`` waits for ever for batches that an unreachable broker never takes,
    and aiokafka has no other way to end its sender, hence the private name.
    """
    stopping = asyncio.ensure_future(producer.stop())
    done, _ = await asyncio.wait({stopping}, timeout=CLOSE_S)
    if done:
        stopping.exception()
        return
    stopping.cancel()
    closing = (
        asyncio.ensure_future(producer._sender.close()),
        asyncio.ensure_future(producer.client.close()),
    )
    done, pending = await asyncio.wait({stopping, *closing}, timeout=CLOSE_S)
    for task in pending:
        task.cancel()
    for task in done:
        if not task.cancelled():
            task.exception()
