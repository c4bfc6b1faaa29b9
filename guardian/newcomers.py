"""Units that a rollout has met: each counts once as new, in a sample that halves when it has become too large."""

from __future__ import annotations

import numpy as np

NEWCOMERS_MAX = 4_096


class Newcomers:
    """
    A sample of the units met so far: those whose hashes end in ``shift`` zero bits.

    The sample is of units, whatever they were shown, so the shares in it are those of all.
    """

    def __init__(self, most: int = NEWCOMERS_MAX) -> None:
        self._most = most
        self._shift = 0
        self._met: set[int] = set()

    def meet(self, unit: int) -> bool:
        """Say whether the unit is one of the sample and new; it is known from now on."""
        if unit & ((1 << self._shift) - 1) or unit in self._met:
            return False
        self._met.add(unit)
        while len(self._met) > self._most:
            self._shift += 1
            self._met = {held for held in self._met if not held & ((1 << self._shift) - 1)}
        return True

    def __len__(self) -> int:
        return len(self._met)

    def state(self) -> tuple[int, bytes]:
        """Return the sample as plain values, the same for the same units."""
        return self._shift, np.array(sorted(self._met), dtype=np.uint64).tobytes()

    def restore(self, state: tuple[int, bytes]) -> None:
        """Take what ``state`` returned."""
        self._shift, raw = state
        self._met = set(np.frombuffer(raw, dtype=np.uint64).tolist())
