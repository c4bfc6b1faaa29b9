"""What is wrong with a document or a flag, and why an overlay cannot be laid over it: each with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from guardian.errors import shown
from guardian.flagdoc.rules import RULES, answers, inlined, operations, read_split, variation_of
from guardian.flagdoc.shapes import Flag, Json, Overlay, control_of
from guardian.flagdoc.slices import total_weight, weight_of

MAX_TOTAL_WEIGHT = 2_147_483_647
_FIELDS = ("state", "variants", "defaultVariant", "targeting", "metadata", "source", "selector")


def validate(document: Json) -> list[str]:
    """
    Everything that is wrong with a document, each with its place; empty if it may be pushed.

    Refused is what makes an official client lose its flags, drop an update unseen, or answer the default that
    is written in its code.
    """
    if not isinstance(document, dict):
        return [f'the document: {shown(document)} is not an object; write {{"flags": {{...}}}}']
    flags, evaluators = document.get("flags"), document.get("$evaluators", {})
    problems = _metadata_problems("metadata", document.get("metadata", {}))
    if not isinstance(evaluators, dict):
        problems.append(f"$evaluators: {shown(evaluators)} is not an object of named rules")
        evaluators = {}
    if not isinstance(flags, dict):
        problems.append(f"flags: {shown(flags)} is not an object of flags by key")
        flags = {}
    for key, flag in flags.items():
        problems += flag_problems(f"flags.{key}", flag, evaluators)
    try:
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        problems.append(f"the document: cannot be written as JSON: {error}")
    return problems


def flag_problems(place: str, flag: Json, evaluators: Mapping[str, Json]) -> list[str]:
    """Everything that is wrong with one flag; *place* begins each problem."""
    if not isinstance(flag, dict):
        return [f"{place}: {shown(flag)} is not an object"]
    problems = [] if place != "flags." else ["flags: a flag has an empty key"]
    problems += [
        f"{place}.{field}: is not a field of a flag, and for it Python clients refuse the whole document; "
        f"known are {', '.join(_FIELDS[:5])} (notes fit in metadata)"
        for field in flag
        if field not in _FIELDS
    ]
    if flag.get("state") not in ("ENABLED", "DISABLED"):
        problems.append(f"{place}.state: {shown(flag.get('state'))} is not ENABLED or DISABLED")
    problems += _metadata_problems(f"{place}.metadata", flag.get("metadata") or {})
    variants, targeting = flag.get("variants"), flag.get("targeting")
    if not isinstance(variants, dict) or not variants or "" in variants:
        return [
            *problems,
            f"{place}.variants: {shown(variants)} is not an object with a named variant or more",
        ]
    problems += _variant_problems(place, variants, flag.get("defaultVariant"))
    if targeting is not None and not isinstance(targeting, dict):
        return [*problems, f"{place}.targeting: {shown(targeting)} is not a rule (an object)"]
    rule = inlined(flag, evaluators).get("targeting") or {}
    return [*problems, *(f"{place}.targeting: {problem}" for problem in _rule_problems(rule, variants))]


def misfits(flag: Flag, overlay: Overlay, evaluators: Mapping[str, Json] | None = None) -> list[str]:
    """Why an overlay cannot be laid over a flag: each control that is none of its variants, each ring that nobody defined."""
    controls = list((overlay.get("killed") or {}).values())
    if overlay.get("off") or overlay.get("shares"):
        controls.append(control_of(flag, overlay))
    known = ", ".join(evaluators or {}) or "none"
    rings = [
        f"$evaluators: ring {ring!r} is missing, to which flag {overlay['flag_key']!r} gives a share; there are: {known}; "
        f'write "{ring}": {{a rule that is true of its users}}'
        for ring in overlay.get("rings") or {}
        if not (evaluators or {}).get(ring)
    ]
    return rings + [
        f"flags.{overlay['flag_key']}.variants: {control!r} is missing, which the guardian serves instead "
        f"of what it stopped; there are {', '.join(flag['variants'])}"
        for control in dict.fromkeys(controls)
        if control not in flag["variants"]
    ]


def _variant_problems(place: str, variants: dict[str, Json], default: Json) -> Iterator[str]:
    kinds = {"number" if type(value) in (int, float) else type(value).__name__ for value in variants.values()}
    if len(kinds) > 1 or None in variants.values():
        yield f"{place}.variants: {shown(variants)}: all values must be of one type, and none null"
    if default is not None and (not isinstance(default, str) or default not in variants):
        yield f"{place}.defaultVariant: {shown(default)} is not one of {', '.join(variants)}"


def _metadata_problems(place: str, metadata: Json) -> list[str]:
    if not isinstance(metadata, dict):
        return [f"{place}: {shown(metadata)} is not an object"]
    return [
        f"{place}.{name}: {shown(value)}: only texts, numbers and true or false, under a name, are understood"
        for name, value in metadata.items()
        if not name or not isinstance(value, str | int | float)
    ]


def _rule_problems(rule: Json, variants: Mapping[str, Json]) -> Iterator[str]:
    known = ", ".join(variants)
    for operator, args in operations(rule):
        if operator == "$ref":
            yield f"$ref: {shown(args)} is not in $evaluators, or refers to itself"
        elif operator not in RULES:
            near = get_close_matches(operator, RULES, n=1)
            yield f"{shown(operator)} is not an operator" + (f"; did you mean {near[0]}?" if near else "")
        elif operator == "fractional":
            yield from _split_problems(args)
    for answer in answers(rule) if rule else ():
        if isinstance(answer, list) or (isinstance(answer, dict) and len(answer) != 1):
            yield f"{shown(answer)} is not an answer; write one of {known}, null or a rule with one operator"
        elif not isinstance(answer, dict) and answer is not None and variation_of(answer) not in variants:
            yield f"{shown(answer)} is not one of the variants ({known})"


def _split_problems(args: Json) -> Iterator[str]:
    entries = read_split(args)[1]
    if not entries:
        yield f'fractional: {shown(args)} is not a list of ["variant", weight] after one bucketing rule'
    for entry in entries:
        weight = entry[1] if len(entry) == 2 else 1
        if not isinstance(weight, dict) and weight_of(entry) is None:
            yield f"fractional: weight {shown(weight)} of {shown(entry[0])} is not a whole number from 0"
    if total_weight(entries) > MAX_TOTAL_WEIGHT:
        yield f"fractional: the weights add up to {total_weight(entries)}; at most {MAX_TOTAL_WEIGHT} is understood"
