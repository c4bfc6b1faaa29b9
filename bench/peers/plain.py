"""
The fold that every peer does: sums per flag, variation and tick of start, with latency buckets and failing units.

It needs the standard library alone. It is less than observe does: no check of
the contract, no search for repeats or mixed units, no exactly-once hand-over.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from datetime import datetime
from typing import Any

TICK_MS = 200
_LOG_GAMMA = math.log(1.01 / 0.99)


class Sums:
    """Sums of all events so far, and the time that they took."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen = 0
        self.arms: dict[tuple[str, str, str, int], list[Any]] = {}
        self.began: tuple[float, float] | None = None

    def add(self, event: dict[str, Any]) -> None:
        """Add one outcome; says what it took and ends the process after the last one."""
        if self.began is None:
            self.began = time.perf_counter(), time.process_time()
        data = event["data"]
        latency_ms = data["latency_ms"]
        time_ms = datetime.fromisoformat(event["time"]).timestamp() * 1000
        tick = int(time_ms - latency_ms) // TICK_MS
        failed = data["outcome"] == "error"
        bucket = math.ceil(math.log(latency_ms) / _LOG_GAMMA) if latency_ms > 0 else -1
        for flag, variation in data["flags"].items():
            key = data["environment"], flag, variation, tick
            arm = self.arms.get(key)
            if arm is None:
                arm = self.arms[key] = [0, 0, {}, set()]
            arm[0] += 1
            arm[2][bucket] = arm[2].get(bucket, 0) + 1
            if failed:
                arm[1] += 1
                arm[3].add(data["context_id"])
        self.seen += 1
        if self.seen >= self.count:
            self.end()

    def end(self) -> None:
        """Write wall and processor seconds to stdout, and leave at once: frameworks take their time to stop."""
        assert self.began is not None
        wall_s, cpu_s = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        outcomes = sum(arm[0] for arm in self.arms.values())
        # Past what frameworks do to print.
        os.write(1, json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "pairs": outcomes}).encode() + b"\n")
        os._exit(0)


def arguments() -> tuple[str, str, int]:
    """Return bootstrap, topic and how many events to read."""
    return sys.argv[1], sys.argv[2], int(sys.argv[3])
