"""
What ``observe`` sums of a flag beside its requests and failures, because a guardrail asks for it.

A plan follows from the policy alone, and travels with the rollout as it is shown on ``guardian.rollouts.v1``. Where
there is none, or nothing in it, only requests and failures are summed.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

GRID = 180
"""Steps from the lowest to the highest score: scales of 2, 3, 5, 7, 10, 11 and 13 levels fall on them exactly."""
SEGMENTS_MAX = 20
"""Values of one attribute that are segments; those that come after them are summed with all others only."""

RATING, NPS, THUMB = "feedback:rating", "feedback:nps", "feedback:thumb"
MEASURE = "measure:"
NAMELESS = "?"
"""Ends the name of scores that came without a unit."""

Range = tuple[float, float]


class Cut(msgspec.Struct, frozen=True):
    """
    A part of the outcomes that a narrowed signal is about: those where each field has its value.

    ``where`` holds pairs of a field and a value, sorted; ``operation``, ``service_name`` and ``error_type`` are the
    outcome's own fields, any other name is one of its attributes. ``name`` is the segment that they are summed in.
    """

    name: str
    where: tuple[tuple[str, str], ...]


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    What is to be summed of one flag.

    ``latency``: the histogram of latencies. ``over_us``: how many outcomes took longer than so many microseconds,
    each exactly. ``scores``: the distribution of these scores, each with the lowest and the highest value that it can
    have (``feedback:rating``, ``feedback:nps``, ``feedback:thumb``, ``measure:NAME``; feedback brings its own scale).
    ``reports``: who reported a problem. ``fresh``: units met for the first time. ``segments``: attributes of outcomes
    by whose values the sums of outcomes are made once more, each value on its own. ``cuts``: other parts of them.
    ``company``: how outcomes ended by the variations of other flags under which they ran, of those whose plan has it, too.
    """

    latency: bool = False
    over_us: tuple[int, ...] = ()
    scores: dict[str, Range] = {}
    reports: bool = False
    fresh: bool = False
    segments: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()
    company: bool = False

    @property
    def of_outcomes(self) -> bool:
        """Whether attributes, operations or measures of outcomes have to be read for it."""
        return bool(self.segments or self.cuts or any(name.startswith(MEASURE) for name in self.scores))


NO_PLAN = Plan()

Position = Annotated[int, msgspec.Meta(ge=0, le=2 * GRID)]


def position(score: float, low: float, high: float) -> int:
    """
    Return where a score lies in its range: ``2k`` exactly on step k of ``GRID``, ``2k + 1`` between k and k + 1.

    Scores outside of the range count as its nearer end.
    """
    part = (min(max(score, low), high) - low) / (high - low) * GRID
    step = round(part)
    if abs(part - step) < 1e-6:
        return 2 * step
    return 2 * int(part) + 1


def segment_of(attribute: str, value: str) -> str:
    """Return the name of the segment in which an attribute has a value."""
    return f"{attribute}={value}"
