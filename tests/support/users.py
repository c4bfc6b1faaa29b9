"""Users of a service that evaluates one flag as services do, and says what happened: exposures and outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext

from streams.settings import Settings
from tests.support.events import exposure, outcome

USERS = 400
AT_ONCE = 8
EVERY_S = 0.02


class Users:
    """Requests of *service* under *flag*, one in a hundred failing; once ``is_broken``, all of the treatment's."""

    def __init__(
        self, settings: Settings, producer: AIOKafkaProducer, client: OpenFeatureClient, flag: str, service: str = "checkout-api",
        users: int = USERS,
    ) -> None:
        self.flag, self.is_broken, self._client, self._service, self._users = flag, False, client, service, users
        self._topics, self._producer = settings.topics, producer
        self._rng, self._numbers = random.Random(flag), itertools.count()

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Requests all the time, for as long as the context lasts."""
        going = asyncio.ensure_future(self._go())
        try:
            yield
        finally:
            assert not going.done(), f"requests have ended: {going.exception()!r}"
            going.cancel()
            await asyncio.wait({going})
            await self._producer.flush()

    def follow(self, other: Users) -> None:
        """From now on flags are evaluated as the other service does."""
        self._client = other._client

    async def _go(self) -> None:
        while True:
            for _ in range(AT_ONCE):
                # Where Kafka is away for long, a service goes on and its events are lost.
                with contextlib.suppress(KafkaTimeoutError):
                    await self.request()
            await asyncio.sleep(EVERY_S)

    async def request(self) -> None:
        """One request: what was evaluated, and how it ended."""
        user, number = f"user-{self._rng.randrange(self._users)}", next(self._numbers)
        details = self._client.get_string_details(self.flag, "", EvaluationContext(user))
        shown, version = details.variant or "control", (details.flag_metadata or {}).get("version")
        failed = shown == "treatment" if self.is_broken else False
        failed = failed or self._rng.random() < 0.01
        common = {
            "context_id": user, "time": time.time_ns() // 1_000_000, "source": f"/test/{self._service}/{self.flag}",
            "id": str(number), "service_name": self._service,
        }  # fmt: skip
        began = exposure(self.flag, shown, flag_version=version, **common)
        ended = outcome({self.flag: shown}, outcome="error" if failed else "ok", latency_ms=3.0, **common)
        for topic, event in ((self._topics.exposures[0], began), (self._topics.outcomes[0], ended)):
            await self._producer.send(topic, json.dumps(event).encode(), key=user.encode())
