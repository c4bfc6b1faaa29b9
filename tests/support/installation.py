"""A guardian as people run it, whose workers a test kills, stops and wakes; and all that it wrote."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from demo.ports import free_ports
from streams.settings import Settings
from tests.support.held_store import HeldStore
from tests.support.started import children, command, end_process, write_flags


class Installation:
    """
    ``guardian run`` on *settings*: one supervisor for store, observe and judge, one for act, who sees a ``HeldStore``.

    *flags* are split in halves and killed by their policies when the treatment fails more than control. *beside* names
    other workers of the first supervisor, each after a comma.
    """

    def __init__(self, settings: Settings, folder: Path, flags: Sequence[str], beside: str = "") -> None:
        self.settings, self.store_port = settings, free_ports(1)[0]
        self.held = HeldStore(self.store_port)
        self.said = folder / "said"
        self._folder, self._beside, self._processes = folder, beside, contextlib.ExitStack()
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self.health = dict(zip(("main", "act", "second"), free_ports(3), strict=True))
        write_flags(folder, flags)

    def __enter__(self) -> Self:
        self._processes.enter_context(self.held)
        self._processes.enter_context(self._run("main", f"store,observe,judge{self._beside}", self.store_port))
        self._processes.enter_context(self._run("act", "act", self.held.port))
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.close()

    @contextmanager
    def second_act(self) -> Iterator[None]:
        """One more act, as on another host; it sees the store itself."""
        with self._run("second", "act", self.store_port):
            yield

    @contextmanager
    def second_host(self) -> Iterator[None]:
        """The whole once more with the same settings, on ports of its own."""
        with self._run("second", f"store,observe,judge,act{self._beside}", free_ports(1)[0]):
            yield

    def second_ready(self) -> bool:
        """Whether all workers of the second host are."""
        found = children(self.health["second"])
        return bool(found) and all(child["ready"] for child in found.values())

    def started_again(self) -> subprocess.CompletedProcess[str]:
        """What becomes of who starts the first supervisor once more, where it runs."""
        started = self._command("main", f"store,observe,judge{self._beside}", self.store_port)
        return subprocess.run(started, capture_output=True, text=True, timeout=30, check=False)

    def _command(self, name: str, only: str, store_port: int) -> list[str]:
        return command(self.settings, self._folder, name, only, store=store_port, health=self.health[name])

    @contextmanager
    def _run(self, name: str, only: str, store_port: int) -> Iterator[None]:
        started = self._command(name, only, store_port)
        with self.said.open("ab") as said, subprocess.Popen(started, stdout=said, stderr=said) as process:
            self._supervisors[name] = process
            try:
                yield
            finally:
                end_process(process)

    def child(self, name: str) -> dict[str, Any]:
        """What the supervisor says of a worker; its ``pid`` is None while there is none."""
        nobody: dict[str, Any] = {"pid": None, "ready": False, "why": "no supervisor answers"}
        return children(self.health["act" if name == "act" else "main"]).get(name, nobody)

    def ready(self, *names: str) -> bool:
        return all(self.child(name)["ready"] for name in names)

    def signal(self, name: str, number: signal.Signals) -> int:
        """Signal a worker that lives; return its process id."""
        pid: int = self.child(name)["pid"]
        os.kill(pid, number)
        return pid

    def kill(self, name: str) -> int:
        """As the kernel would, without a warning; also who is stopped."""
        return self.signal(name, signal.SIGKILL)

    def lives_again(self, name: str, after: int) -> bool:
        """Whether a worker has taken the place of process *after*."""
        return self.child(name)["pid"] not in (None, after)

    @contextmanager
    def stopped(self, name: str) -> Iterator[int]:
        """A worker that does nothing; where its supervisor takes it for dead meanwhile, another one works in the end."""
        pid = self.signal(name, signal.SIGSTOP)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def without_supervisor(self, name: str) -> Iterator[None]:
        """Nobody takes a worker for dead meanwhile: its supervisor does nothing, and says nothing."""
        supervisor = self._supervisors["act" if name == "act" else "main"]
        supervisor.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            supervisor.send_signal(signal.SIGCONT)


class Written:
    """All committed records of some topics so far."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.records: list[ConsumerRecord] = []
        self.consumer = consumer

    async def poll(self, timeout_ms: int = 50) -> None:
        for found in (await self.consumer.getmany(timeout_ms=timeout_ms)).values():
            self.records += found

    async def until(self, condition: Callable[[], Any], what: str, within_s: float = 40.0) -> Any:
        """Read on until *condition* holds; return what it returns then."""
        deadline_s = time.monotonic() + within_s
        while not (found := condition()):
            assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
            await self.poll()
        return found

    async def to_end(self) -> None:
        """Read all that stands in the topics now."""
        ends = await self.consumer.end_offsets(self.consumer.assignment())
        for at, end in ends.items():
            while await self.consumer.position(at) < end:
                await self.poll()

    def of(self, topic: str, flag: str) -> list[bytes]:
        """The values of a topic whose key names the flag."""
        key = f"production|{flag}".encode()
        return [record.value for record in self.records if (record.topic, record.key) == (topic, key)]


@asynccontextmanager
async def written(settings: Settings, *topics: str, isolation_level: str = "read_committed") -> AsyncIterator[Written]:
    consumer = AIOKafkaConsumer(
        *topics, **settings.kafka.client_options(), auto_offset_reset="earliest", isolation_level=isolation_level,
        fetch_max_wait_ms=50,
    )  # fmt: skip
    await consumer.start()
    try:
        yield Written(consumer)
    finally:
        await consumer.stop()
