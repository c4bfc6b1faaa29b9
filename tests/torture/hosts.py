"""Hosts on which a guardian runs, each as people start it: a supervisor with its workers, to be killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.ports import free_ports
from streams.settings import Settings

WORKERS = "store,observe,judge,act"
STOP_S = 10.0
ASK_S = 2.0


class Host:
    """One ``guardian run``; *settings* are those of its installation, the ports are its own."""

    def __init__(self, settings: Settings, folder: Path, name: str, flags: Sequence[str]) -> None:
        self.name, self.said = name, folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / f"{name}.json"
        self._health, store = free_ports(2)
        rule = {"fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}, ["control", 1], ["treatment", 1]]}
        flag = {"state": "ENABLED", "variants": {"control": "old", "treatment": "new"}, "defaultVariant": "control"}
        (folder / "flags.json").write_text(json.dumps({"flags": {flag_key: flag | {"targeting": rule} for flag_key in flags}}))
        kill = [{"when": "error_rate > 1.2x control", "then": "kill"}]
        policies = [{"flag": flag_key, "environment": "production", "guardrails": kill} for flag_key in flags]
        (folder / "policies.yaml").write_text("\n---\n".join(map(json.dumps, policies)))
        own = {
            "flagd": {"port": store, "document": str(folder / "flags.json")},
            "health": {"port": self._health},
            "policies": [str(folder / "policies.yaml")],
        }
        self._config.write_text(json.dumps(settings.model_dump(mode="json", by_alias=True, exclude_unset=True) | own))

    @property
    def is_up(self) -> bool:
        """Whether it was started and neither killed nor stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Start it, and do not wait for it."""
        assert self._process is None, f"{self.name} runs already"
        command = [sys.executable, "-m", "streams.apps.cli", "run", "--config", str(self._config), "--only", WORKERS]
        with self.said.open("ab") as said:
            self._process = subprocess.Popen(command, stdout=said, stderr=said)

    def children(self) -> dict[str, dict[str, Any]]:
        """What its supervisor says of its workers; nothing where none answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/readyz", timeout=ASK_S) as answer:
                said = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read()
        except OSError:
            return {}
        found: dict[str, dict[str, Any]] = json.loads(said)["children"]
        return found

    def is_ready(self) -> bool:
        """Whether all its workers are."""
        children = self.children()
        return bool(children) and all(child["ready"] for child in children.values())

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
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
