"""Units that a rollout has met: each counts once as new, in a sample that halves when it has become too large."""

from __future__ import annotations

from guardian.units import Units

NEWCOMERS_MAX = 4_096


class Newcomers:
    """
    A sample of the units met so far: those whose hashes end in ``shift`` zero bits.

    The sample is of units, whatever they were shown, so the shares in it are those of all.
    """

    __slots__ = ("_met", "_most", "_shift")

    def __init__(self, most: int = NEWCOMERS_MAX) -> None:
        self._most = most
        self._shift = 0
        self._met = Units()

    def meet(self, unit: int) -> bool:
        """Say whether the unit is one of the sample and new; it is known from now on."""
        if unit & ((1 << self._shift) - 1) or not self._met.add(unit):
            return False
        while len(self._met) > self._most:
            self._shift += 1
            self._met.thin((1 << self._shift) - 1)
        return True

    def __len__(self) -> int:
        return len(self._met)

    def state(self) -> tuple[int, bytes]:
        """Return the sample as plain values, the same for the same units."""
        return self._shift, self._met.to_bytes()

    def restore(self, state: tuple[int, bytes]) -> None:
        """Take what ``state`` returned."""
        self._shift, raw = state
        self._met = Units(raw)
