"""Doing what the schedule says to real processes, and undoing it in time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.kafka.brokers import Brokers
from tests.torture.faults import Fault
from tests.torture.hosts import Host

FIND_S = 15.0
"""A worker that is to be killed may be starting; for so long it is waited for."""
LOOK_S = 0.05


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
    _undoing: list[threading.Thread] = field(default_factory=list)

    def strike_all(self, faults: Iterable[Fault], said: Callable[[str], None]) -> None:
        """Carry out one after the other; what lasts is undone meanwhile."""
        for fault in faults:
            time.sleep(fault.after_s)
            did = self._strike(fault)
            (self.struck.append(Struck(fault, time.time())) if did else self.missed.append(fault))
            said(f"{fault.who} {fault.number}: {fault.kind}{'' if did else ' (was not there)'}")

    def mend(self) -> None:
        """Wait until everything that lasts is undone, and start what is still away."""
        for thread in self._undoing:
            thread.join()
        for server in self.brokers.servers:
            if not server.is_running:
                server.restart()
        self.brokers.wait_in_sync()
        for host in self.hosts:
            if not host.is_up:
                host.start()

    def _strike(self, fault: Fault) -> bool:
        if fault.kind == "broker":
            return self._broker(fault)
        host = self.hosts[fault.number]
        if fault.kind in ("host", "leave"):
            if not host.is_up:
                return False
            (host.kill if fault.kind == "host" else host.stop)()
            self._later(fault.away_s, host.start)
            return True
        number = signal.SIGSTOP if fault.kind == "sleep" else signal.SIGKILL
        pid = self._find(host, fault.who, number)
        if pid is not None and fault.kind == "sleep":
            self._later(fault.away_s, lambda: host.signal(fault.who, signal.SIGCONT))
        return pid is not None

    def _find(self, host: Host, worker: str, number: signal.Signals) -> int | None:
        deadline_s = time.monotonic() + FIND_S
        while (pid := host.signal(worker, number)) is None and host.is_up and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)
        return pid

    def _broker(self, fault: Fault) -> bool:
        server = self.brokers.servers[fault.number]
        self._join("broker")
        self.brokers.wait_in_sync()
        server.kill()
        self._later(fault.away_s, server.restart, "broker")
        return True

    def _later(self, after_s: float, undo: Callable[[], object], name: str = "") -> None:
        def wait() -> None:
            time.sleep(after_s)
            undo()

        thread = threading.Thread(target=wait, name=name, daemon=True)
        thread.start()
        self._undoing.append(thread)

    def _join(self, name: str) -> None:
        for thread in self._undoing:
            if thread.name == name:
                thread.join()
