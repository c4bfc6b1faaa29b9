"""What a flag says: the shares in its splits, of rings and of everybody, and whether they are parts of all units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from guardian.flagdoc.rings import NO_RINGS
from guardian.flagdoc.rules import IF, arguments, operations, read_split, variation_of
from guardian.flagdoc.shapes import Flag, Json
from guardian.flagdoc.slices import total_weight, weight_of

_UNIT = "targetingKey"


def splits(rule: Json) -> Iterator[dict[str, float]]:
    """The shares in each ``fractional`` that has fixed weights, in the order they are written."""
    for operator, args in operations(rule):
        entries = read_split(args)[1] if operator == "fractional" else []
        names = [variation_of(entry[0]) for entry in entries]
        if entries and None not in names and all(weight_of(entry) is not None for entry in entries):
            whole = total_weight(entries) or 1
            yield {str(name): total_weight(entries, name) / whole for name in dict.fromkeys(names)}


def ring_splits(rule: Json, conditions: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, float]]]:
    """As ``splits``, each with the ring on whose condition it is given; that is empty where it is for everybody."""
    if isinstance(rule, list):
        for part in rule:
            yield from ring_splits(part, conditions)
    elif (args := arguments(rule, *IF)) is not None:
        for at, part in enumerate(args):
            condition = args[at - 1] if at % 2 else None
            ring = next((name for name, known in conditions.items() if at % 2 and known == condition), "")
            if ring and arguments(part, "fractional") is not None:
                yield from ((ring, split) for split in splits(part))
            else:
                yield from ring_splits(part, conditions)
    elif arguments(rule, "fractional") is not None:
        yield from (("", split) for split in splits(rule))
    elif isinstance(rule, dict):
        for part in rule.values():
            yield from ring_splits(part, conditions)


def weights(flag: Flag, conditions: Mapping[str, Json] = NO_RINGS) -> dict[str, float]:
    """
    The share of each variation for a unit that meets no condition, and is in none of the rings with *conditions*.

    Where the rules give that unit no split, the shares of the first split written. Empty where the answer is
    computed; all 0 where it is the default in the client's code.
    """
    rule = flag.get("targeting")
    while (args := arguments(rule, *IF)) is not None:
        rule = args[-1] if len(args) % 2 else None
    own = next(splits(rule), None) if arguments(rule, "fractional") is not None else None
    everybodys = (split for ring, split in ring_splits(flag.get("targeting"), conditions) if not ring)
    shares = own or next(everybodys, None)
    if shares is None and isinstance(rule, dict) and rule:
        return {}
    answer = variation_of(rule) if isinstance(rule, str | bool) else variation_of(flag.get("defaultVariant"))
    known = shares if shares is not None else {str(answer): 1.0}
    return {name: known.get(name, 0.0) for name in flag["variants"]}


def is_for_all(flag: Flag) -> bool:
    """
    Whether the ``weights`` are parts of all units: no rule gives some of them something else, and each unit is put by its id.

    Of a flag with shared rules that are written out (``inlined``).
    """
    rule = flag.get("targeting")
    if flag.get("state") == "DISABLED":
        return False  # clients serve the default of their code
    if not rule:
        return flag.get("defaultVariant") is not None
    args = arguments(rule, "fractional")
    if args is None or next(splits(rule), None) is None:
        return False
    bucketing = read_split(args)[0]
    by = {variation_of(name) for operator, name in operations(bucketing) if operator == "var"}
    return not bucketing or (_UNIT in by and by <= {_UNIT, "$flagd.flagKey"})
