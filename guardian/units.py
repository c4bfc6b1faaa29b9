"""
Who has already failed, and who saw two variations: bounded sets with a memory.

A unit's *first* error is evidence, its later ones are not: raw events of
heavy users are not independent (docs/statistics.md, "the unit is the user").
"""

from __future__ import annotations

import numpy as np

from guardian.names import Millis

UNIT_TTL_MS = 24 * 3_600_000
UNITS_MAX = 20_000


class FailedUnits:
    """
    Units that failed lately: remembered for one to two times ``ttl_ms``, or until ``capacity`` newer ones came.

    Two generations: the older one is dropped whole, so that forgetting costs
    nothing and depends only on what was added and when.
    """

    def __init__(self, capacity: int = UNITS_MAX, ttl_ms: Millis = UNIT_TTL_MS) -> None:
        self._half = capacity // 2
        self._ttl_ms = ttl_ms
        self._young: set[int] = set()
        self._old: set[int] = set()
        self._born_ms: Millis = 0

    def add(self, unit: int, now_ms: Millis) -> bool:
        """Remember the unit; say whether this is its first failure as far as remembered."""
        if unit in self._young:
            return False
        if not self._young:
            self._born_ms = now_ms
        elif len(self._young) >= self._half or now_ms - self._born_ms > self._ttl_ms:
            self._old, self._young, self._born_ms = self._young, set(), now_ms
        self._young.add(unit)
        return unit not in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def state(self) -> tuple[int, bytes, bytes]:
        """Return the set as bytes, the same for the same content."""
        return self._born_ms, _pack(self._young), _pack(self._old)

    def restore(self, state: tuple[int, bytes, bytes]) -> None:
        """Take the content from ``state()``."""
        self._born_ms, young, old = state
        self._young, self._old = _unpack(young), _unpack(old)


def _pack(units: set[int]) -> bytes:
    return np.array(sorted(units), dtype=np.uint64).tobytes()


def _unpack(raw: bytes) -> set[int]:
    return set(np.frombuffer(raw, dtype=np.uint64).tolist())
