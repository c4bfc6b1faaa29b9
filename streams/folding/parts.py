"""Which parts of a flag's outcomes are summed apart: the values of attributes, as they are met, and cuts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guardian.plan import SEGMENTS_MAX, Plan, segment_of
from streams.folding.chunk import spread
from streams.folding.details import Detail, Details
from streams.folding.wanted import Wanted

Int64s = npt.NDArray[np.int64]

_ARMS_MAX = 65_536
"""Known arms of what outcomes told; beyond, they are looked up again."""
_DETAIL_BITS = 40


class Parts:
    """
    Remembers, by flag and attribute, the first ``SEGMENTS_MAX`` values met; later ones are no segments.

    So there are never more than that for each attribute that a plan names.
    What was met since a mark can be taken back.
    """

    def __init__(self) -> None:
        self._met: dict[tuple[str, str], set[str]] = {}
        self._journal: list[tuple[tuple[str, str], str]] = []
        self._confirmed = 0
        self._arms: dict[int, tuple[int, ...]] = {}

    def of(self, wanted: Wanted, details: Details, detail: Int64s, arm: Int64s) -> tuple[Int64s, Int64s]:
        """
        Return the arms of the segments that outcomes are in: the place of each outcome, and the arm.

        ``detail`` numbers what each outcome told, ``arm`` is the one that it counts for; in the order of events.
        """
        if not detail.size:
            return detail, arm
        if len(self._arms) > _ARMS_MAX:
            self.forget_arms()
        distinct, first, which = np.unique(arm << _DETAIL_BITS | detail, return_index=True, return_inverse=True)
        found: list[tuple[int, ...]] = [()] * distinct.size
        keys = distinct.tolist()
        for at in np.argsort(first).tolist():
            known = self._arms.get(keys[at])
            if known is None:
                known = self._arms[keys[at]] = self._read(wanted, details, keys[at])
            found[at] = known
        count = np.array([len(arms) for arms in found])
        owner, at_arm = spread((np.cumsum(count) - count)[which], count[which])
        flat = np.array([number for arms in found for number in arms], dtype=np.int64)
        return owner, flat[at_arm]

    def _read(self, wanted: Wanted, details: Details, key: int) -> tuple[int, ...]:
        names, arm = wanted.names, key >> _DETAIL_BITS
        flag = int(names.flag_of_arm[arm])
        flag_key, variation = names.flag_keys[flag], names.variations[arm]
        segments = self.segments(flag_key, wanted.plan(flag), details[key & (1 << _DETAIL_BITS) - 1])
        return tuple(names.arm(flag_key, variation, segment) for segment in segments)

    def segments(self, key: str, plan: Plan, detail: Detail) -> list[str]:
        """Return the segments that an outcome of the flag belongs to, each once; meets the values of its attributes."""
        found = [segment_of(name, value) for name in plan.segments if (value := self._meet(key, name, detail)) is not None]
        found += [cut.name for cut in plan.cuts if detail.has(cut.where)]
        return list(dict.fromkeys(found))

    def _meet(self, key: str, attribute: str, detail: Detail) -> str | None:
        value = detail.attribute(attribute)
        if value is None:
            return None
        met = self._met.setdefault((key, attribute), set())
        if value in met:
            return value
        if len(met) >= SEGMENTS_MAX:
            return None
        met.add(value)
        self._journal.append(((key, attribute), value))
        return value

    def forget_arms(self) -> None:
        """Look all arms up again: their numbers, or the plans, are others."""
        self._arms = {}

    def mark(self) -> int:
        """Return a mark of what was met till now."""
        return self._confirmed + len(self._journal)

    def confirm(self, mark: int) -> None:
        """Give up the possibility to go back behind ``mark``."""
        del self._journal[: mark - self._confirmed]
        self._confirmed = max(self._confirmed, mark)

    def undo(self, mark: int) -> None:
        """Forget the values met after ``mark``."""
        while self.mark() > mark:
            where, value = self._journal.pop()
            self._met[where].discard(value)
        self.forget_arms()
