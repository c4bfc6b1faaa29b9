"""
``guardian run``: one process a processor, started, watched, and started again when it ends.

The supervisor does no work of its own, so that it has no reason to die. If it dies all the same, its children notice
on their pipes and end too. A child that ends is started again after 0.1 s, then ever more slowly; one that says
nothing for ``SILENT_S`` hangs, and is killed and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

import structlog
from prometheus_client import multiprocess

from streams import forking
from streams.child import live
from streams.environment import METRICS_VARIABLE
from streams.scaling import Scaling
from streams.telemetry import READY, RESTARTS

log = structlog.get_logger()

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
STEADY_S = 10.0
"""A child that lived so long is started again without delay."""
SILENT_S = 10.0
STARTING_S = 20.0
"""More time for a child that has just been started: importing on a busy machine takes seconds."""
STARTING_MOST_S = 320.0
"""
A child that never got that far has twice the time in its next life, up to this: on a machine that is full, killing
whoever is slow to start only makes it fuller.
"""
KILL_AFTER_S = 4.5

Overrides = dict[str, dict[str, Any]]


@dataclass(slots=True)
class Child:
    """A processor's process, as the supervisor sees it."""

    name: str
    process: Any = None
    ready: bool = False
    why: str = "not started"
    numbers: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    silent_from_s: float = 0.0
    starting_s: float = STARTING_S

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.exitcode is None

    def signal(self, what: Literal["terminate", "kill"]) -> None:
        """End its process, if there is one."""
        if self.alive:
            getattr(self.process, what)()

    def said(self, line: bytes) -> None:
        """Take one line of its status pipe."""
        try:
            status = json.loads(line)
        except ValueError:
            return
        self.silent_from_s = max(self.silent_from_s, time.monotonic() + SILENT_S)
        if status["ready"]:
            self.starting_s = STARTING_S
        if status["ready"] != self.ready:
            word = "child_ready" if status["ready"] else "child_not_ready"
            log.info(word, child=self.name, why=status["why"])
        self.ready, self.why, self.numbers = status["ready"], status["why"], status["numbers"]
        READY.labels(self.name).set(self.ready)

    def shown(self) -> dict[str, Any]:
        """What ``/readyz`` says of it."""
        pid = self.process.pid if self.alive else None
        return {"ready": self.ready, "why": self.why, "restarts": self.restarts, "pid": pid, **self.numbers}


class Supervisor:
    """
    Keeps a child alive for each of *names*; each reads its settings from *config* itself.

    Children are forked from a process that has imported once what they share: they start at once, and share memory.
    """

    def __init__(self, names: Sequence[str], config: str | None, scaling: Scaling | None = None) -> None:
        self.children = [Child(name) for name in names]
        self.waiting_for = "starting"
        self._config = config
        self._scaling = scaling
        self._stopping = asyncio.Event()
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._go: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        # One at a time: multiprocessing keeps a list of its processes.
        self._starting = asyncio.Lock()
        self._context = forking.context()

    def start(self) -> None:
        """Start all children; they import what they need, and wait for ``go``."""
        for child in self.children:
            self._keeping[child.name] = asyncio.create_task(self._keep(child))
        self._watching = asyncio.create_task(self._watch())

    def add(self, name: str) -> None:
        """Start another worker, ``observe-2``, and keep it alive like all others."""
        child = Child(name)
        self.children.append(child)
        self._keeping[name] = asyncio.create_task(self._keep(child))

    def go(self, overrides: Overrides) -> None:
        """Let the children work, with the settings that were not known when they started."""
        self._go.set_result(json.dumps(overrides).encode() + b"\n")
        self.waiting_for = ""

    def readiness(self) -> dict[str, Any]:
        """What ``/readyz`` shows: every child, and what is waited for."""
        children = {child.name: child.shown() for child in self.children}
        ready = not self.waiting_for and all(child.ready for child in self.children)
        return {"ready": ready, "waiting_for": self.waiting_for, "children": children}

    def wait_for(self, what: str) -> None:
        """Say what is waited for before the children may go."""
        self.waiting_for = what

    async def stop(self) -> None:
        """Tell all children to end; whichever has not within ``KILL_AFTER_S`` is killed."""
        self._stopping.set()
        keeping = []
        for child in self.children:
            child.signal("terminate")
            if child.alive or self._starting.locked():
                keeping.append(self._keeping[child.name])
        if keeping:
            _, slow = await asyncio.wait(keeping, timeout=KILL_AFTER_S)
            for child in self.children:
                child.signal("kill")
            if slow:
                await asyncio.wait(slow, timeout=0.3)
        tasks = [*self._keeping.values(), *([self._watching] if self._watching else [])]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _keep(self, child: Child) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            started_s = time.monotonic()
            code = await self._run(child)
            lived_s = time.monotonic() - started_s
            child.ready, child.why = False, f"ended with exit code {code} after {lived_s:.1f} s"
            READY.labels(child.name).set(0)
            if self._stopping.is_set():
                return
            if lived_s > STEADY_S:
                pause_s = FIRST_PAUSE_S
            child.restarts += 1
            RESTARTS.labels(child.name).inc()
            log.warning("child_ended", child=child.name, exit_code=code, again_in_s=round(pause_s, 1))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run(self, child: Child) -> int:
        """One life of a child; returns its exit code, negative for a signal."""
        hears, says = self._context.Pipe(duplex=False)
        hears_go, says_go = self._context.Pipe(duplex=False)
        os.set_blocking(says.fileno(), False)
        child.why, child.numbers = "starting", {}
        try:
            process = self._context.Process(
                target=live, args=(child.name, self._config, says, hears_go), name=child.name, daemon=True
            )
            async with self._starting:
                await asyncio.to_thread(process.start)
            child.silent_from_s = time.monotonic() + child.starting_s
            child.process = process
            says.close()
            hears_go.close()
            if self._stopping.is_set():
                child.signal("terminate")
            return await self._attend(child, hears, says_go)
        finally:
            for connection in (hears, says, hears_go, says_go):
                connection.close()

    async def _attend(self, child: Child, hears: Connection, says_go: Connection) -> int:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(child.process.sentinel, ended.set)
        helpers = [
            asyncio.ensure_future(self._listen(child, hears)),
            asyncio.ensure_future(self._send_go(child, says_go)),
        ]
        try:
            await ended.wait()
        finally:
            loop.remove_reader(child.process.sentinel)
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
        code = int(child.process.exitcode or 0)
        _forget_live_numbers(child.process.pid)
        return code

    @staticmethod
    async def _listen(child: Child, hears: Connection) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(hears.fileno()), "rb", 0)
        )
        try:
            while line := await reader.readline():
                child.said(line)
        finally:
            transport.close()

    async def _send_go(self, child: Child, says_go: Connection) -> None:
        line = await asyncio.shield(self._go)
        child.silent_from_s = max(child.silent_from_s, time.monotonic() + child.starting_s)
        with contextlib.suppress(BrokenPipeError):
            os.write(says_go.fileno(), line)
        await asyncio.Event().wait()

    async def _watch(self) -> None:
        await asyncio.shield(self._go)
        while True:
            await asyncio.sleep(0.5)
            for child in self.children:
                if child.alive and time.monotonic() > child.silent_from_s:
                    log.error("child_hangs", child=child.name, silent_s=SILENT_S)
                    if not child.ready:
                        child.starting_s = min(2 * child.starting_s, STARTING_MOST_S)
                    child.signal("kill")
            for name in self._scaling.due({child.name: child.numbers for child in self.children}) if self._scaling else ():
                log.warning("worker_added", child=name, why="what is read has waited for seconds: it does not keep up")
                self.add(name)


def _forget_live_numbers(pid: int) -> None:
    if directory := os.environ.get(METRICS_VARIABLE):
        multiprocess.mark_process_dead(pid, directory)
