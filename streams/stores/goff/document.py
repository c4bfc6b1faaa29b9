"""
A configuration file of GO Feature Flag: a flag read as shares, and changed where it stands.

Only the places that a change needs are written anew; all else, comments and order too, stays as people wrote it. YAML and
JSON are read alike, as JSON is YAML. Values in, values out.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from guardian.ports import StoreError, UnknownFlag
from streams.stores.goff.edits import Edits, Place, entries
from streams.stores.shares.flag import Malformed, Shares

GUARDIAN = "guardian"
"""What the guardian's record is called in the metadata of a flag."""
DEEPEST = 100
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOVES_BY_ITSELF = ("scheduledRollout", "experimentation")


@dataclass(frozen=True, slots=True)
class FlagText:
    """One flag of a configuration: every share, the *rings* (rules that have a name), the record, and what it is hashed to."""

    shares: Shares
    rings: dict[str, Shares]
    enabled: bool
    kept: str | None
    etag: str


def read_flag(text: str, flag_key: str) -> FlagText:
    """
    The flag as it is served.

    Raises:
        Malformed: the text is no configuration.
        UnknownFlag: it has no such flag.
        StoreError: the flag has what the guardian cannot keep in order; the text names it, and what would help.
    """
    flag = _flag(text, flag_key)
    names = _variations(flag, flag_key)
    return FlagText(
        shares=_split(_required(flag, "defaultRule", flag_key), names, f"{flag_key}.defaultRule"),
        rings={
            name: {} if _is_disabled(rule) else _split(rule, names, f"{flag_key}.targeting[{index}]")
            for index, name, rule in _rules(flag, flag_key)
        },
        enabled=not _is_disabled(flag),
        kept=_text_at(flag, "metadata", GUARDIAN),
        etag=hashlib.sha256(json.dumps(_plain(flag)).encode()).hexdigest()[:16],
    )


def changed(text: str, flag_key: str, shares: Shares, rings: Mapping[str, Shares], kept: str) -> str:
    """
    The configuration with other shares and another record of a flag; nothing else in it becomes another thing.

    Raises:
        StoreError: it cannot be changed without changing more; or as `read_flag`.
    """
    flag, edits = _flag(text, flag_key), Edits(text)
    _write_split(edits, _required(flag, "defaultRule", flag_key), shares)
    for _, name, rule in _rules(flag, flag_key):
        wanted = rings.get(name, {})
        if wanted:
            _write_split(edits, rule, wanted)
        if _is_disabled(rule) == bool(wanted):
            edits.put(rule, "disable", not wanted)
    metadata = entries(flag).get("metadata")
    if isinstance(metadata, yaml.MappingNode):
        edits.put(metadata, GUARDIAN, kept)
    else:
        edits.put(flag, "metadata", {GUARDIAN: kept})
    _check_alone(text, flag_key, flag)
    return edits.made()


def _check_alone(text: str, flag_key: str, flag: yaml.MappingNode) -> None:
    """An alias is the very node that its anchor stands at: what is changed in one place would change in all of them."""
    own = Counter(map(id, _nodes(flag)))
    others = (node for key, value in _root(text).value if value is not flag or key.value != flag_key for node in _nodes(value))
    if max(own.values()) > 1 or any(id(node) in own for node in others):
        raise StoreError(
            f"{flag_key}: it shares a part with another flag or rule (a YAML anchor), so that a change of one would change both; "
            "write the rules and the metadata of the flag out"
        )


# ---------------------------------------------------------------------------- reading


@functools.lru_cache(maxsize=2)
def _root(text: str) -> yaml.MappingNode:
    """What a text says; that of before a change and of after it are asked for several times, and take a while."""
    try:
        _check_depth(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise Malformed(f"it is no YAML or JSON: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(root, yaml.MappingNode):
        raise Malformed("it is no object of flags by their keys")
    return root


def _check_depth(text: str) -> None:
    """Composing goes as deep as the text does, and the stack of a process does not."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise Malformed(f"it is nested more than {DEEPEST} deep")


def _flag(text: str, flag_key: str) -> yaml.MappingNode:
    found = [value for key, value in _root(text).value if key.value == flag_key]
    if not found:
        raise UnknownFlag(f"flag {flag_key!r} is not in the file")
    if len(found) > 1:
        raise Malformed(f"flag {flag_key!r} is there twice")
    if not isinstance(found[0], yaml.MappingNode):
        raise Malformed(f"{flag_key}: it is no object")
    for name in _MOVES_BY_ITSELF:
        if name in entries(found[0]):
            raise StoreError(f"{flag_key}.{name}: it changes shares by itself; take it out, and leave the shares to the guardian")
    return found[0]


def _required(flag: yaml.MappingNode, name: str, flag_key: str) -> yaml.MappingNode:
    found = entries(flag).get(name)
    if not isinstance(found, yaml.MappingNode):
        raise Malformed(f"{flag_key}.{name}: is missing, or is no object")
    return found


def _variations(flag: yaml.MappingNode, flag_key: str) -> list[str]:
    return list(entries(_required(flag, "variations", flag_key)))


def _rules(flag: yaml.MappingNode, flag_key: str) -> Iterator[tuple[int, str, yaml.MappingNode]]:
    """The rules with their names, in their order; each is a ring, and one that is disabled serves nobody apart."""
    targeting = entries(flag).get("targeting")
    for index, rule in enumerate(targeting.value if isinstance(targeting, yaml.SequenceNode) else []):
        place = f"{flag_key}.targeting[{index}]"
        if not isinstance(rule, yaml.MappingNode):
            raise Malformed(f"{place}: is no object")
        name = _text_at(rule, "name")
        if not name:
            raise StoreError(f"{place}: has no name; give it one: the guardian takes each rule for a ring, and a kill reaches it")
        yield index, name, rule


def _split(rule: yaml.MappingNode, names: list[str], place: str) -> Shares:
    """The share of each variation; percentages are weights, and stand before a ``variation``, as in GO Feature Flag."""
    given = entries(rule)
    if "progressiveRollout" in given:
        raise StoreError(f"{place}.progressiveRollout: it changes shares by itself; write percentage instead")
    weights = {name: _number(node, f"{place}.percentage.{name}") for name, node in _weights(rule).items()}
    if not weights:
        weights = {_text_at(rule, "variation") or "": 1.0}
    if unknown := [name for name in weights if name not in names]:
        raise Malformed(f"{place}: {unknown[0]!r} is no variation of the flag; there are: {', '.join(names)}")
    total = sum(weights.values())
    if total <= 0.0:
        raise Malformed(f"{place}.percentage: they add up to 0")
    return {name: round(weights.get(name, 0.0) / total, 9) for name in names}


def _weights(rule: yaml.MappingNode) -> dict[str, yaml.Node]:
    found = entries(rule).get("percentage")
    return entries(found) if isinstance(found, yaml.MappingNode) else {}


def _number(node: yaml.Node, place: str) -> float:
    try:
        number = float(node.value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number < math.inf:
        raise Malformed(f"{place}: {str(node.value)[:80]!r} is no number from 0")
    return number


def _is_disabled(node: yaml.MappingNode) -> bool:
    return (_text_at(node, "disable") or "").lower() == "true"


def _text_at(node: yaml.MappingNode, *path: str) -> str | None:
    found: yaml.Node | None = node
    for name in path:
        found = entries(found).get(name) if isinstance(found, yaml.MappingNode) else None
    return found.value if isinstance(found, yaml.ScalarNode) else None


def _nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    """A node and all in it, each as often as it is referred to."""
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (*_nodes(key), *_nodes(value))
    elif isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from _nodes(one)


def _plain(node: yaml.Node) -> Any:
    """What a node says, as values that can be compared; each text with the kind of thing that it is."""
    if isinstance(node, yaml.MappingNode):
        return {key.value if isinstance(key, yaml.ScalarNode) else str(key): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(one) for one in node.value]
    return [node.tag, node.value]


# ---------------------------------------------------------------------------- writing


def _write_split(edits: Edits, rule: yaml.MappingNode, shares: Shares) -> None:
    """
    Give a rule these shares.

    The sum of its percentages stays: the bucket of a user is a remainder by it, and another sum would deal all anew.
    """
    weights = _weights(rule)
    total = sum(_number(node, "percentage") for node in weights.values()) or 100.0
    wanted = {name: _short(share * total) for name, share in shares.items() if share or name in weights}
    if set(wanted) == set(weights):
        for name, node in weights.items():
            if _number(node, name) != wanted[name]:
                edits.replace(Place.of(node), wanted[name])
    else:
        edits.put(rule, "percentage", wanted)


def _short(number: float) -> float | int:
    rounded = round(number, 9)
    return int(rounded) if rounded == int(rounded) else rounded
