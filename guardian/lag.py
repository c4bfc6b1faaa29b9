"""
How long to wait for outcomes: a high quantile of past delays, the same for all arms.

Within one allocation epoch every lag is valid; the lag only keeps a
*harmless* slowdown of one variation from looking like errors
(docs/statistics.md, "two lanes").
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from guardian.names import Millis

DELAY_GAMMA = 1.2
"""Ratio of two neighbouring delay buckets: bucket k holds delays in (gamma^(k-1), gamma^k] ms."""
QUANTILE = 0.99
HALF_LIFE_MS = 60_000
LEARNED_AT = 20.0
"""Outcomes of a variation before its delays are believed."""


def delay_bucket(delay_ms: float) -> int:
    """Return the bucket of a delay; everything up to 1 ms is bucket 0."""
    return 0 if delay_ms <= 1.0 else math.ceil(math.log(delay_ms) / math.log(DELAY_GAMMA) - 1e-9)


UNKNOWN_MS = 1_000
"""The lag while no variation has shown its delays."""


class Lags(NamedTuple):
    """How long to wait for outcomes of what began, and for the exposures that began beside it."""

    outcomes_ms: Millis
    arrivals_ms: Millis


class Lag(msgspec.Struct, gc=False):
    """Decayed histogram of delays per variation, and the lag last learned from it."""

    decayed_ms: Millis = 0
    counts: dict[str, dict[int, float]] = {}
    learned_ms: Millis = UNKNOWN_MS

    def learn(self, delays: dict[str, dict[int, int]], now_ms: Millis, most_ms: Millis) -> None:
        """
        Add what one flush saw; nothing is waited for longer than ``most_ms``.

        Once a second the lag is learned anew, from what was added *before*
        this flush, and the past fades (half-life a minute). So the lag in
        force never depends on the outcomes that it is applied to.
        """
        since_ms = now_ms - self.decayed_ms
        if since_ms >= 1_000:
            self.learned_ms = self._quantile_ms(most_ms)
            self._fade(0.5 ** (since_ms / HALF_LIFE_MS))
            self.decayed_ms = now_ms
        for variation, buckets in delays.items():
            mine = self.counts.setdefault(variation, {})
            for bucket, count in buckets.items():
                mine[bucket] = mine.get(bucket, 0.0) + count

    def value_ms(self, lag_min_ms: Millis, lag_max_ms: Millis) -> Millis:
        """Return the lag in force: the largest of the variations' 99 % delays, clamped."""
        return min(max(self.learned_ms, lag_min_ms), lag_max_ms)

    def late_part(self, most_ms: Millis) -> float:
        """Return which part of what has come of late was later than ``most_ms``, in [0, 1]; 0 where too little is known."""
        came = [one for buckets in self.counts.values() for one in buckets.items()]
        total = sum(count for _, count in came)
        late = sum(count for bucket, count in came if DELAY_GAMMA**bucket > most_ms)
        return late / total if total >= LEARNED_AT else 0.0

    def _fade(self, factor: float) -> None:
        for variation, buckets in self.counts.items():
            self.counts[variation] = {k: c * factor for k, c in buckets.items() if c * factor > 0.01}

    def _quantile_ms(self, most_ms: Millis) -> Millis:
        known = [buckets for buckets in self.counts.values() if sum(buckets.values()) >= LEARNED_AT]
        return math.ceil(max((_enough_ms(buckets, most_ms) for buckets in known), default=UNKNOWN_MS))


def _enough_ms(buckets: dict[int, float], most_ms: Millis) -> float:
    """
    Return after how long all but one in a hundred have come of those that come within ``most_ms``.

    What comes later still is late in any case: to wait for longer would bring next to nothing. Where hardly anything
    comes in time, ``most_ms`` are waited.
    """
    within = [bucket for bucket in sorted(buckets) if DELAY_GAMMA**bucket <= most_ms]
    total, seen = sum(buckets[bucket] for bucket in within), 0.0
    if total < LEARNED_AT:
        return float(most_ms)
    for bucket in within:
        seen += buckets[bucket]
        if seen >= QUANTILE * total:
            break
    return DELAY_GAMMA**bucket
