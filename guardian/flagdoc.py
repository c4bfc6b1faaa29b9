"""
flagd documents as values: what people wrote (*base*), what the guardian decided (*overlays*), what is served.

``compose(base, overlays)`` is a pure function, so a person's edit and a kill never overwrite each other. A
kill is written so that every generation of official providers obeys it, whatever its hash:

* in each ``fractional`` the weight moves to control **in place**: no other boundary moves, so nobody else
  changes variation. Beside control 90/10 reads 100/0; away from control, a slice of control takes the place;
* literal answers become control; an answer that is computed (``var``, ``cat``, ``or``...) is guarded:
  ``{"if": [{"in": [rule, ["treatment"]]}, "control", rule]}``. Data compared in conditions stays as written;
* a ring (a group that a shared rule of ``$evaluators`` names) gets its shares where everybody gets theirs: a split
  becomes ``{"if": [{"!!": [rule of the ring]}, its split, the split]}``. People's own answers before it stay theirs;
* a flag that is off serves control as its plain default. It is never ``DISABLED``: clients would then use the
  default written in their code, which may well be the broken path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Required, TypedDict

from guardian.errors import shown

Json = Any
Flag = dict[str, Any]
Document = dict[str, Any]
Ring = tuple[Json, Mapping[str, float]]
"""A condition that is true of those in it, and their shares."""

MAX_TOTAL_WEIGHT = 2_147_483_647
FINEST_TOTAL = 1_000_000
"""Weights are scaled by tens until a share is whole, but not past this total; then it is rounded down."""

COMMAND = "guardian_command"
"""Metadata of a served flag: the last command in it, so that who reads it back knows it as its own."""
WRITTEN = "guardian_written"
"""Metadata of a served flag: the shares that people wrote, as JSON, beneath what the guardian decided."""
SAME_SHARE = 1e-5
"""Weights are whole numbers, so a share is met to within the finest total."""

NO_RINGS: Mapping[str, Json] = MappingProxyType({})
_BUCKET = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}
_UNIT = "targetingKey"
_IF = ("if", "?:")
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
_TRUTHS = frozenset((*_COMPARE, "all", "none", "some"))
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
_RULES = _TRUTHS | {*_IF, "fractional", *_NUMBERS, *_VALUES}
_FIELDS = ("state", "variants", "defaultVariant", "targeting", "metadata", "source", "selector")
_STAMP = re.compile(r"\+g(\d+)$")


class Overlay(TypedDict, total=False):
    """
    What the guardian decided about one flag: a record of the compacted flag-state topic.

    ``version`` rises with every change of the record. ``killed`` names the control that takes over from each
    killed variation; ``shares`` are in [0, 1] and the rest is ``control``'s (without it, the flag's default). ``rings``
    are shares, by ring, of those in it; who is in several counts in the first. ``recent_command_ids`` are the commands
    that led here, newest last. ``seen`` is what people had written as the share of a variation when its shares were
    decided: where they write another one, theirs is served. ``orders`` is described in ``guardian.orders``.
    """

    flag_key: Required[str]
    environment: Required[str]
    version: Required[int]
    killed: dict[str, str]
    shares: dict[str, float] | None
    rings: dict[str, dict[str, float]]
    off: bool
    control: str
    decision_id: str
    command_id: str
    changed_at_ms: int
    recent_command_ids: list[str]
    seen: dict[str, float]
    orders: Mapping[str, Mapping[str, int]]


# --- what is served


def compose(base: Document, overlays: Iterable[Overlay]) -> Document:
    """The document to serve. Flags without an overlay, and overlays without a flag, change nothing."""
    flags, evaluators = dict(base["flags"]), base.get("$evaluators")
    for overlay in overlays:
        key = overlay["flag_key"]
        if key in flags:
            flags[key] = overlaid(flags[key], overlay, evaluators)
    return {**base, "flags": flags}


def overlaid(flag: Flag, overlay: Overlay, evaluators: Mapping[str, Json] | None = None) -> Flag:
    """
    One flag with what was decided about it; its ``metadata.version`` ends in ``+g`` and that version.

    Shares, those of rings too, are laid over the one that people had written when they were decided, and over no other:
    who has changed it since gets what they wrote.
    """
    killed, out = overlay.get("killed") or {}, inlined(flag, evaluators)
    evaluators = evaluators or {}
    written = written_weights(out, conditions_of(evaluators, evaluators))
    conditions = conditions_of(overlay.get("rings") or {}, evaluators)
    shares, *of_rings = (
        {
            name: share
            for name, share in given.items()
            if name in flag["variants"] and name not in killed and not is_edited(written, overlay, name)
        }
        for given in (overlay.get("shares") or {}, *((overlay.get("rings") or {})[ring] for ring in conditions))
    )
    if overlay.get("off"):
        out = switched_off(out, _control(flag, overlay))
    elif shares or any(of_rings):
        rings = list(zip(conditions.values(), of_rings, strict=True))
        out = with_shares(_unringed(out, list(conditions.values())), shares, _control(flag, overlay), rings)
    for variation, control in killed.items():
        out = without(out, variation, control)
    metadata = dict(out.get("metadata") or {})
    metadata["version"] = f"{_STAMP.sub('', str(metadata.get('version', 0)))}+g{overlay['version']}"
    if overlay.get("command_id"):
        metadata[COMMAND] = overlay["command_id"]
    metadata[WRITTEN] = json.dumps(written)
    return {**out, "metadata": metadata}


def written_weights(flag: Flag, conditions: Mapping[str, Json] = NO_RINGS) -> dict[str, float]:
    """
    The share of each variation as people wrote it, of a served flag; empty where the answer is computed.

    As in ``weights``, splits on *conditions* are not everybody's.
    """
    told = (flag.get("metadata") or {}).get(WRITTEN) if overlay_version(flag) else None
    if not isinstance(told, str):
        return weights(flag, conditions)
    read: dict[str, float] = json.loads(told)
    return read


def is_edited(written: Mapping[str, float], overlay: Overlay, variation: str) -> bool:
    """Whether people have written another share of the variation since the guardian set one."""
    seen, now = (overlay.get("seen") or {}).get(variation), written.get(variation)
    return seen is not None and now is not None and abs(seen - now) > SAME_SHARE


def unstamped(document: Document) -> Document:
    """
    A valid base document without the guardian's stamps.

    Someone who saves what is served as the new base would else make the guardian believe in decisions that no
    record holds.
    """

    def clean(flag: Flag) -> Flag:
        metadata = {key: value for key, value in flag["metadata"].items() if key not in (COMMAND, WRITTEN)}
        if "version" in metadata:
            metadata["version"] = _STAMP.sub("", str(metadata["version"]))
        return {**flag, "metadata": metadata}

    flags = document["flags"].items()
    return {**document, "flags": {key: clean(flag) if overlay_version(flag) else flag for key, flag in flags}}


def misfits(flag: Flag, overlay: Overlay, evaluators: Mapping[str, Json] | None = None) -> list[str]:
    """Why an overlay cannot be laid over a flag: each control that is none of its variants, each ring that nobody defined."""
    controls = list((overlay.get("killed") or {}).values())
    if overlay.get("off") or overlay.get("shares"):
        controls.append(_control(flag, overlay))
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


def overlay_version(flag: Flag) -> int:
    """The version of the overlay that a served flag holds; 0 where there is none."""
    stamp = _STAMP.search(str((flag.get("metadata") or {}).get("version", "")))
    return int(stamp[1]) if stamp else 0


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


def switched_off(flag: Flag, control: str) -> Flag:
    """The flag, answering control to everybody. Its state stays as people set it."""
    return {**{name: value for name, value in flag.items() if name != "targeting"}, "defaultVariant": control}


def without(flag: Flag, killed: str, control: str) -> Flag:
    """The flag, answering control in place of *killed*. A flag that cannot answer it comes back equal."""

    def in_split(args: list[Json]) -> Json:
        head, entries = _split(args)
        renamed: list[Json] = []
        for entry in entries:  # a computed weight stays as it was written: its slice becomes control's
            computed = _name(entry[0]) == killed and _weight(entry) is None
            renamed += [[control, *entry[1:]], [killed, 0]] if computed else [entry]
        return {"fractional": [*head, *_moved(renamed, killed, control, _total(renamed, killed))]}

    out = dict(flag)
    if flag.get("targeting"):
        out["targeting"] = _redirected(_with_splits(flag["targeting"], in_split), killed, control)
    if flag.get("defaultVariant") == killed:
        out["defaultVariant"] = control
    return out


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

    return {**flag, "targeting": _with_splits(rule, in_split)}


def conditions_of(rings: Iterable[str], evaluators: Mapping[str, Json] | None) -> dict[str, Json]:
    """
    The condition that is true of those in it, of each of the rings that is defined; shared rules in it are written out.

    Negated twice, it says the same, and is known as the guardian's beside people's own use of that rule.
    """
    known = evaluators or {}
    return {ring: {"!!": [inlined({"targeting": known[ring]}, known)["targeting"]]} for ring in rings if known.get(ring)}


def _unringed(flag: Flag, conditions: list[Json]) -> Flag:
    """The flag without rules for rings: those of a served document that was saved as people's own would pile up."""

    def taken_out(rule: Json) -> Json:
        if isinstance(rule, list):
            return [taken_out(part) for part in rule]
        if not isinstance(rule, dict):
            return rule
        args = _args(rule, "if")
        if args is not None and len(args) > 2 and len(args) % 2 and _args(args[-1], "fractional") is not None:
            pairs = zip(args[:-1:2], args[1::2], strict=True)
            if all(condition in conditions and _args(split, "fractional") is not None for condition, split in pairs):
                return taken_out(args[-1])
        return {key: taken_out(part) for key, part in rule.items()}

    return {**flag, "targeting": taken_out(flag["targeting"])} if conditions and flag.get("targeting") else flag


# --- what a document says


def splits(rule: Json) -> Iterator[dict[str, float]]:
    """The shares in each ``fractional`` that has fixed weights, in the order they are written."""
    for operator, args in _operations(rule):
        entries = _split(args)[1] if operator == "fractional" else []
        names = [_name(entry[0]) for entry in entries]
        if entries and None not in names and all(_weight(entry) is not None for entry in entries):
            whole = _total(entries) or 1
            yield {str(name): _total(entries, name) / whole for name in dict.fromkeys(names)}


def ring_splits(rule: Json, conditions: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, float]]]:
    """As ``splits``, each with the ring on whose condition it is given; that is empty where it is for everybody."""
    if isinstance(rule, list):
        for part in rule:
            yield from ring_splits(part, conditions)
    elif (args := _args(rule, *_IF)) is not None:
        for at, part in enumerate(args):
            condition = args[at - 1] if at % 2 else None
            ring = next((name for name, known in conditions.items() if at % 2 and known == condition), "")
            if ring and _args(part, "fractional") is not None:
                yield from ((ring, split) for split in splits(part))
            else:
                yield from ring_splits(part, conditions)
    elif _args(rule, "fractional") is not None:
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
    while (args := _args(rule, *_IF)) is not None:
        rule = args[-1] if len(args) % 2 else None
    own = next(splits(rule), None) if _args(rule, "fractional") is not None else None
    everybodys = (split for ring, split in ring_splits(flag.get("targeting"), conditions) if not ring)
    shares = own or next(everybodys, None)
    if shares is None and isinstance(rule, dict) and rule:
        return {}
    answer = _name(rule) if isinstance(rule, str | bool) else _name(flag.get("defaultVariant"))
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
    args = _args(rule, "fractional")
    if args is None or next(splits(rule), None) is None:
        return False
    bucketing = _split(args)[0]
    by = {_name(name) for operator, name in _operations(bucketing) if operator == "var"}
    return not bucketing or (_UNIT in by and by <= {_UNIT, "$flagd.flagKey"})


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
    for operator, args in _operations(rule):
        if operator == "$ref":
            yield f"$ref: {shown(args)} is not in $evaluators, or refers to itself"
        elif operator not in _RULES:
            near = get_close_matches(operator, _RULES, n=1)
            yield f"{shown(operator)} is not an operator" + (f"; did you mean {near[0]}?" if near else "")
        elif operator == "fractional":
            yield from _split_problems(args)
    for answer in _answers(rule) if rule else ():
        if isinstance(answer, list) or (isinstance(answer, dict) and len(answer) != 1):
            yield f"{shown(answer)} is not an answer; write one of {known}, null or a rule with one operator"
        elif not isinstance(answer, dict) and answer is not None and _name(answer) not in variants:
            yield f"{shown(answer)} is not one of the variants ({known})"


def _split_problems(args: Json) -> Iterator[str]:
    entries = _split(args)[1]
    if not entries:
        yield f'fractional: {shown(args)} is not a list of ["variant", weight] after one bucketing rule'
    for entry in entries:
        weight = entry[1] if len(entry) == 2 else 1
        if not isinstance(weight, dict) and _weight(entry) is None:
            yield f"fractional: weight {shown(weight)} of {shown(entry[0])} is not a whole number from 0"
    if _total(entries) > MAX_TOTAL_WEIGHT:
        yield f"fractional: the weights add up to {_total(entries)}; at most {MAX_TOTAL_WEIGHT} is understood"


# --- rules (JSONLogic): an object with one key is an operator and its arguments


def _args(rule: Json, *operators: str) -> list[Json] | None:
    """The arguments of a rule that is one of these operators, else ``None``."""
    if not isinstance(rule, dict) or len(rule) != 1 or next(iter(rule)) not in operators:
        return None
    args = next(iter(rule.values()))
    return args if isinstance(args, list) else [args]


def _operations(rule: Json) -> Iterator[tuple[str, Json]]:
    """Each operator of a rule with what it is applied to, outer before inner."""
    if isinstance(rule, dict) and len(rule) == 1:
        yield from rule.items()
    for part in rule.values() if isinstance(rule, dict) else rule if isinstance(rule, list) else ():
        yield from _operations(part)


def _answers(rule: Json) -> Iterator[Json]:
    """What a rule may answer: literals, and rules that compute one."""
    if (args := _args(rule, *_IF)) is not None:
        for part in (part for at, part in enumerate(args) if at % 2 or at == len(args) - 1):
            yield from _answers(part)
    elif (args := _args(rule, "fractional")) is not None:
        for entry in _split(args)[1]:
            yield from _answers(entry[0])
    else:
        yield rule


def _with_splits(rule: Json, change: Callable[[list[Json]], Json]) -> Json:
    """The rule with what *change* makes of their arguments in place of every ``fractional`` in it, inner first."""
    if isinstance(rule, list):
        return [_with_splits(part, change) for part in rule]
    if not isinstance(rule, dict):
        return rule
    out = {key: _with_splits(part, change) for key, part in rule.items()}
    args = _args(out, "fractional")
    return change(args) if args is not None and _split(args)[1] else out


def _redirected(rule: Json, killed: str, control: str, safe: tuple[Json, ...] = ()) -> Json:
    """The rule with control wherever *killed* would be the answer; *safe* rules are guarded further out."""
    if not isinstance(rule, dict):
        return control if _name(rule) == killed else rule
    if len(rule) != 1 or rule in safe or (next(iter(rule)) in _TRUTHS and killed not in ("true", "false")):
        return rule
    if (args := _args(rule, *_IF)) is not None:
        answers = list(args)
        for at, part in enumerate(args):
            if at % 2 or at == len(args) - 1:
                answers[at] = _redirected(part, killed, control, safe)
            elif (tested := _args(part, "in")) and tested[1:] == [_spellings(killed)]:
                safe = (*safe, tested[0])
        return {next(iter(rule)): answers} if answers != args else rule
    if (args := _args(rule, "fractional")) is not None:
        head, entries = _split(args)
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


def _name(literal: Json) -> str | None:
    """The variation that a literal answer means; ``None`` for null, lists and rules."""
    if isinstance(literal, bool):
        return "true" if literal else "false"
    return str(literal) if isinstance(literal, str | int | float) else None


# --- splits: slices of the line of all units, in order; an entry is [variation] or [variation, weight]


def _split(args: Json) -> tuple[list[Json], list[Json]]:
    """The bucketing rule (none or one) and the entries of a ``fractional``; no entries if it is malformed."""
    if not isinstance(args, list):
        return [], []
    head = args[:1] if args and not isinstance(args[0], list) else []
    entries = args[len(head) :]
    good = all(isinstance(entry, list) and 1 <= len(entry) <= 2 for entry in entries)
    return (head, entries) if good else (args, [])


def _weight(entry: list[Json]) -> int | None:
    """The weight of an entry, ``None`` where it is computed or wrong. One that is left out is 1."""
    weight = entry[1] if len(entry) == 2 else 1
    return weight if type(weight) is int and weight >= 0 else None


def _total(entries: list[Json], name: str | None = None) -> int:
    return sum(_weight(entry) or 0 for entry in entries if name is None or _name(entry[0]) == name)


def _resplit(args: list[Json], shares: Mapping[str, float], named: set[str], control: str) -> list[Json]:
    """
    The arguments of a split with these shares of the variations in it, and of those in no split at all.

    They stay as they are where weights or variations are computed.
    """
    head, entries = _split(args)
    here = {_name(entry[0]) for entry in entries}
    mine = {name: share for name, share in shares.items() if name in here or (name not in named and control in here)}
    if not mine or None in here or any(_weight(entry) is None for entry in entries):
        return args
    return [*head, *_shared(_scaled(entries, mine.values(), control), mine, control)]


def _scaled(entries: list[Json], shares: Iterable[float], control: str) -> list[Json]:
    """The same split, in a total where every share is whole if it can be. A split of nothing is control's."""
    if not _total(entries):
        entries = [*(entry for entry in entries if _name(entry[0]) != control), [control, 100]]
    total, factor = _total(entries), 1
    exact = [Fraction(str(share)) * total for share in shares]
    while any((share * factor).denominator > 1 for share in exact) and total * factor * 10 <= FINEST_TOTAL:
        factor *= 10
    return entries if factor == 1 else [[entry[0], (_weight(entry) or 0) * factor] for entry in entries]


def _shared(entries: list[Json], shares: Mapping[str, float], control: str) -> list[Json]:
    """The split with these shares; what shrinks goes first, so that control has it to give to what grows."""
    whole = _total(entries)
    more = {name: int(Fraction(str(share)) * whole) - _total(entries, name) for name, share in shares.items()}
    for name in sorted(more, key=lambda name: (more[name], name)):
        giver, taker = (name, control) if more[name] < 0 else (control, name)
        entries = _moved(entries, giver, taker, min(abs(more[name]), _total(entries, giver)))
    return entries


def _moved(entries: list[Json], giver: str, taker: str, amount: int) -> list[Json]:
    """*amount* of weight from giver to taker, where the two touch if they do; all other boundaries stay."""
    out = list(entries)
    while amount > 0:
        givers = [at for at, entry in enumerate(out) if _name(entry[0]) == giver and _weight(entry)]
        at = next((at for at in givers if _neighbour(out, at, taker) is not None), givers[0])
        weight = _weight(out[at]) or 0
        taken = min(amount, weight)
        out[at] = [out[at][0], weight - taken]
        beside = _neighbour(out, at, taker)
        if beside is None:
            out.insert(at, [taker, taken])
        else:
            out[beside] = [out[beside][0], (_weight(out[beside]) or 0) + taken]
        amount -= taken
    return out


def _neighbour(entries: list[Json], at: int, name: str) -> int | None:
    """The entry of *name* that touches the one at *at*: nothing but empty slices lie between."""
    for way in (range(at - 1, -1, -1), range(at + 1, len(entries))):
        for other in way:
            if _name(entries[other][0]) == name and _weight(entries[other]) is not None:
                return other
            if _weight(entries[other]) != 0:
                break
    return None


def _control(flag: Flag, overlay: Overlay) -> str:
    return overlay.get("control") or flag.get("defaultVariant") or ""
