"""
Requests that were begun and have not ended when they should have: a fixed bound of latency counts them at once.

Exposures tell that a request began, its outcome that it ended. That works where every exposure has its outcome; from
control's past it is known whether that is so.
"""

from __future__ import annotations

import msgspec

from guardian.names import Millis

HALF_LIFE_MS = 60_000
ENOUGH = 50.0
"""Exposures of control before it is known whether each has its outcome."""
WHOLE = (0.98, 1.02)
"""Outcomes per exposure of control where each has its own."""


class Hanging(msgspec.Struct, gc=False):
    """
    Starts by the end of their tick and variation, ``[exposures, outcomes]``, until they should have ended.

    ``exposures`` and ``outcomes`` are control's of the past, fading.
    """

    open: dict[int, dict[str, list[int]]] = {}
    exposures: float = 0.0
    outcomes: float = 0.0
    closed_ms: Millis = 0

    @property
    def is_whole(self) -> bool:
        """Whether every exposure of control had its outcome lately."""
        return self.exposures >= ENOUGH and WHOLE[0] <= self.outcomes / self.exposures <= WHOLE[1]

    def take(self, end_ms: Millis, variation: str, exposures: int, outcomes: int) -> None:
        """Take what a tick brought."""
        if end_ms > self.closed_ms and (exposures or outcomes):
            held = self.open.setdefault(end_ms, {}).setdefault(variation, [0, 0])
            held[0] += exposures
            held[1] += outcomes

    def is_counted(self, end_ms: Millis) -> bool:
        """Say whether an outcome that comes now for a tick was counted when it was missing."""
        return end_ms <= self.closed_ms and self.is_whole

    def mature(self, until_ms: Millis, control: str) -> list[tuple[Millis, dict[str, int]]]:
        """Take out, oldest first, the ticks that end by ``until_ms``: how many of each variation have not ended."""
        if until_ms <= self.closed_ms:
            return []
        elapsed_ms, self.closed_ms = until_ms - self.closed_ms if self.closed_ms else 0, until_ms
        # Asked before control's own are added: what is tested now must not say whether it counts.
        whole, found = self.is_whole, []
        keep = 0.5 ** (elapsed_ms / HALF_LIFE_MS)
        self.exposures, self.outcomes = self.exposures * keep, self.outcomes * keep
        for end_ms in sorted(end for end in self.open if end <= until_ms):
            arms = self.open.pop(end_ms)
            exposures, outcomes = arms.get(control, (0, 0))
            self.exposures += exposures
            self.outcomes += outcomes
            missing = {name: begun - ended for name, (begun, ended) in arms.items() if begun > ended}
            if whole and missing:
                found.append((end_ms, missing))
        return found
