"""Flags that give variations the shares decided for them, for everybody and in rings, taken from control in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guardian.flagdoc.reading import splits
from guardian.flagdoc.rings import Ring
from guardian.flagdoc.rules import read_split, variation_of, with_splits
from guardian.flagdoc.shapes import Flag, Json
from guardian.flagdoc.slices import scaled, shared, weight_of

_BUCKET = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}


def with_shares(flag: Flag, shares: Mapping[str, float], control: str, rings: Sequence[Ring] = ()) -> Flag:
    """
    The flag with these shares, taken from control or given to it, in every split that names the variation.

    A variation that no split names joins the splits that name control; a flag without targeting gets a split.
    Splits with computed weights or variations stay as they are, and control gives no more than it has. While
    the base document stays, growing keeps whoever had the variation. For those of whom the condition of a ring is true
    its shares take the place of these, as if they were everybody's.
    """
    given = dict.fromkeys(name for held in (shares, *(own for _, own in rings)) for name in held)
    rule = flag.get("targeting") or {"fractional": [_BUCKET, [control, 100], *([name, 0] for name in given)]}
    named = {name for split in splits(rule) for name in split}

    def in_split(args: list[Json]) -> Json:
        everybodys = _resplit(args, shares, named, control)
        apart = [(condition, _resplit(args, {**shares, **own}, named, control)) for condition, own in rings]
        parts = [part for condition, own in apart if own != everybodys for part in (condition, {"fractional": own})]
        return {"if": [*parts, {"fractional": everybodys}]} if parts else {"fractional": everybodys}

    return {**flag, "targeting": with_splits(rule, in_split)}


def _resplit(args: list[Json], shares: Mapping[str, float], named: set[str], control: str) -> list[Json]:
    """
    The arguments of a split with these shares of the variations in it, and of those in no split at all.

    They stay as they are where weights or variations are computed.
    """
    head, entries = read_split(args)
    here = {variation_of(entry[0]) for entry in entries}
    mine = {name: share for name, share in shares.items() if name in here or (name not in named and control in here)}
    if not mine or None in here or any(weight_of(entry) is None for entry in entries):
        return args
    return [*head, *shared(scaled(entries, mine.values(), control), mine, control)]
