"""
The entries of a split as slices of the line of all units, in order: what they weigh, and weight moved among them.

Weight moves **in place**: no other boundary moves, so nobody else changes variation. Beside control 90/10 reads 100/0;
away from control, a slice of control takes the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from guardian.flagdoc.rules import variation_of
from guardian.flagdoc.shapes import Json

FINEST_TOTAL = 1_000_000
"""Weights are scaled by tens until a share is whole, but not past this total; then it is rounded down."""


def weight_of(entry: list[Json]) -> int | None:
    """The weight of an entry, ``None`` where it is computed or wrong. One that is left out is 1."""
    weight = entry[1] if len(entry) == 2 else 1
    return weight if type(weight) is int and weight >= 0 else None


def total_weight(entries: list[Json], name: str | None = None) -> int:
    """What the entries weigh together, or those of one variation; a weight that is computed or wrong counts nothing."""
    return sum(weight_of(entry) or 0 for entry in entries if name is None or variation_of(entry[0]) == name)


def scaled(entries: list[Json], shares: Iterable[float], control: str) -> list[Json]:
    """The same split, in a total where every share is whole if it can be. A split of nothing is control's."""
    if not total_weight(entries):
        entries = [*(entry for entry in entries if variation_of(entry[0]) != control), [control, 100]]
    total, factor = total_weight(entries), 1
    exact = [Fraction(str(share)) * total for share in shares]
    while any((share * factor).denominator > 1 for share in exact) and total * factor * 10 <= FINEST_TOTAL:
        factor *= 10
    return entries if factor == 1 else [[entry[0], (weight_of(entry) or 0) * factor] for entry in entries]


def shared(entries: list[Json], shares: Mapping[str, float], control: str) -> list[Json]:
    """The split with these shares; what shrinks goes first, so that control has it to give to what grows."""
    whole = total_weight(entries)
    more = {name: int(Fraction(str(share)) * whole) - total_weight(entries, name) for name, share in shares.items()}
    for name in sorted(more, key=lambda name: (more[name], name)):
        giver, taker = (name, control) if more[name] < 0 else (control, name)
        entries = moved(entries, giver, taker, min(abs(more[name]), total_weight(entries, giver)))
    return entries


def moved(entries: list[Json], giver: str, taker: str, amount: int) -> list[Json]:
    """*amount* of weight from giver to taker, where the two touch if they do; all other boundaries stay."""
    out = list(entries)
    while amount > 0:
        givers = [at for at, entry in enumerate(out) if variation_of(entry[0]) == giver and weight_of(entry)]
        at = next((at for at in givers if _neighbour(out, at, taker) is not None), givers[0])
        weight = weight_of(out[at]) or 0
        taken = min(amount, weight)
        out[at] = [out[at][0], weight - taken]
        beside = _neighbour(out, at, taker)
        if beside is None:
            out.insert(at, [taker, taken])
        else:
            out[beside] = [out[beside][0], (weight_of(out[beside]) or 0) + taken]
        amount -= taken
    return out


def _neighbour(entries: list[Json], at: int, name: str) -> int | None:
    """The entry of *name* that touches the one at *at*: nothing but empty slices lie between."""
    for way in (range(at - 1, -1, -1), range(at + 1, len(entries))):
        for other in way:
            if variation_of(entries[other][0]) == name and weight_of(entries[other]) is not None:
                return other
            if weight_of(entries[other]) != 0:
                break
    return None
