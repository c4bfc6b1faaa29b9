"""
The fold that every peer does: sums per flag, variation and tick of start, with latency buckets and failing units.

It needs the standard library alone. The whole of it also knows repeats, units that got two variations, and which
outcomes of a unit count for latencies: once in ten seconds, as in observe. With ``sums`` among the arguments it leaves
these three out. Both are less than observe does: no check of the contract, no exactly-once hand-over.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from datetime import datetime
from typing import Any

TICK_MS = 200
TICKS_OF_UNIT = 50
REMEMBERED = 500_000
GARBAGE_AFTER = 50_000
_LOG_GAMMA = math.log(1.01 / 0.99)


class Recent:
    """Remembers keys with their first values, the last ``REMEMBERED`` at least."""

    def __init__(self) -> None:
        self.young: dict[Any, Any] = {}
        self.old: dict[Any, Any] = {}

    def meet(self, key: Any, value: Any = True) -> Any:
        """Return the first value known of a key, or None if it is new."""
        found = self.young.get(key)
        if found is not None:
            return found
        found = self.old.get(key)
        if found is None:
            self.young[key] = value
            if len(self.young) >= REMEMBERED:
                self.young, self.old = {}, self.young
        return found


class Sums:
    """Sums of all events so far, and the time that they took; ``whole`` as said above."""

    def __init__(self, count: int, whole: bool = True) -> None:
        # As observe does: what is remembered makes collections long, and there are no cycles to find.
        gc.set_threshold(GARBAGE_AFTER, 20, 50)
        gc.freeze()
        self.count = count
        self.whole = whole
        self.seen = self.repeats = self.mixed = 0
        self.met, self.units, self.counted = Recent(), Recent(), Recent()
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
        unit = data["context_id"]
        first = True
        if self.whole:
            if self.met.meet((event["source"], event["id"])):
                self.repeats += 1
                return
            first = self._is_first(data["flags"], unit, tick)
        bucket = math.ceil(math.log(latency_ms) / _LOG_GAMMA) if latency_ms > 0 else -1
        for flag, variation in data["flags"].items():
            key = data["environment"], flag, variation, tick
            arm = self.arms.get(key)
            if arm is None:
                arm = self.arms[key] = [0, 0, {}, set()]
            arm[0] += 1
            if first:
                arm[2][bucket] = arm[2].get(bucket, 0) + 1
            if failed:
                arm[1] += 1
                arm[3].add(unit)
        self.seen += 1
        if self.seen >= self.count:
            self.end()

    def _is_first(self, flags: dict[str, str], unit: str, tick: int) -> bool:
        """Say whether a unit is new under its flags in its ten seconds; only then it can be under a second variation."""
        if self.counted.meet((unit, tick // TICKS_OF_UNIT, *flags.values())):
            return False
        for flag, variation in flags.items():
            self.mixed += self.units.meet((flag, unit), variation) not in {None, variation}
        return True

    def end(self) -> None:
        """Write wall and processor seconds to stdout, and leave at once: frameworks take their time to stop."""
        assert self.began is not None
        wall_s, cpu_s = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        outcomes = sum(arm[0] for arm in self.arms.values())
        # Past what frameworks do to print.
        os.write(1, json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "pairs": outcomes}).encode() + b"\n")
        os._exit(0)


def arguments() -> tuple[str, str, Sums]:
    """Return bootstrap, topic and the sums to make of so many events."""
    return sys.argv[1], sys.argv[2], Sums(int(sys.argv[3]), "sums" not in sys.argv[4:])
