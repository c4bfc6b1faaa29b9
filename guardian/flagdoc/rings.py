"""
Rings: groups of users that shared rules of ``$evaluators`` name, each by a condition that is true of those in it.

A ring gets its shares where everybody gets theirs: a split becomes
``{"if": [{"!!": [rule of the ring]}, its split, the split]}``. People's own answers before it stay theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from guardian.flagdoc.rules import arguments, inlined
from guardian.flagdoc.shapes import Flag, Json

Ring = tuple[Json, Mapping[str, float]]
"""A condition that is true of those in it, and their shares."""
NO_RINGS: Mapping[str, Json] = MappingProxyType({})


def conditions_of(rings: Iterable[str], evaluators: Mapping[str, Json] | None) -> dict[str, Json]:
    """
    The condition that is true of those in it, of each of the rings that is defined; shared rules in it are written out.

    Negated twice, it says the same, and is known as the guardian's beside people's own use of that rule.
    """
    known = evaluators or {}
    return {
        ring: {"!!": [inlined({"targeting": known[ring]}, known)["targeting"]]} for ring in rings if known.get(ring)
    }


def unringed(flag: Flag, conditions: list[Json]) -> Flag:
    """The flag without rules for rings: those of a served document that was saved as people's own would pile up."""

    def taken_out(rule: Json) -> Json:
        if isinstance(rule, list):
            return [taken_out(part) for part in rule]
        if not isinstance(rule, dict):
            return rule
        args = arguments(rule, "if")
        if args is not None and len(args) > 2 and len(args) % 2 and arguments(args[-1], "fractional") is not None:
            pairs = zip(args[:-1:2], args[1::2], strict=True)
            if all(
                condition in conditions and arguments(split, "fractional") is not None for condition, split in pairs
            ):
                return taken_out(args[-1])
        return {key: taken_out(part) for key, part in rule.items()}

    return {**flag, "targeting": taken_out(flag["targeting"])} if conditions and flag.get("targeting") else flag
