"""
How much memory a judge worker and an observe worker take with 1,000 rollouts of two variations, and whether it grows.

A real Kafka, the real processes under their supervisor, exposures and
outcomes of all flags all the time; resident memory as the kernel counts it,
pages shared with other processes included. In the end judge is stopped while
observe goes on, and has to catch up: that is when a worker holds most.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench._rollouts import flag_name
from bench.events import make_topics
from demo.ports import free_ports
from streams.settings import Settings
from tests.kafka import running_kafka

WARM_S, FLAT_S = 420.0, 600.0
"""A worker gets to know its rollouts, and observe's memories fill and turn over, for so long; then its memory must be flat."""
SECONDS = float(os.environ.get("BENCH_SECONDS", WARM_S + FLAT_S))
FLAGS = int(os.environ.get("BENCH_FLAGS", "1000"))
RATE = float(os.environ.get("BENCH_RATE", "1500"))
"""Requests a second, each with an exposure and an outcome."""
PARTITIONS = 4
"""Of each input topic."""
AWAY_PART = 0.1
"""For this part of the time judge is away in the end."""
CATCH_UP_MOST_S = 300.0
CAUGHT_UP_S = 1.0
EVERY_S = 1.0
READY_S = 120.0
AGE = "guardian_judge_entry_age_seconds"
LIMIT_MB = 300.0
FLAT_MB_PER_MINUTE = 1.0

Sample = tuple[float, float]
"""Seconds since the load began, and megabytes."""


def run() -> dict[str, Any]:
    """
    Measure, after all policies are known and both workers read; ``slope`` is that after ``WARM_S``, or of the second half.

    ``ours`` holds the largest of each worker, ``flat`` and ``under_limit`` say whether the aim is met.
    """
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as made, running_kafka(Path(made) / "kafka") as bootstrap:
        folder = Path(made)
        ports = dict(zip(("observe", "judge"), free_ports(2), strict=True))
        for name, port in ports.items():
            write_settings(folder, name, bootstrap, port)
        make_topics(bootstrap, PARTITIONS, *Settings().topics.inputs)
        with (
            worker(folder, "observe", ports["observe"]) as observe,
            judge_of(folder, ports) as judge,
            load(bootstrap),
        ):
            found = watch({"observe": observe, "judge": judge.pid}, SECONDS)
            rates = {"journal_seconds_behind": judge.behind_s()}
            judge.end()
            time.sleep(AWAY_PART * SECONDS)
            judge.begin()
            catching_up, took_s = judge.catch_up()
    figures = {name: described(samples) for name, samples in found.items()}
    return {
        "ours": {name: one["max"] for name, one in figures.items()} | {"judge catching up": max(catching_up)},
        "limit": LIMIT_MB,
        "peers": {},
        "ratio_to_limit": None,
        "unit": "MB",
        **figures,
        "flags": FLAGS,
        "requests_s": RATE,
        "seconds": SECONDS,
        **rates,
        "away_s": AWAY_PART * SECONDS,
        "caught_up_after_s": took_s,
        "under_limit": max(*catching_up, *(one["max"] for one in figures.values())) < LIMIT_MB,
        "flat": all(one["slope_per_minute"] < FLAT_MB_PER_MINUTE for one in figures.values()),
    }


def described(samples: list[Sample]) -> dict[str, float]:
    """Return memory at the start, the quarters and the end, the largest, and the slope a minute once it is warm."""
    times, sizes = (np.array(one) for one in zip(*samples, strict=True))
    points = {f"at_{part}": float(sizes[int(len(sizes) * part / 100)]) for part in (25, 50, 75)}
    later = times >= (WARM_S if times[-1] >= 2 * WARM_S else times[-1] / 2)
    slope = float(np.polyfit(times[later] / 60, sizes[later], 1)[0])
    ends = {"start": float(sizes[0]), **points, "end": float(sizes[-1])}
    return {**ends, "max": float(sizes.max()), "slope_per_minute": slope}


def watch(pids: dict[str, int], seconds: float) -> dict[str, list[Sample]]:
    """Return samples of each process, taken for so long."""
    samples: dict[str, list[Sample]] = {name: [] for name in pids}
    began_s = time.monotonic()
    while (at_s := time.monotonic() - began_s) < seconds:
        for name, pid in pids.items():
            samples[name].append((at_s, resident_mb(pid)))
        if len(samples["judge"]) % 60 == 1:
            print({name: round(one[-1][1]) for name, one in samples.items()}, file=sys.stderr, flush=True)
        time.sleep(EVERY_S)
    return samples


def resident_mb(pid: int) -> float:
    """
    Return the megabytes that a process has in memory.

    Raises:
        FileNotFoundError: it is gone.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def write_settings(folder: Path, name: str, bootstrap: str, port: int) -> None:
    """Write the settings of a supervisor; the policies are judge's."""
    guardrails = [{"when": "error_rate > 1.2x control", "then": "kill"}]
    policies = [
        {"flag": flag_name(number), "environment": "production", "guardrails": guardrails} for number in range(FLAGS)
    ]
    (folder / "policies.yaml").write_text("\n---\n".join(json.dumps(policy) for policy in policies))
    settings = {"kafka": {"bootstrap": bootstrap}, "health": {"port": port}, "policies": [str(folder / "policies.yaml")]}
    (folder / f"{name}.yaml").write_text(json.dumps(settings))


class Judge:
    """A judge under its supervisor, which may end and begin again."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self._stack = contextlib.ExitStack()
        self.pid = 0

    def begin(self) -> None:
        """Start it; return once it judges."""
        self.pid = self._stack.enter_context(worker(self._folder, "judge", self._port))

    def end(self) -> None:
        """End it in good order."""
        self._stack.close()

    def behind_s(self) -> float:
        """
        Return how long, on average of the last second, entries of the journal had waited when they were judged.

        Infinity where none was judged: who judges nothing has not caught up.
        """
        first = _journal_seconds(self._port)
        time.sleep(1.0)
        second = _journal_seconds(self._port)
        judged = second[1] - first[1]
        return (second[0] - first[0]) / judged if judged else math.inf

    def catch_up(self) -> tuple[list[float], float]:
        """Return megabytes each second until it has caught up, and how long that took."""
        sizes, began_s = [], time.monotonic()
        while time.monotonic() - began_s < CATCH_UP_MOST_S:
            sizes.append(resident_mb(self.pid))
            if self.behind_s() < CAUGHT_UP_S:
                break
        return sizes, time.monotonic() - began_s


@contextmanager
def judge_of(folder: Path, ports: dict[str, int]) -> Iterator[Judge]:
    """Run a judge; what of it runs in the end is ended."""
    judge = Judge(folder, ports["judge"])
    judge.begin()
    try:
        yield judge
    finally:
        judge.end()


@contextmanager
def worker(folder: Path, name: str, port: int) -> Iterator[int]:
    """
    Run a supervisor with one worker; yields the worker's process id once it is ready.

    Raises:
        TimeoutError: it was not ready in time.
    """
    command = [sys.executable, "-m", "streams.apps.cli", "run", "--config", str(folder / f"{name}.yaml"), "--only", name]
    with (folder / f"{name}.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield _pid(port, name, folder / f"{name}.log")
        finally:
            process.terminate()
            process.wait(10)


def _pid(port: int, name: str, log: Path) -> int:
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            child = json.loads(_get(port, "/readyz"))["children"][name]
            # Without observe there is nothing to judge yet, but the partitions are there.
            if child["pid"] and child.get("partitions"):
                return int(child["pid"])
        time.sleep(0.2)
    raise TimeoutError(f"{name} was not ready within {READY_S:.0f} s\n{log.read_text()[-4000:]}")


def _get(port: int, path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            content: bytes = answer.read()
    except urllib.request.HTTPError as error:
        content = error.read()  # not ready, and why
    return content


def _journal_seconds(port: int) -> tuple[float, float]:
    """Return the seconds that entries had waited in sum, and how many they were."""
    found = dict(line.rsplit(" ", 1) for line in _get(port, "/metrics").decode().splitlines() if line[:1] != "#")
    return float(found[f"{AGE}_sum"]), float(found[f"{AGE}_count"])


@contextmanager
def load(bootstrap: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the load in a process of its own."""
    command = [sys.executable, "-m", "bench._rollouts", bootstrap, "--flags", str(FLAGS), "--rate", str(RATE)]
    longest = ["--seconds", str(2 * SECONDS + CATCH_UP_MOST_S)]
    with subprocess.Popen([*command, *longest], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()
