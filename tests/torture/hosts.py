"""Hosts on which a guardian runs, each as people start it: a supervisor with its workers, to be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.ports import free_ports
from streams.settings import Settings
from tests.kafka.server import dies_with
from tests.support.started import STOP_S, children, command, end_process, write_flags

WORKERS = "store,observe,judge,act"


class Host:
    """One ``guardian run``; *settings* are those of its installation, the ports are its own."""

    def __init__(self, settings: Settings, folder: Path, name: str, flags: Sequence[str]) -> None:
        self.name, self.said = name, folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._health, store = free_ports(2)
        write_flags(folder, flags)
        self._command = command(settings, folder, name, WORKERS, store=store, health=self._health)

    @property
    def is_up(self) -> bool:
        """Whether it was started and neither killed nor stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Start it, and do not wait for it."""
        assert self._process is None, f"{self.name} runs already"
        with self.said.open("ab") as said:
            command = [*dies_with(os.getpid()), *self._command]
            self._process = subprocess.Popen(command, stdout=said, stderr=said)

    def children(self) -> dict[str, dict[str, Any]]:
        """What its supervisor says of its workers; nothing where none answers."""
        return children(self._health)

    def is_ready(self) -> bool:
        """Whether all its workers are."""
        found = self.children()
        return bool(found) and all(child["ready"] for child in found.values())

    def signal(self, worker: str, number: signal.Signals) -> int | None:
        """Signal a worker; return its process id, None where it does not live now."""
        pid: int | None = self.children().get(worker, {}).get("pid")
        if pid is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return pid
        return None

    def kill(self) -> None:
        """Kill it and all its workers at the same moment, as a power cut does."""
        pids = [child["pid"] for child in self.children().values() if child["pid"]]
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(STOP_S)

    def stop(self) -> None:
        """End it in good order; killed where that takes too long."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)
