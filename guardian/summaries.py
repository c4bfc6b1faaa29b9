"""
Mergeable sufficient statistics: what ``observe`` sends and ``judge`` adds up.

Everything here adds: the sums of a tick over any split of the events into
workers, partitions and batches are the same sums. Ticks are of *start* time:
an outcome belongs to the tick in which its request began.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

Count = TypeVar("Count", int, float)
Met = tuple[int, int]
"""Outcomes, and how many of them are errors."""
Company = dict[str, dict[str, dict[str, Met]]]
"""By another flag of the same environment, by the own variation and by the other flag's: how outcomes ended."""
Seen = tuple[int, int]
"""Exposures, and outcomes."""
Served = dict[str, dict[str, dict[str, Seen]]]
"""By service, by variation (empty: all that nobody asked about) and by the flag's version where it is known: what it showed."""
SERVICES_MAX = 50
"""Services of a flag that are told apart after a kill; beyond, they are counted together, as ``OTHERS``."""
OTHERS = "(others)"

TICK_MS = 200
"""Shortest tick; every tick is a multiple of it, aligned to the epoch."""
SIGHT_MS = 60_000
"""Two sights of a unit are compared within a minute of start time, aligned to the epoch."""


class Arm(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """
    Sums of one variation over the starts of one tick, from one source.

    ``exposures`` and ``outcomes`` and ``errors`` count requests (weighted by
    ``sampledrate``). ``units`` holds the hashed ids (52 bits) of the distinct
    units that failed here, ``anonymous`` the failed requests that named no
    unit.

    The rest is there where the flag's plan wants it (``guardian.plan``):
    ``latency`` counts outcomes by log bucket (``sequential.bucket_key``),
    ``over`` those that took longer than so many microseconds, ``timed`` those
    that said how long they took. ``scores`` holds by name how often each
    position (``plan.position``) was given; a unit's several scores in a flush
    count as parts of one, and the name of those without a unit ends in ``?``.
    ``reporters`` are the hashed ids of units that reported a problem,
    ``reports`` the reports without a unit. ``fresh`` are hashed ids of units
    that the source met for the first time under this flag; of those whose
    last ``fresh_shift`` bits are 0.
    """

    exposures: int = 0
    outcomes: int = 0
    errors: int = 0
    anonymous: int = 0
    units: list[int] = []
    latency: dict[int, int] = {}
    over: dict[int, int] = {}
    timed: int = 0
    scores: dict[str, dict[int, float]] = {}
    reporters: list[int] = []
    reports: int = 0
    fresh: list[int] = []
    fresh_shift: int = 0

    def __add__(self, other: Arm) -> Arm:
        """Return the sums of both; lists of units stay sorted and distinct."""
        return Arm(
            exposures=self.exposures + other.exposures,
            outcomes=self.outcomes + other.outcomes,
            errors=self.errors + other.errors,
            anonymous=self.anonymous + other.anonymous,
            units=sorted({*self.units, *other.units}),
            latency=add_counts(self.latency, other.latency),
            over=add_counts(self.over, other.over),
            timed=self.timed + other.timed,
            scores=_add_scores(self.scores, other.scores),
            reporters=sorted({*self.reporters, *other.reporters}),
            reports=self.reports + other.reports,
            fresh=sorted({*self.fresh, *other.fresh}),
            fresh_shift=max(self.fresh_shift, other.fresh_shift),
        )


class Tick(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """
    All arms of one flag over the starts in ``[start_ms, start_ms + length_ms)``, from one source.

    ``segments`` holds by its name (``country=DE``) the arms of a part of the
    outcomes that the plan wants to know apart; ``arms`` holds them, too.
    ``company`` says under which variations of other flags they ran, of those
    flags whose plans want it; nothing of a flag that runs alone. ``served``
    says by which services, while a kill of the flag has to be proven.
    """

    start_ms: int
    length_ms: int = TICK_MS
    arms: dict[str, Arm] = {}
    segments: dict[str, dict[str, Arm]] = {}
    company: Company = {}
    served: Served = {}

    @property
    def end_ms(self) -> int:
        """First millisecond after the tick."""
        return self.start_ms + self.length_ms


class MixedUnit(msgspec.Struct, kw_only=True, gc=False):
    """
    A unit that one source saw under two variations of one flag within the minute from ``from_ms``.

    Which services showed it which, too. Whether shares changed in that
    minute, so that it is no wonder, only judge knows.
    """

    unit: int
    from_ms: int
    variations: list[str]
    services: list[str]


class Sight(msgspec.Struct, array_like=True, gc=False):
    """A sampled unit, and the variation and service of its first sight in the minute from ``from_ms``."""

    unit: int
    from_ms: int
    variation: str
    service: str


class FlagSums(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
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


def add_counts(first: dict[int, Count], second: dict[int, Count]) -> dict[int, Count]:
    """Return the bucket-wise sum of two sparse histograms."""
    if not second:
        return first
    total = dict(first)
    for bucket, count in second.items():
        total[bucket] = total[bucket] + count if bucket in total else count
    return total


def _add_scores(
    first: dict[str, dict[int, float]], second: dict[str, dict[int, float]]
) -> dict[str, dict[int, float]]:
    if not second:
        return first
    return {**first, **{name: add_counts(first.get(name, {}), counts) for name, counts in second.items()}}


def add_ticks(first: Tick, second: Tick) -> Tick:
    """Return the sums of the same tick from two sources; both must cover the same starts."""
    if (first.start_ms, first.length_ms) != (second.start_ms, second.length_ms):
        raise ValueError(
            f"ticks differ: [{first.start_ms}, +{first.length_ms}) and [{second.start_ms}, +{second.length_ms})"
        )
    segments = dict(first.segments)
    for name, arms in second.segments.items():
        segments[name] = _add_arms(segments.get(name, {}), arms)
    arms = _add_arms(first.arms, second.arms)
    company, served = add_company(first.company, second.company), add_served(first.served, second.served)
    return Tick(
        start_ms=first.start_ms, length_ms=first.length_ms, arms=arms, segments=segments, company=company, served=served
    )  # fmt: skip


def add_served(first: Served, second: Served) -> Served:
    """Return the sums of both."""
    if not first or not second:
        return first or second
    found = {name: {own: dict(versions) for own, versions in shown.items()} for name, shown in first.items()}
    for name, shown in second.items():
        for variation, versions in shown.items():
            held = found.setdefault(name, {}).setdefault(variation, {})
            for version, (exposures, outcomes) in versions.items():
                before = held.get(version, (0, 0))
                held[version] = before[0] + exposures, before[1] + outcomes
    return found


def add_company(first: Company, second: Company) -> Company:
    """Return the sums of both."""
    if not first or not second:
        return first or second
    found = {flag: {own: dict(met) for own, met in rows.items()} for flag, rows in first.items()}
    for flag, rows in second.items():
        for own, met in rows.items():
            held = found.setdefault(flag, {}).setdefault(own, {})
            for other, (outcomes, errors) in met.items():
                before = held.get(other, (0, 0))
                held[other] = before[0] + outcomes, before[1] + errors
    return found


def _add_arms(first: dict[str, Arm], second: dict[str, Arm]) -> dict[str, Arm]:
    arms = dict(first)
    for variation, arm in second.items():
        mine = arms.get(variation)
        arms[variation] = arm if mine is None else mine + arm
    return arms
