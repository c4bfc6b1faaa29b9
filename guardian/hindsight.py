"""
What became of a kill that was decided and not carried out: the guardian is judged by what happened next.

In shadow mode a variation goes on after the verdict. Whether that was right is asked of two things that the verdict did
not rest on: what people did, and what started afterwards.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from guardian.names import Millis
from guardian.progress import Shown

Seen = Literal["open", "confirmed", "contradicted", "missed"]

KEPT_MAX = 8
"""Verdicts of a rollout that are looked back on, the newest."""
SHOWN_ALPHA = 0.05
"""The chance that what started afterwards confirms, or contradicts, what is not so."""
GONE_MS = 60_000
"""A variation is off when nobody was shown it for so long,"""
GONE_STARTS = 10.0
"""while so many starts should have come."""


class Hindsight(msgspec.Struct):
    """
    One verdict of shadow mode on one variation, and what came after it.

    ``guardrail`` is as written, ``segment`` where it was found; ``at_ms`` is the journal time of the verdict. ``harm``
    and ``health`` hold what started afterwards, tested for what the guardrail calls harm, and for the opposite; None
    where there is no such test.

    ``starts`` and ``starts_control`` are the starts since, ``failed`` the units that failed for the first time, until
    it was turned off: at ``off_ms`` (0: it was not) and by whom, where a wish said so. ``last_ms`` is when a start last
    came, ``beside`` how many of control came since. A person who was sooner than the guardian has a verdict without a
    guardrail.
    """

    decision_id: str
    variation: str
    guardrail: str
    segment: str
    at_ms: Millis
    harm: Shown | None = None
    health: Shown | None = None
    starts: int = 0
    starts_control: int = 0
    failed: int = 0
    last_ms: Millis = 0
    beside: int = 0
    off_ms: Millis = 0
    by: str = ""

    @property
    def is_off(self) -> bool:
        """Whether it was turned off."""
        return self.off_ms > 0

    @property
    def seen(self) -> Seen:
        """What is to be said of the verdict now."""
        if not self.guardrail:
            return "missed"
        is_worse, is_well = _holds(self.harm), _holds(self.health)
        if self.is_off or (is_worse and not is_well):
            return "confirmed"
        return "contradicted" if is_well and not is_worse else "open"

    def count(self, now_ms: Millis, starts: int, failed: int) -> None:
        """Count what came of the variation; whoever has traffic again is not off, unless a person said so."""
        if self.by:
            return
        self.starts, self.failed = self.starts + starts, self.failed + failed
        if starts:
            self.last_ms, self.beside, self.off_ms = now_ms, 0, 0

    def count_control(self, now_ms: Millis, starts: int) -> None:
        """Count what came of control meanwhile; where the variation should have had starts and had none, it is off."""
        if self.is_off:
            return
        self.starts_control, self.beside = self.starts_control + starts, self.beside + starts
        before = max(self.starts_control - self.beside, 1)
        if now_ms - self.last_ms >= GONE_MS and self.beside * self.starts / before >= GONE_STARTS:
            self.off_ms = self.last_ms

    def turn_off(self, now_ms: Millis, by: str) -> None:
        """A person killed it."""
        self.off_ms, self.by = self.off_ms or now_ms, by or "a person"


def _holds(shown: Shown | None) -> bool:
    return shown is not None and shown.is_read and shown.log_s >= 0.0
