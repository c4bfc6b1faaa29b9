"""Which unit was seen under which variation: to find units that got two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from guardian.summaries import SIGHT_MS, FlagSums, MixedUnit, Sight
from streams.folding.memory import Memory
from streams.folding.names import Names

Int64s = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

COHORT_PART = 64
"""One unit in so many is in the cohort."""
UNIT_SHIFT = np.uint64(12)
"""A unit's id is the upper 52 bits of its hash: every JSON reader can hold it."""
_SERVICE_BITS = 32
_SERVICE_MASK = (1 << _SERVICE_BITS) - 1
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_SAID_PART = 8
"""Units known to be mixed are few: this part of the memory is enough for them."""


class Told(NamedTuple):
    """What is worth telling of one pair: its place among those seen, its flag's number, and what."""

    at: int
    flag: int
    what: MixedUnit | Sight


class Sights:
    """
    Remembers, for about ``capacity`` pairs (flag, unit), the variation and the service first seen.

    What is told waits, by flag number, until the flag's sums go out.
    """

    def __init__(self, names: Names, capacity: int) -> None:
        self._names = names
        # Each memory keeps two generations.
        self._first = Memory(capacity // 2, refresh=True)
        self._said = Memory(capacity // 2 // _SAID_PART, refresh=True)
        self.mixed: dict[int, list[MixedUnit]] = {}
        self.cohort: dict[int, list[Sight]] = {}

    def see(
        self,
        unit_hash: Keys,
        arm: Int64s,
        service: Int64s,
        start_ms: Int64s,
        tell: npt.NDArray[np.bool_] | None = None,
    ) -> list[Told]:
        """
        See units (64-bit hashes) under arms, shown by services, in order; return what is worth telling.

        ``tell`` masks who may be told of.
        """
        flag = self._names.flag_of_arm[arm]
        minute = start_ms // SIGHT_MS
        # Sights are compared within a minute only: another minute is another key.
        keys = unit_hash ^ self._names.flag_hash[flag] ^ (minute.astype(np.uint64) * _SPREAD)
        known, new = self._first.meet(keys, (arm << _SERVICE_BITS) | service)
        assert known is not None
        first_arm = known >> _SERVICE_BITS
        differs = np.flatnonzero(first_arm != arm)
        if differs.size:
            _, unsaid = self._said.meet(keys[differs])
            differs = differs[unsaid]
        unit = (unit_hash >> UNIT_SHIFT).astype(np.int64)
        sampled = np.flatnonzero(new & (unit % COHORT_PART == 0))
        if tell is not None:
            differs, sampled = differs[tell[differs]], sampled[tell[sampled]]
        told = []
        for at in differs.tolist():
            first = int(known[at])
            arms = first >> _SERVICE_BITS, int(arm[at])
            services = first & _SERVICE_MASK, int(service[at])
            told.append(Told(at, int(flag[at]), self._mixed(int(unit[at]), int(minute[at]) * SIGHT_MS, arms, services)))
        for at in sampled.tolist():
            variation, shown_by = self._names.variations[int(arm[at])], self._names.services[int(service[at])]
            told.append(Told(at, int(flag[at]), Sight(int(unit[at]), int(minute[at]) * SIGHT_MS, variation, shown_by)))
        return told

    def _mixed(self, unit: int, from_ms: int, arms: Iterable[int], services: Iterable[int]) -> MixedUnit:
        variations = [self._names.variations[arm] for arm in arms]
        named = sorted({self._names.services[service] for service in services} - {""})
        return MixedUnit(unit=unit, from_ms=from_ms, variations=variations, services=named)

    def tell(self, told: Iterable[Told]) -> None:
        """Tell this with the next sums of each flag."""
        for _, flag, what in told:
            if isinstance(what, MixedUnit):
                self.mixed.setdefault(flag, []).append(what)
            else:
                self.cohort.setdefault(flag, []).append(what)

    def hand_over(self, flags: Iterable[FlagSums]) -> None:
        """Put what waits for these flags into their sums."""
        if not self.mixed and not self.cohort:
            return
        for flag in flags:
            number = self._names.flag(flag.key)
            flag.mixed = self.mixed.pop(number, [])
            flag.cohort = sorted(self.cohort.pop(number, []), key=lambda sight: (sight.unit, sight.from_ms))

    def mark(self) -> tuple[int, int, dict[int, list[MixedUnit]], dict[int, list[Sight]]]:
        """Return a mark of the memory as it is now."""
        mixed = {flag: list(told) for flag, told in self.mixed.items()}
        cohort = {flag: list(told) for flag, told in self.cohort.items()}
        return self._first.mark(), self._said.mark(), mixed, cohort

    def confirm(self, mark: tuple[int, int, object, object]) -> None:
        """Give up the possibility to go back behind ``mark``."""
        self._first.confirm(mark[0])
        self._said.confirm(mark[1])

    def undo(
        self, mark: tuple[int, int, dict[int, list[MixedUnit]], dict[int, list[Sight]]]
    ) -> None:
        """Go back to ``mark``."""
        self._first.undo(mark[0])
        self._said.undo(mark[1])
        self.mixed = {flag: list(told) for flag, told in mark[2].items()}
        self.cohort = {flag: list(told) for flag, told in mark[3].items()}
