"""What a flag store serves of a flag, as it tells judge: by variation, as people wrote it and with what was decided over it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Annotated

import msgspec

from guardian.names import Millis
from guardian.numerals import percent

Part = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Shares = dict[str, Part]
STORES_MAX = 16
"""Stores of one flag of which it is known what they serve; beyond, those told first are forgotten."""


class Serves(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """
    ``shares`` are those of everybody, ``rings`` of groups that are served apart, ``written`` what people wrote for everybody.

    All by variation, in [0, 1]; ``shares`` and ``written`` name every variation of the flag, and are empty where the answer is
    computed. ``apart`` says that it is not known what part of all traffic a variation gets: some are served something else.
    ``order`` is the number of the decision that was carried out last, 0 for none: of two variations the older may come later.
    """

    shares: Shares = {}
    written: Shares = {}
    rings: dict[str, Shares] = {}
    apart: bool = False
    order: int = 0

    @property
    def parts(self) -> Shares:
        """The part of all traffic that each variation gets; empty where that is not known."""
        return {} if self.apart else self.shares

    @property
    def is_divided(self) -> bool:
        """Whether people get more than one variation: where nobody watches that, it is a rollout all the same."""
        return len({name for given in (self.shares, *self.rings.values()) for name, share in given.items() if share > 0.0}) > 1

    @property
    def told(self) -> str:
        """It for people: ``control 90 %, treatment 10 %``, of each ring after its name."""
        rings = [f"{ring}: {_percents(own)}" for ring, own in self.rings.items()]
        return "; ".join([_percents(self.shares) or "not known", *rings])


NOT_KNOWN = Serves(apart=True)
"""Of a flag that is gone, or served in a way that is no shares."""


class Known(msgspec.Struct, array_like=True, gc=False):
    """What one store serves, when it said so (its clock), and how long its slowest clients take to follow (0: not told)."""

    at_ms: Millis
    serves: Serves
    propagation_ms: Millis = 0


def _percents(shares: Shares) -> str:
    return ", ".join(f"{name} {percent(share, exact=True)}" for name, share in shares.items())


def agreed(known: Mapping[str, Known]) -> Shares:
    """Return the parts of all traffic that every store gives alike; empty where one does not know them, or they differ."""
    first, *others = [one.serves.parts for one in known.values()] or [{}]
    return first if all(one == first for one in others) else {}


def served_now(known: Mapping[str, Known], order: int = 0, unanswered: Container[int] = ()) -> list[Shares]:
    """
    Return what an epoch that begins now is served (``Epoch.served``).

    Nothing where no store tells, or where one has not told yet what it serves since the decision of number *order*. One that
    tells of a later decision does, if that is still *unanswered*; else it was carried out before this one.
    """
    tells = (one.serves.order for one in known.values())
    is_told = not order or all(last == order or (last > order and last in unanswered) for last in tells)
    return [agreed(known)] if known and is_told else []


def part_of(shares: Mapping[str, float], variation: str, control: str) -> float | None:
    """Return the variation's part of what it and control get; None where that is not known, nothing or all."""
    given, base = shares.get(variation, 0.0), shares.get(control, 0.0)
    return given / (given + base) if given > 0.0 and base > 0.0 else None
