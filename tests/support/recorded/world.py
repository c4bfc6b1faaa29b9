"""What a made-up service is like, and what its treatment does to it. Seconds count from the start of the recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.traffic import T0_MS

__all__ = ["T0_MS", "Feedback", "Harm", "Incident", "Outage", "World"]

Weights = Mapping[str, float]
"""How often each of several names occurs, relative to one another."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Both arms fail ``times`` as often for a while."""

    from_s: float
    to_s: float
    times: float


@dataclass(frozen=True, slots=True)
class Outage:
    """Nothing that would have arrived in this time ever does, of any arm; or no outcomes, while exposures go on."""

    from_s: float
    to_s: float
    of_outcomes_alone: bool = False


@dataclass(frozen=True, slots=True)
class Feedback:
    """
    Chances, per request that ended, of each kind of feedback; and what people then say.

    ``levels`` are the chances of the ratings 1 to 5; ``promoters`` (10) and ``detractors`` (3) those of nps, all
    others give 8; ``down`` the chance that a thumb points down. It comes ``after_s`` later, on average.
    """

    ratings: float = 0.0
    nps: float = 0.0
    thumbs: float = 0.0
    reports: float = 0.0
    levels: tuple[float, ...] = (0.05, 0.05, 0.1, 0.3, 0.5)
    promoters: float = 0.5
    detractors: float = 0.2
    down: float = 0.1
    after_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Harm:
    """
    What the treatment does to its requests from ``from_s`` on; to those alone that have the attributes ``only``, among
    them ``operation``.

    ``errors``, ``reports``, ``thumbs_down`` and ``conversion`` multiply chances. ``slower`` multiplies the latency of
    a ``slower_part`` of the requests. ``csat_drop`` is the chance that a rating is one level lower, ``nps_drop`` the
    chance that a promoter becomes a detractor, ``quality_drop`` is taken off the quality. ``hang`` is the part of the
    requests that never end. ``silent``: no events of the treatment any more; ``mute``: no outcomes and no feedback.
    ``lost``: the part of its users of whom nothing is heard.
    """

    from_s: float = 0.0
    only: Mapping[str, str] = field(default_factory=dict)
    errors: float = 1.0
    slower: float = 1.0
    slower_part: float = 1.0
    csat_drop: float = 0.0
    nps_drop: float = 0.0
    thumbs_down: float = 1.0
    reports: float = 1.0
    quality_drop: float = 0.0
    conversion: float = 1.0
    hang: float = 0.0
    silent: bool = False
    mute: bool = False
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class World:
    """
    A service, its users and one flag with a control and a treatment.

    ``share``: steps ``(from_s, treatment's share)``, rising in time. ``activity_sigma``: users are active by a
    lognormal law; a part ``broken`` of them fails with chance ``broken_error`` whatever happens. Latencies are
    lognormal, those of failures around ``failed_latency_ms``. ``drift``: errors and latencies swing by this part of
    themselves, once in ``drift_s``. ``attributes`` belong to users, ``operations`` to requests. ``quality`` in [0, 1]
    (its mean) and ``conversion`` (a chance) are measures, left out where None. A part ``duplicates`` of all events
    comes twice; a part ``late`` of the outcomes arrives ``late_s`` after its end. ``names_units``: events say who.
    """

    seconds: float = 60.0
    rps: float = 50.0
    users: int = 50_000
    share: tuple[tuple[float, float], ...] = ((0.0, 0.5),)
    seed: int = 1
    activity_sigma: float = 1.0
    broken: float = 0.0
    broken_error: float = 0.6
    error: float = 0.01
    latency_ms: float = 80.0
    latency_sigma: float = 0.8
    failed_latency_ms: float = 20.0
    drift: float = 0.0
    drift_s: float = 60.0
    incidents: tuple[Incident, ...] = ()
    outages: tuple[Outage, ...] = ()
    exposures: bool = True
    duplicates: float = 0.0
    late: float = 0.0
    late_s: float = 20.0
    names_units: bool = True
    attributes: Mapping[str, Weights] = field(default_factory=dict)
    operations: Weights = field(default_factory=lambda: {"GET /search": 0.6, "POST /order": 0.4})
    quality: float | None = None
    conversion: float | None = None
    feedback: Feedback = field(default_factory=Feedback)
    harm: Harm | None = None
