"""What a stage gives each variation under test: its part of all traffic, and of each ring."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from guardian.policy import Policy

EVERYBODY = ""
"""The name, in a grant, of all who are in none of its rings."""
FINEST = 1_000_000
"""A part of a share is rounded down to one in so many: stores hold whole weights, and a sum is never exceeded."""

Grant = dict[str, float]
"""Shares in [0, 1] by ring, in the order of the stages; that of ``EVERYBODY`` comes first and is always there."""


def grant_of(policy: Policy, stage: int, parts: int) -> Grant:
    """
    Return what each of so many variations has in a stage (from 0); nothing before the first (-1).

    A ring keeps what it was given, and gets no less than everybody has. Of a ring, too, the hold-back stays with control.
    """
    given: Grant = {EVERYBODY: 0.0}
    for one in policy.stages[: stage + 1]:
        given[one.users or EVERYBODY] = one.share
    most = 1.0 - (policy.hold_back or 0.0)
    shares = {ring: min(share, most) for ring, share in given.items()}
    least = shares[EVERYBODY]
    return {ring: part(share, parts) for ring, share in shares.items() if ring == EVERYBODY or share > least}


def part(share: float, parts: int) -> float:
    """Return one of so many equal parts of a share, rounded down so that together they never exceed it."""
    return share if parts == 1 else math.floor(share / parts * FINEST + 1e-9) / FINEST


def is_tested(policy: Policy, variation: str) -> bool:
    """Say whether the policy watches the variation: those it names, or all but control where it names none."""
    return variation != policy.control and (not policy.variations or variation in policy.variations)


def parts_of(policy: Policy, seen: int) -> int:
    """
    Return among how many variations a stage's share is divided: those that the policy names, else those seen so far.

    One that was killed keeps its part, which control has meanwhile: a kill raises nobody's share.
    """
    return max(len(policy.variations) or seen, 1)


def is_room(mine: Grant, others: Iterable[Grant], most: Mapping[str, float]) -> bool:
    """Say whether a grant fits beside those of others: of nobody they may have more together than ``most`` says."""
    held = list(others)
    rings = {ring for one in (mine, *held) for ring in one}
    return all(
        math.fsum(one.get(ring, one[EVERYBODY]) for one in (mine, *held)) <= most.get(ring, most[EVERYBODY]) + 1e-9
        for ring in rings
    )


def widest(grants: Iterable[Grant]) -> Grant:
    """Return of each ring, and of everybody, the largest share that any of the grants gives."""
    most: Grant = {}
    for one in grants:
        for ring, share in one.items():
            most[ring] = max(share, most.get(ring, 0.0))
    return most
