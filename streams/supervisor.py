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
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from streams.environment import METRICS_VARIABLE, STATUS_VARIABLE, WORKER_VARIABLE
from streams.telemetry import READY, RESTARTS

log = structlog.get_logger()

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0
"""A child that lived so long is started again without delay."""
SILENT_S = 10.0
STARTING_S = 20.0
"""More time for a child that has just been started: importing on a busy machine takes seconds."""
KILL_AFTER_S = 4.5

Overrides = dict[str, dict[str, Any]]


@dataclass(slots=True)
class Child:
    """A processor's process, as the supervisor sees it."""

    name: str
    process: asyncio.subprocess.Process | None = None
    ready: bool = False
    why: str = "not started"
    numbers: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    silent_from_s: float = 0.0

    def said(self, line: bytes) -> None:
        """Take one line of its status pipe."""
        try:
            status = json.loads(line)
        except ValueError:
            return
        self.silent_from_s = max(self.silent_from_s, time.monotonic() + SILENT_S)
        if status["ready"] != self.ready:
            word = "child_ready" if status["ready"] else "child_not_ready"
            log.info(word, child=self.name, why=status["why"])
        self.ready, self.why, self.numbers = status["ready"], status["why"], status["numbers"]
        READY.labels(self.name).set(self.ready)

    def shown(self) -> dict[str, Any]:
        """What ``/readyz`` says of it."""
        pid = self.process.pid if self.process else None
        return {"ready": self.ready, "why": self.why, "restarts": self.restarts, "pid": pid, **self.numbers}


class Supervisor:
    """
    Keeps a child alive for each of *names*.

    *arguments* follow the name on each child's command line; *worker* names this installation to consumer groups.
    """

    def __init__(self, names: Sequence[str], arguments: Sequence[str], *, worker: str) -> None:
        self.children = [Child(name) for name in names]
        self.waiting_for = "starting"
        self._arguments = arguments
        self._environment = {**os.environ, WORKER_VARIABLE: worker}
        self._go: asyncio.Future[bytes] | None = None
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all children; they import what they need, and wait for ``go``."""
        self._go = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._keep(child)) for child in self.children]
        self._tasks.append(asyncio.create_task(self._watch()))

    def go(self, overrides: Overrides) -> None:
        """Let the children work, with the settings that were not known when they started."""
        assert self._go is not None
        self._go.set_result(json.dumps(overrides).encode() + b"\n")
        self.waiting_for = ""

    def readiness(self) -> dict[str, Any]:
        """What ``/readyz`` shows: every child, and what is waited for."""
        children = {child.name: child.shown() for child in self.children}
        ready = not self.waiting_for and all(child.ready for child in self.children)
        return {"ready": ready, "waiting_for": self.waiting_for, "children": children}

    async def stop(self) -> None:
        """Tell all children to end; whichever has not within ``KILL_AFTER_S`` is killed."""
        self._stopping = True
        for child in self.children:
            _signal(child, "terminate")
        keeping = []
        for child, task in zip(self.children, self._tasks, strict=False):
            if child.process is None or child.process.returncode is not None:
                task.cancel()  # it only waits to start the child again
            else:
                keeping.append(task)
        _, slow = await asyncio.wait(keeping, timeout=KILL_AFTER_S) if keeping else ((), ())
        if slow:
            for child in self.children:
                _signal(child, "kill")
            await asyncio.wait(slow, timeout=0.3)
        for task in self._tasks:
            task.cancel()

    async def _keep(self, child: Child) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            started_s = time.monotonic()
            code = await self._run(child)
            lived_s = time.monotonic() - started_s
            child.ready, child.why = False, f"ended with exit code {code} after {lived_s:.1f} s"
            READY.labels(child.name).set(0)
            if self._stopping:
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
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        child.silent_from_s = time.monotonic() + STARTING_S
        try:
            child.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "streams.child", child.name, *self._arguments),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(writing,),
                env={**self._environment, STATUS_VARIABLE: str(writing)},
            )
        finally:
            os.close(writing)
        child.why, child.numbers = "starting", {}
        if self._stopping:
            _signal(child, "terminate")
        helpers = [
            asyncio.ensure_future(self._listen(child, reading)),
            asyncio.ensure_future(self._send_go(child)),
        ]
        code = await child.process.wait()
        for helper in helpers:
            helper.cancel()
        _forget_live_numbers(child.process.pid)
        return code

    async def _listen(self, child: Child, reading: int) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        try:
            while line := await reader.readline():
                child.said(line)
        finally:
            transport.close()

    async def _send_go(self, child: Child) -> None:
        assert self._go is not None and child.process is not None and child.process.stdin is not None
        line = await asyncio.shield(self._go)
        child.silent_from_s = max(child.silent_from_s, time.monotonic() + STARTING_S)
        with contextlib.suppress(ConnectionError):
            child.process.stdin.write(line)
            await child.process.stdin.drain()

    async def _watch(self) -> None:
        assert self._go is not None
        await asyncio.shield(self._go)
        while True:
            await asyncio.sleep(0.5)
            for child in self.children:
                if child.process and child.process.returncode is None and time.monotonic() > child.silent_from_s:
                    log.error("child_hangs", child=child.name, silent_s=SILENT_S)
                    _signal(child, "kill")


def _signal(child: Child, what: str) -> None:
    if child.process is not None and child.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            getattr(child.process, what)()


def _forget_live_numbers(pid: int) -> None:
    if directory := os.environ.get(METRICS_VARIABLE):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid, directory)


def worker_name(environment: Mapping[str, str], given: str) -> str:
    """*given*, or the environment's, or one that no other living worker has."""
    return given or environment.get(WORKER_VARIABLE) or f"{os.uname().nodename}-{os.getpid()}-{time.time_ns():x}"
