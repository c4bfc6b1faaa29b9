"""Units that a rollout has met: each counts as new at most once, in a memory of 32 kB however many there are."""

from __future__ import annotations

PLACES = (65_536, 32_768, *[16_384] * 10)
"""Places of each level, one bit each. Half of all units are of the first level, a quarter of the second, and so on."""
LAST = len(PLACES) - 1
_FULL = 0xFF


class Newcomers:
    """
    One place for many units, taken by the first of them that is met: who finds its place taken does not count, new or not.

    So nobody counts twice. A unit's hash alone says which place it has, so who counts does not depend on what it was
    shown, and the shares among those who count are those of all. The level is the number of zeros that the hash ends
    in, at most ``LAST``: of levels with ever fewer units some have free places left, however many were met (the
    multiresolution bitmap of Estan, Varghese and Fisk, IMC 2003).
    """

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = [bytearray() for _ in PLACES]

    def meet(self, unit: int) -> bool:
        """Say whether the unit (its hash, 52 bits) counts as new; its place is taken from now on."""
        level = min((unit & -unit).bit_length() - 1, LAST) if unit else LAST
        place = (unit >> min(level + 1, LAST)) % PLACES[level]
        taken = self._taken[level]
        if not taken:
            taken.extend(bytes(PLACES[level] // 8))
        byte, bit = place >> 3, 1 << (place & 7)
        if taken[byte] & bit:
            return False
        taken[byte] |= bit
        return True

    def close(self, levels: int) -> None:
        """Count nobody of the first so many levels any more: who of them was met is not known."""
        for level in range(min(levels, len(PLACES))):
            self._taken[level] = bytearray([_FULL]) * (PLACES[level] // 8)

    def state(self) -> list[bytes]:
        """Return the places as plain values, the same for the same units: a bit each, no bytes for an untouched level."""
        return [bytes(taken) for taken in self._taken]

    def restore(self, state: list[bytes]) -> None:
        """Take what ``state`` returned; raises ValueError for levels of another size."""
        if [len(taken) for taken in state if taken] != [size // 8 for size, taken in zip(PLACES, state, strict=True) if taken]:
            raise ValueError(f"places of {len(state)} levels do not fit")
        self._taken = [bytearray(taken) for taken in state]
