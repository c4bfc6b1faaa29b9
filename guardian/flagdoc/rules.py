"""
Rules as people write them (JSONLogic): an object with one key is an operator and its arguments.

A ``fractional`` is a rule as well: a bucketing rule, and entries ``[variation]`` or ``[variation, weight]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from guardian.flagdoc.shapes import Flag, Json

IF = ("if", "?:")
"""The operators that choose among answers: conditions and answers in turn, and one answer last for the rest."""
_COMPARE = (
    "==",
    "===",
    "!=",
    "!==",
    "<",
    "<=",
    ">",
    ">=",
    "!",
    "!!",
    "in",
    "starts_with",
    "ends_with",
    "sem_ver",
)
TRUTHS = frozenset((*_COMPARE, "all", "none", "some"))
"""The operators that answer true or false, whatever they compare."""
_NUMBERS = ("+", "-", "*", "/", "%", "min", "max")
_VALUES = (
    "var",
    "missing",
    "missing_some",
    "and",
    "or",
    "map",
    "reduce",
    "filter",
    "merge",
    "cat",
    "substr",
    "log",
)
RULES = TRUTHS | {*IF, "fractional", *_NUMBERS, *_VALUES}
"""Every operator that clients know."""


def arguments(rule: Json, *operators: str) -> list[Json] | None:
    """The arguments of a rule that is one of these operators, else ``None``."""
    if not isinstance(rule, dict) or len(rule) != 1 or next(iter(rule)) not in operators:
        return None
    args = next(iter(rule.values()))
    return args if isinstance(args, list) else [args]


def operations(rule: Json) -> Iterator[tuple[str, Json]]:
    """Each operator of a rule with what it is applied to, outer before inner."""
    if isinstance(rule, dict) and len(rule) == 1:
        yield from rule.items()
    for part in rule.values() if isinstance(rule, dict) else rule if isinstance(rule, list) else ():
        yield from operations(part)


def read_split(args: Json) -> tuple[list[Json], list[Json]]:
    """The bucketing rule (none or one) and the entries of a ``fractional``; no entries if it is malformed."""
    if not isinstance(args, list):
        return [], []
    head = args[:1] if args and not isinstance(args[0], list) else []
    entries = args[len(head) :]
    good = all(isinstance(entry, list) and 1 <= len(entry) <= 2 for entry in entries)
    return (head, entries) if good else (args, [])


def answers(rule: Json) -> Iterator[Json]:
    """What a rule may answer: literals, and rules that compute one."""
    if (args := arguments(rule, *IF)) is not None:
        for part in (part for at, part in enumerate(args) if at % 2 or at == len(args) - 1):
            yield from answers(part)
    elif (args := arguments(rule, "fractional")) is not None:
        for entry in read_split(args)[1]:
            yield from answers(entry[0])
    else:
        yield rule


def variation_of(literal: Json) -> str | None:
    """The variation that a literal answer means; ``None`` for null, lists and rules."""
    if isinstance(literal, bool):
        return "true" if literal else "false"
    return str(literal) if isinstance(literal, str | int | float) else None


def with_splits(rule: Json, change: Callable[[list[Json]], Json]) -> Json:
    """The rule with what *change* makes of their arguments in place of every ``fractional`` in it, inner first."""
    if isinstance(rule, list):
        return [with_splits(part, change) for part in rule]
    if not isinstance(rule, dict):
        return rule
    out = {key: with_splits(part, change) for key, part in rule.items()}
    args = arguments(out, "fractional")
    return change(args) if args is not None and read_split(args)[1] else out


def inlined(flag: Flag, evaluators: Mapping[str, Json] | None) -> Flag:
    """The flag with its shared rules (``$ref``) written out; a missing or circular one stays."""

    def write_out(rule: Json, inside: tuple[str, ...]) -> Json:
        if isinstance(rule, list):
            return [write_out(part, inside) for part in rule]
        if not isinstance(rule, dict):
            return rule
        name = rule.get("$ref") if len(rule) == 1 else None
        if isinstance(name, str) and name in (evaluators or {}) and name not in inside:
            return write_out((evaluators or {})[name], (*inside, name))
        return {key: write_out(part, inside) for key, part in rule.items()}

    return {**flag, "targeting": write_out(flag["targeting"], ())} if flag.get("targeting") else dict(flag)
