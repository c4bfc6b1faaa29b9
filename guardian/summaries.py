"""
Mergeable sufficient statistics: what ``observe`` sends and ``judge`` adds up.

Everything here adds: the sums of a tick over any split of the events into
workers, partitions and batches are the same sums. Ticks are of *start* time:
an outcome belongs to the tick in which its request began.
"""

from __future__ import annotations

import msgspec

TICK_MS = 200
"""Shortest tick; every tick is a multiple of it, aligned to the epoch."""
SIGHT_MS = 60_000
"""Two sights of a unit are compared within a minute of start time, aligned to the epoch."""


class Arm(msgspec.Struct, omit_defaults=True, kw_only=True):
    """
    Sums of one variation over the starts of one tick, from one source.

    ``exposures`` and ``outcomes`` and ``errors`` count requests (weighted by
    ``sampledrate``). ``units`` holds the hashed ids (52 bits) of the distinct
    units that failed here, ``anonymous`` the failed requests that named no
    unit. ``latency`` counts outcomes by log bucket (see ``latency_bucket``).
    """

    exposures: int = 0
    outcomes: int = 0
    errors: int = 0
    anonymous: int = 0
    units: list[int] = []
    latency: dict[int, int] = {}

    def __add__(self, other: Arm) -> Arm:
        """Return the sums of both; ``units`` stays sorted and distinct."""
        return Arm(
            exposures=self.exposures + other.exposures,
            outcomes=self.outcomes + other.outcomes,
            errors=self.errors + other.errors,
            anonymous=self.anonymous + other.anonymous,
            units=sorted({*self.units, *other.units}),
            latency=add_counts(self.latency, other.latency),
        )


class Tick(msgspec.Struct, omit_defaults=True, kw_only=True):
    """All arms of one flag over the starts in ``[start_ms, start_ms + length_ms)``, from one source."""

    start_ms: int
    length_ms: int = TICK_MS
    arms: dict[str, Arm] = {}

    @property
    def end_ms(self) -> int:
        """First millisecond after the tick."""
        return self.start_ms + self.length_ms


class MixedUnit(msgspec.Struct, kw_only=True):
    """
    A unit that one source saw under two variations of one flag within the minute from ``from_ms``.

    Which services showed it which, too. Whether shares changed in that
    minute, so that it is no wonder, only judge knows.
    """

    unit: int
    from_ms: int
    variations: list[str]
    services: list[str]


class Sight(msgspec.Struct, array_like=True):
    """A sampled unit, and the variation and service of its first sight in the minute from ``from_ms``."""

    unit: int
    from_ms: int
    variation: str
    service: str


class FlagSums(msgspec.Struct, omit_defaults=True, kw_only=True):
    """
    What one flush of one source saw of one flag.

    ``delays`` counts, per variation, how late outcomes came: arrival minus
    start in milliseconds, by log bucket. ``mixed`` names units seen under two
    variations. ``cohort`` holds sights of a sample of exposed units, so that
    ``judge`` can find units that two *sources* saw differently.
    """

    key: str
    ticks: list[Tick] = []
    delays: dict[str, dict[int, int]] = {}
    mixed: list[MixedUnit] = []
    cohort: list[Sight] = []


def add_counts(first: dict[int, int], second: dict[int, int]) -> dict[int, int]:
    """Return the bucket-wise sum of two sparse histograms."""
    if not second:
        return first
    total = dict(first)
    for bucket, count in second.items():
        total[bucket] = total.get(bucket, 0) + count
    return total


def add_ticks(first: Tick, second: Tick) -> Tick:
    """Return the sums of the same tick from two sources; both must cover the same starts."""
    if (first.start_ms, first.length_ms) != (second.start_ms, second.length_ms):
        raise ValueError(
            f"ticks differ: [{first.start_ms}, +{first.length_ms}) and [{second.start_ms}, +{second.length_ms})"
        )
    arms = dict(first.arms)
    for variation, arm in second.arms.items():
        mine = arms.get(variation)
        arms[variation] = arm if mine is None else mine + arm
    return Tick(start_ms=first.start_ms, length_ms=first.length_ms, arms=arms)
