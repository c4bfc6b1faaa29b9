"""Processors as processes that a test may kill, stop and wake; and what they wrote."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams import telemetry
from streams.environment import WORKER_VARIABLE
from streams.forking import context, warm_up
from streams.reading import fetch_wait_ms
from streams.settings import Settings
from streams.status import Status
from tests.support.movers import until

Run = Callable[..., Coroutine[Any, Any, None]]
"""Given a ``Status`` and more, runs until the process ends."""


class Killable:
    """
    *run* as a process of its own, given *arguments* and where to say how it is; what it says goes to a file.

    It is forked from one that has imported what processors share, so that a new life begins at once. With a *worker*
    name it keeps its place in consumer groups from one life to the next.
    """

    def __init__(self, run: Run, said: Path, *arguments: Any, worker: str = "") -> None:
        self._run, self._said, self._arguments, self._worker = run, said, arguments, worker
        warm_up()
        self.process: Any = None
        self.start()

    def start(self) -> None:
        """Begin a new life; what an earlier one said is forgotten."""
        self._said.write_bytes(b"")
        self.process = context().Process(
            target=_live, args=(self._run, str(self._said), self._worker, self._arguments), daemon=True
        )
        self.process.start()

    def kill(self) -> None:
        """As the kernel would, without a warning."""
        self.process.kill()
        self.process.join()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    @property
    def is_ready(self) -> bool:
        """What its newest status line says."""
        return bool(self._newest()["ready"])

    @property
    def why(self) -> str:
        """Why it is not ready, as its newest status line says."""
        return str(self._newest()["why"])

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of its newest status line."""
        return dict(self._newest().get("numbers", {}))

    def _newest(self) -> dict[str, Any]:
        lines = [line for line in self._said.read_text().splitlines() if line.startswith('{"name"')]
        newest: dict[str, Any] = json.loads(lines[-1]) if lines else {"ready": False, "why": "it has said nothing"}
        return newest

    async def ready(self, within_s: float = 40.0) -> None:
        """Wait until it says so; fails if it ends instead."""

        def check() -> bool:
            assert self.process.exitcode is None, f"ended with {self.process.exitcode}:\n{self._said.read_text()}"
            return self.is_ready

        try:
            await until(check, within_s=within_s, what=f"{self._run.__name__} is ready")
        except AssertionError:
            print(self._said.read_text())
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _live(run: Run, said: str, worker: str, arguments: tuple[Any, ...]) -> None:
    said_to = os.open(said, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(said_to, standard)
    os.environ.pop(WORKER_VARIABLE, None)
    if worker:
        os.environ[WORKER_VARIABLE] = worker
    telemetry.configure("test")
    asyncio.run(run(Status("test", 1), *arguments))


@asynccontextmanager
async def producer(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(**settings.kafka.client_options(), enable_idempotence=True, **options)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


class Reader:
    """All records of a topic so far, read as they come."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.values: list[bytes] = []
        self.partitions: list[int] = []
        """Where each of the values was read."""

    async def poll(self, timeout_ms: int = 100) -> list[bytes]:
        """Read on, and return every value read until now."""
        batches = await self._consumer.getmany(timeout_ms=timeout_ms)
        found = [record for records in batches.values() for record in records]
        self.values += [record.value for record in found]
        self.partitions += [record.partition for record in found]
        return self.values

    async def until(self, condition: Callable[[list[bytes]], Any], within_s: float, what: str) -> Any:
        """Read on until *condition* holds for the values read."""
        deadline_s = time.monotonic() + within_s
        while not (found := condition(await self.poll())):
            assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        return found


@asynccontextmanager
async def reader(settings: Settings, topic: str) -> AsyncIterator[Reader]:
    consumer = AIOKafkaConsumer(
        topic,
        **settings.kafka.client_options(),
        auto_offset_reset="earliest",
        fetch_max_wait_ms=fetch_wait_ms(settings),
    )
    await consumer.start()
    try:
        yield Reader(consumer)
    finally:
        await consumer.stop()
