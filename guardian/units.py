"""
Who has already failed, and who saw two variations: bounded sets with a memory.

A unit's *first* error is evidence, its later ones are not: raw events of
heavy users are not independent (docs/statistics.md, "the unit is the user").
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from guardian.names import Millis

UNIT_TTL_MS = 24 * 3_600_000
UNITS_MAX = 20_000


class Units:
    """A set of units (64 bits each) in 8 bytes a unit: their hashes in order."""

    __slots__ = ("_sorted",)

    def __init__(self, raw: bytes = b"") -> None:
        """Take what ``to_bytes`` returned."""
        self._sorted = array("Q", raw)

    def add(self, unit: int) -> bool:
        """Take the unit in; say whether it is new."""
        at = bisect_left(self._sorted, unit)
        if at < len(self._sorted) and self._sorted[at] == unit:
            return False
        self._sorted.insert(at, unit)
        return True

    def __contains__(self, unit: int) -> bool:
        at = bisect_left(self._sorted, unit)
        return at < len(self._sorted) and self._sorted[at] == unit

    def __len__(self) -> int:
        return len(self._sorted)

    def to_bytes(self) -> bytes:
        """Return the units, 8 bytes each, in order: the same for the same units."""
        return self._sorted.tobytes()


class FailedUnits:
    """
    Units that failed lately: remembered for one to two times ``ttl_ms``, or until ``capacity`` newer ones came.

    Two generations: the older one is dropped whole, so that forgetting costs
    nothing and depends only on what was added and when.
    """

    __slots__ = ("_born_ms", "_half", "_old", "_ttl_ms", "_young")

    def __init__(self, capacity: int = UNITS_MAX, ttl_ms: Millis = UNIT_TTL_MS) -> None:
        self._half = capacity // 2
        self._ttl_ms = ttl_ms
        self._young, self._old = Units(), Units()
        self._born_ms: Millis = 0

    def add(self, unit: int, now_ms: Millis) -> bool:
        """Remember the unit; say whether this is its first failure as far as remembered."""
        if unit in self._young:
            return False
        if not len(self._young):
            self._born_ms = now_ms
        elif len(self._young) >= self._half or now_ms - self._born_ms > self._ttl_ms:
            self._old, self._young, self._born_ms = self._young, Units(), now_ms
        self._young.add(unit)
        return unit not in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def state(self) -> tuple[int, bytes, bytes]:
        """Return the set as bytes, the same for the same content."""
        return self._born_ms, self._young.to_bytes(), self._old.to_bytes()

    def restore(self, state: tuple[int, bytes, bytes]) -> None:
        """Take the content from ``state()``."""
        self._born_ms, young, old = state
        self._young, self._old = Units(young), Units(old)
