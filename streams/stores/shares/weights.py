"""Shares as the whole numbers that stores keep."""

from __future__ import annotations

from collections.abc import Mapping


def whole(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """
    Weights that add up to *total*, as near to the *shares* as can be; none above zero where the share is zero.

    What rounding leaves goes to the largest.
    """
    weights = {name: round(share * total) for name, share in shares.items()}
    largest = max(shares, key=shares.__getitem__)
    weights[largest] += total - sum(weights.values())
    return weights


def moved(shares: Mapping[str, float], stopped: Mapping[str, str]) -> dict[str, float]:
    """The shares with nothing left to what is *stopped*: each gives its own to the one that is named for it."""
    taken = dict(shares)
    for name, by in stopped.items():
        share = taken.get(name, 0.0)
        if share > 0.0:
            taken[name], taken[by] = 0.0, taken.get(by, 0.0) + share
    return taken
