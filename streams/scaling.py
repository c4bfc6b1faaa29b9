"""When more workers of a processor are started, because the one that there is cannot keep up (decision 15)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

BEHIND_S = 2.0
"""Who reads what has waited for longer is behind."""
BUSY = 0.5
"""
So much of a processor's time is taken by who cannot keep up for want of more workers. Who is behind and has less waits
for Kafka, or for a host that others fill: more workers, and the rebalance that brings them in, would make that worse.
"""
LOOKS = 3
"""So many looks in a row: a rebalance, or a slow moment of the broker, is over by then."""


class Scaling:
    """
    Says when workers of *name* are added, and then all that may be, up to *most*; they stay.

    One after the other they would each stop all others for a rebalance, and whoever leaves again does so, too.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._looks = 0

    def due(self, numbers: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Look at what the workers say, by name, twice a second; return the names of those to be started."""
        mine = [said for worker, said in numbers.items() if processor_of(worker) == self._name]
        is_too_much = any(said.get("behind_s", 0.0) > BEHIND_S and said.get("busy", 0.0) > BUSY for said in mine)
        self._looks = self._looks + 1 if is_too_much else 0
        if self._looks < LOOKS or not mine:
            return []
        return [f"{self._name}-{number}" for number in range(len(mine) + 1, self._most + 1)]


def processor_of(worker: str) -> str:
    """Return which processor a worker runs: ``observe`` for ``observe-2``."""
    return worker.partition("-")[0]


class Busy:
    """How much of a processor this process takes."""

    def __init__(self) -> None:
        self._at_s, self._taken_s = time.monotonic(), time.process_time()

    def share(self) -> float:
        """Return its processor time by the time since it was asked before: 1.0 is one processor, threads count, too."""
        at_s, taken_s = time.monotonic(), time.process_time()
        passed_s, took_s = at_s - self._at_s, taken_s - self._taken_s
        self._at_s, self._taken_s = at_s, taken_s
        return took_s / passed_s if passed_s > 0 else 0.0
