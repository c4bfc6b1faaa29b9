"""
A variant flag of Flipt v2 as shares, and such a flag with other shares. Values in, values out.

Rules are looked at from the first to the last; who is in the segment of one gets what that rule deals out. The rule of the
segment that holds everybody is everybody's, those before it are rings; without it everybody gets the default variant.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from guardian.ports import StoreError
from streams.stores.shares.flag import Malformed, Shares

GUARDIAN = "guardian"
"""What the guardian's record is called in the metadata of a flag."""
_AND = "AND_SEGMENT_OPERATOR"


class Distribution(msgspec.Struct, frozen=True):
    """What part of a rule's users a variant gets; together they are taken for 100."""

    variant: str
    rollout: float


class Rule(msgspec.Struct, frozen=True):
    """Who is dealt out to what."""

    segments: tuple[str, ...] = ()
    operator: str = msgspec.field(name="segmentOperator", default="OR_SEGMENT_OPERATOR")
    distributions: tuple[Distribution, ...] = ()

    @property
    def name(self) -> str:
        """The ring that it is for: its segment, or all of them with ``&`` or ``|`` between."""
        return ("&" if self.operator == _AND else "|").join(self.segments)


class Variant(msgspec.Struct, frozen=True):
    """One that the flag has."""

    key: str


class Flag(msgspec.Struct, frozen=True):
    """What the guardian reads of a flag."""

    key: str
    type: str = "VARIANT_FLAG_TYPE"
    enabled: bool = False
    variants: tuple[Variant, ...] = ()
    rules: tuple[Rule, ...] = ()
    default: str | None = msgspec.field(name="defaultVariant", default=None)
    metadata: dict[str, Any] | None = None


class Segment(msgspec.Struct, frozen=True):
    """A named group."""

    key: str
    constraints: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A flag as Flipt has told it: the *payload* to send back changed, the *revision* of its environment, and its shares."""

    payload: dict[str, Any]
    revision: str
    enabled: bool
    shares: Shares
    rings: dict[str, Shares]
    kept: str | None

    @property
    def etag(self) -> str:
        """Another text after every change of the flag; the revision changes with every other flag as well."""
        of = msgspec.json.encode([self.enabled, self.shares, self.rings, self.kept])
        return hashlib.sha256(of).hexdigest()[:16]


def told(payload: dict[str, Any], revision: str, everybody: str, segments: Collection[Segment]) -> Told:
    """
    Read a flag.

    Raises:
        Malformed: it is none.
        StoreError: it has what the guardian cannot keep in order; the text names it, and what would help.
    """
    if not revision.strip("0"):
        # An update that names no revision is made whatever has changed since.
        raise Malformed("revision: it is missing; without it no change could be refused because somebody came first")
    flag = _checked(payload, everybody, segments)
    rings: dict[str, Shares] = {one.key: {} for one in segments if one.key != everybody}
    for rule in flag.rules:
        if rule.name != everybody:
            if rings.get(rule.name):
                raise StoreError(f"flag {flag.key!r} has two rules of segment {rule.name!r}; take the second one away")
            rings[rule.name] = _split(flag, rule)
    own = next((rule for rule in flag.rules if rule.name == everybody), Rule())
    kept = (flag.metadata or {}).get(GUARDIAN)
    return Told(payload, revision, flag.enabled, _split(flag, own), rings, kept if isinstance(kept, str) else None)


def _checked(payload: dict[str, Any], everybody: str, segments: Collection[Segment]) -> Flag:
    try:
        flag = msgspec.convert(payload, Flag)
    except msgspec.ValidationError as error:
        raise Malformed(f"resource.payload: {error}") from None
    if flag.type != "VARIANT_FLAG_TYPE":
        raise StoreError(f"flag {flag.key!r} is a {flag.type}; the guardian changes a VARIANT_FLAG_TYPE")
    if any(one.key == everybody and one.constraints for one in segments):
        raise StoreError(f"segment {everybody!r} has constraints, and so does not hold everybody; name another in `everybody`")
    if [rule.name for rule in flag.rules[:-1]].count(everybody):
        raise StoreError(f"flag {flag.key!r} has rules after that of {everybody!r}, which nobody ever gets to; make it the last")
    return flag


def _split(flag: Flag, rule: Rule) -> Shares:
    """The share of each variant; where a rule deals nothing out, everybody in it gets the default variant."""
    weights = {one.variant: one.rollout for one in rule.distributions if one.rollout > 0.0}
    names = [one.key for one in flag.variants]
    if not weights and flag.default not in names:
        raise StoreError(
            f"flag {flag.key!r} has nothing for everybody, who get what stands in the code: give it a default variant, or a rule"
        )
    weights = weights or {str(flag.default): 100.0}
    if unknown := [name for name in weights if name not in names]:
        raise Malformed(f"rules: {unknown[0]!r} is no variant of the flag; there are: {', '.join(names)}")
    total = sum(weights.values())
    return {name: round(weights.get(name, 0.0) / total, 9) for name in names}


def changed(before: Told, shares: Shares, rings: Mapping[str, Shares], kept: str, everybody: str) -> dict[str, Any]:
    """The whole flag as it is to be: all that is not the guardian's stays as it was."""
    payload = copy.deepcopy(before.payload)
    payload["metadata"] = {**(payload.get("metadata") or {}), GUARDIAN: kept}
    known = {msgspec.convert(rule, Rule).name: rule for rule in payload.get("rules") or ()}
    made = []
    for name in [*(name for name in known if name != everybody), *(name for name in rings if name not in known)]:
        wanted = rings.get(name) or {}
        if wanted or "&" in name or "|" in name:
            # A rule of several segments is never taken away: nothing would say afterwards that there was one.
            made.append(_dealt(known.get(name) or _rule_of(name), wanted or shares))
    if everybody in known or shares != before.shares:
        made.append(_dealt(known.get(everybody) or _rule_of(everybody), shares))
    return {**payload, "rules": made}


def _rule_of(segment: str) -> dict[str, Any]:
    return {"segments": [segment], "segmentOperator": "OR_SEGMENT_OPERATOR", "distributions": []}


def _dealt(rule: dict[str, Any], shares: Shares) -> dict[str, Any]:
    """A rule with these shares, in the order that it had: who is dealt what depends on it."""
    order = [one["variant"] for one in rule.get("distributions") or ()]
    names = [*order, *(name for name, share in shares.items() if share and name not in order)]
    dealt = [{"variant": name, "rollout": round(shares.get(name, 0.0) * 100, 7)} for name in dict.fromkeys(names)]
    return {**rule, "distributions": dealt}
