"""Where several stores keep one flag: whether all of them serve the same, and what is said where they do not. Values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guardian.flagdoc import SAME_SHARE
from guardian.numerals import percent


@dataclass(frozen=True, slots=True)
class Served:
    """What one store serves: whether it *is_on*, the share of each variation, and the *finest* share that it can hold."""

    is_on: bool
    shares: Mapping[str, float]
    finest: float


def difference(stores: Mapping[str, Served | None]) -> str:
    """
    In what *stores*, by name, differ about one flag; ``None`` is one that does not have it. Empty where they do not.

    Shares that a store could not tell apart are the same; whether anybody is served at all never is.
    """
    there = {name: served for name, served in stores.items() if served is not None}
    said = [f"{name} does not have it" for name in stores if name not in there] if there else []
    on = {name: served for name, served in there.items() if served.is_on}
    if 0 < len(on) < len(there):
        said.append(f"it is on in {', '.join(on)}, off in {', '.join(name for name in there if name not in on)}")
    return "; ".join([*said, *(_said(on, variation) for variation in _differing(on))])


def _differing(on: Mapping[str, Served]) -> list[str]:
    """The variations that have different shares, but the one that has what the others leave."""
    names = dict.fromkeys(name for served in on.values() for name in served.shares)
    found = [name for name in names if _differs([(served.shares.get(name, 0.0), served.finest) for served in on.values()])]
    if len(found) > 1:
        found.remove(max(found, key=lambda name: sum(served.shares.get(name, 0.0) for served in on.values())))
    return found


def _differs(shares: list[tuple[float, float]]) -> bool:
    given = [share for share, _ in shares]
    is_served = {share > SAME_SHARE for share in given}
    return len(is_served) > 1 or max(given) - min(given) > max(finest for _, finest in shares) + SAME_SHARE


def _said(on: Mapping[str, Served], variation: str) -> str:
    (first, served), *others = on.items()
    parts = [f"{first} serves {variation} to {percent(served.shares.get(variation, 0.0), exact=True)}"]
    parts += [f"{name} to {percent(other.shares.get(variation, 0.0), exact=True)}" for name, other in others]
    return ", ".join(parts)
