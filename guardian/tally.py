"""Sums of one line of telemetry: of one arm, and of both arms over the same starts."""

from __future__ import annotations

import msgspec

from guardian.names import Millis
from guardian.sequential import Histogram, histogram_of

_ROUNDED = 1e-6
"""A count below this is what rounding has left of nothing."""


class Tally(msgspec.Struct, array_like=True, gc=False):
    """
    How much of a line one arm has: ``n`` units or requests, ``x`` events among them.

    ``counts`` says how ``n`` is distributed: by latency bucket, or by position of a score. Of events without a unit
    ``x`` holds a part, as they may be one's; ``left`` is what it leaves out. ``every`` counts all failed requests,
    those of units that had failed before, too.
    """

    n: float = 0.0
    x: float = 0.0
    counts: dict[int, float] = {}
    left: float = 0.0
    every: float = 0.0

    @property
    def histogram(self) -> Histogram:
        """The counts as arrays, in their order; made anew each time."""
        return histogram_of(self.counts)

    def add(self, other: Tally) -> None:
        """Add the other's sums."""
        self.n += other.n
        self.x += other.x
        self.left += other.left
        self.every += other.every
        mine = self.counts
        if not mine:
            self.counts = other.counts.copy()
            return
        for key, count in other.counts.items():
            mine[key] = mine.get(key, 0.0) + count

    def take_away(self, other: Tally) -> None:
        """Take away sums that were added before; what rounding leaves of a count is forgotten."""
        self.n -= other.n
        self.x -= other.x
        self.left -= other.left
        mine = self.counts
        for key, count in other.counts.items():
            rest = mine[key] - count
            if rest > _ROUNDED:
                mine[key] = rest
            else:
                del mine[key]


class Pair(msgspec.Struct, array_like=True, gc=False):
    """Both arms over the same starts ``[from_ms, to_ms)``."""

    from_ms: Millis
    to_ms: Millis
    t: Tally = msgspec.field(default_factory=Tally)
    c: Tally = msgspec.field(default_factory=Tally)

    def add(self, end_ms: Millis, t: Tally | None, c: Tally | None) -> None:
        """Add what a tick that ends at ``end_ms`` brought of either arm."""
        if t is not None:
            self.t.add(t)
        if c is not None:
            self.c.add(c)
        self.to_ms = max(self.to_ms, end_ms)

    @property
    def span_ms(self) -> Millis:
        """How long a time it covers."""
        return self.to_ms - self.from_ms
