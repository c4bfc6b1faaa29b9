"""
Flags that answer control in place of something else, so that every generation of official providers obeys, whatever its hash.

* In each ``fractional`` the weight moves to control in place;
* literal answers become control; an answer that is computed (``var``, ``cat``, ``or``...) is guarded:
  ``{"if": [{"in": [rule, ["treatment"]]}, "control", rule]}``. Data compared in conditions stays as written;
* a flag that is off serves control as its plain default. It is never ``DISABLED``: clients would then use the
  default written in their code, which may well be the broken path.
"""

from __future__ import annotations

import re

from guardian.flagdoc.rules import IF, TRUTHS, arguments, read_split, variation_of, with_splits
from guardian.flagdoc.shapes import Flag, Json
from guardian.flagdoc.slices import moved, total_weight, weight_of


def switched_off(flag: Flag, control: str) -> Flag:
    """The flag, answering control to everybody. Its state stays as people set it."""
    return {**{name: value for name, value in flag.items() if name != "targeting"}, "defaultVariant": control}


def without(flag: Flag, killed: str, control: str) -> Flag:
    """The flag, answering control in place of *killed*. A flag that cannot answer it comes back equal."""

    def in_split(args: list[Json]) -> Json:
        head, entries = read_split(args)
        renamed: list[Json] = []
        for entry in entries:  # a computed weight stays as it was written: its slice becomes control's
            computed = variation_of(entry[0]) == killed and weight_of(entry) is None
            renamed += [[control, *entry[1:]], [killed, 0]] if computed else [entry]
        return {"fractional": [*head, *moved(renamed, killed, control, total_weight(renamed, killed))]}

    out = dict(flag)
    if flag.get("targeting"):
        out["targeting"] = _redirected(with_splits(flag["targeting"], in_split), killed, control)
    if flag.get("defaultVariant") == killed:
        out["defaultVariant"] = control
    return out


def _redirected(rule: Json, killed: str, control: str, safe: tuple[Json, ...] = ()) -> Json:
    """The rule with control wherever *killed* would be the answer; *safe* rules are guarded further out."""
    if not isinstance(rule, dict):
        return control if variation_of(rule) == killed else rule
    if len(rule) != 1 or rule in safe or (next(iter(rule)) in TRUTHS and killed not in ("true", "false")):
        return rule
    if (args := arguments(rule, *IF)) is not None:
        answers = list(args)
        for at, part in enumerate(args):
            if at % 2 or at == len(args) - 1:
                answers[at] = _redirected(part, killed, control, safe)
            elif (tested := arguments(part, "in")) and tested[1:] == [_spellings(killed)]:
                safe = (*safe, tested[0])
        return {next(iter(rule)): answers} if answers != args else rule
    if (args := arguments(rule, "fractional")) is not None:
        head, entries = read_split(args)
        nested = [  # what is written plainly has been moved to control already
            [_redirected(entry[0], killed, control, safe), *entry[1:]] if isinstance(entry[0], dict) else entry
            for entry in entries
        ]
        return {"fractional": [*head, *nested]} if entries else rule
    return {"if": [{"in": [rule, _spellings(killed)]}, control, rule]}


def _spellings(variation: str) -> list[Json]:
    """The literals that clients take for this variation: ``true`` is understood as ``"true"``."""
    if variation in ("true", "false"):
        return [variation, variation == "true"]
    return [variation, int(variation)] if re.fullmatch(r"0|-?[1-9]\d{0,14}", variation) else [variation]
