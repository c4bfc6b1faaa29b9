"""
Who is new, by tick of start, until all that started beside it has come.

That a unit is new is known once it is exposed: it waits for exposures, as long as these take, and not for outcomes.
"""

from __future__ import annotations

import msgspec

from guardian.lag import Lag, delay_bucket
from guardian.names import Millis
from guardian.summaries import Tick


class Came(msgspec.Struct, array_like=True):
    """New units of one tick, by variation."""

    start_ms: Millis
    arms: dict[str, int] = {}


class Arrivals(msgspec.Struct):
    """
    New units by the end of their tick, and how late exposures came: as for outcomes, of the slowest variation.

    Without exposures of their own it is outcomes that tell of new units, and the lag is that of outcomes.
    """

    open: dict[int, Came] = {}
    closed_ms: Millis = 0
    lag: Lag = msgspec.field(default_factory=Lag)

    def learn(self, ticks: list[Tick], now_ms: Millis, most_ms: Millis) -> None:
        """Learn from one flush how late exposures come (``Lag.learn``); it is exact to the length of a tick."""
        delays: dict[str, dict[int, int]] = {}
        for tick in ticks:
            bucket = delay_bucket(now_ms - tick.end_ms)
            for variation, arm in tick.arms.items():
                if arm.exposures:
                    mine = delays.setdefault(variation, {})
                    mine[bucket] = mine.get(bucket, 0) + arm.exposures
        self.lag.learn(delays, now_ms, most_ms)

    def wait(self, tick: Tick, variation: str, count: int) -> None:
        """Keep new units of a tick until it is mature."""
        came = self.open.get(tick.end_ms)
        if came is None:
            came = self.open[tick.end_ms] = Came(tick.start_ms)
        came.arms[variation] = came.arms.get(variation, 0) + count

    def mature(self, until_ms: Millis) -> list[tuple[Millis, Came]]:
        """Take out, oldest first, the ticks that end by ``until_ms``; what comes for them later is late."""
        if until_ms <= self.closed_ms:
            return []
        self.closed_ms = until_ms
        return [(end, self.open.pop(end)) for end in sorted(end for end in self.open if end <= until_ms)]
