"""When more workers of a processor are started, because the one that there is cannot keep up (decision 15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BEHIND_S = 2.0
"""Who reads what has waited for longer is behind."""
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
        is_behind = any(said.get("behind_s", 0.0) > BEHIND_S for said in mine)
        self._looks = self._looks + 1 if is_behind else 0
        if self._looks < LOOKS or not mine:
            return []
        return [f"{self._name}-{number}" for number in range(len(mine) + 1, self._most + 1)]


def processor_of(worker: str) -> str:
    """Return which processor a worker runs: ``observe`` for ``observe-2``."""
    return worker.partition("-")[0]
