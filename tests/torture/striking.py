"""Doing what the schedule says to real processes, and undoing it in time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.kafka.brokers import Brokers
from tests.torture.faults import Fault
from tests.torture.hosts import Host

FIND_S = 1.0
"""A worker that is to be killed may be starting; after so long that of another host is taken."""
LOOK_S = 0.05
AT_ONCE = 16
"""Faults that last at the same time, at most."""


@dataclass
class Struck:
    """What was done, and when by the clock (seconds)."""

    fault: Fault
    at_s: float


@dataclass
class Striker:
    """Carries faults out; brokers one at a time, and only when the others have everything."""

    brokers: Brokers
    hosts: list[Host]
    struck: list[Struck] = field(default_factory=list)
    missed: list[Fault] = field(default_factory=list)
    """Workers that were not there to be killed."""
    _undoing: list[Future[None]] = field(default_factory=list)
    _broker: Future[None] | None = None
    # Its threads live on: a broker dies with the thread that has started it.
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AT_ONCE))

    def strike_all(self, faults: Iterable[Fault], said: Callable[[str], None]) -> None:
        """Carry out one after the other; what lasts is undone meanwhile."""
        for fault in faults:
            time.sleep(fault.after_s)
            did = self._strike(fault)
            (self.struck.append(Struck(fault, time.time())) if did else self.missed.append(fault))
            said(f"{time.strftime('%H:%M:%S')} {fault.who} {fault.number}: {fault.kind}{'' if did else ' (was not there)'}")

    def mend(self) -> None:
        """Wait until everything that lasts is undone, and start what is still away."""
        for undoing in self._undoing:
            undoing.result()
        for server in self.brokers.servers:
            if not server.is_running:
                server.restart()
        self.brokers.wait_in_sync()
        for host in self.hosts:
            if not host.is_up:
                host.start()

    def _strike(self, fault: Fault) -> bool:
        if fault.kind == "broker":
            return self._kill_broker(fault)
        host = self.hosts[fault.number]
        if fault.kind in ("host", "leave"):
            if not host.is_up:
                return False
            (host.kill if fault.kind == "host" else host.stop)()
            self._later(fault.away_s, host.start)
            return True
        number = signal.SIGSTOP if fault.kind == "sleep" else signal.SIGKILL
        pid = next((pid for one in (host, *self.hosts) if (pid := self._find(one, fault.who, number)) is not None), None)
        if pid is not None and fault.kind == "sleep":
            self._later(fault.away_s, lambda: wake(pid))
        return pid is not None

    def _find(self, host: Host, worker: str, number: signal.Signals) -> int | None:
        deadline_s = time.monotonic() + FIND_S
        while (pid := host.signal(worker, number)) is None and host.is_up and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)
        return pid

    def _kill_broker(self, fault: Fault) -> bool:
        server = self.brokers.servers[fault.number]
        if self._broker is not None:
            self._broker.result()
        self.brokers.wait_in_sync()
        server.kill()
        self._broker = self._later(fault.away_s, server.restart)
        return True

    def _later(self, after_s: float, undo: Callable[[], object]) -> Future[None]:
        def wait() -> None:
            time.sleep(after_s)
            undo()

        undoing = self._pool.submit(wait)
        self._undoing.append(undoing)
        return undoing


def wake(pid: int) -> None:
    """Let a process that was stopped go on, unless its supervisor has taken it for dead meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
