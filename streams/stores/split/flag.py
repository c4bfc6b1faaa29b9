"""
What a flag of Split's serves in an environment, as shares, and the JSON patch that makes it serve others.

Sizes are whole percents. Who is outside of the exposure (*trafficAllocation*) gets the default treatment, and so does
everybody while the flag is killed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from guardian.ports import StoreError
from streams.stores.shares.flag import Change, Malformed, Shares
from streams.stores.shares.weights import moved, whole

_NEAR = 1e-6


class Bucket(msgspec.Struct, frozen=True):
    """The percentage of a treatment."""

    treatment: str
    size: int


class Treatment(msgspec.Struct, frozen=True):
    """One of the answers, and who gets it whatever rules say."""

    name: str
    keys: list[str] = []
    segments: list[str] = []


class Rule(msgspec.Struct, frozen=True):
    """What those who fulfil a condition get."""

    buckets: list[Bucket]
    condition: Any = None


class Definition(msgspec.Struct, frozen=True, rename="camel"):
    """A flag in an environment."""

    name: str
    treatments: list[Treatment]
    default_treatment: str
    default_rule: list[Bucket]
    killed: bool = False
    traffic_allocation: int = 100
    rules: list[Rule] = []
    last_update_time: int = 0

    @property
    def names(self) -> list[str]:
        """The treatments."""
        return [treatment.name for treatment in self.treatments]

    @property
    def shares(self) -> Shares:
        """What everybody gets whom nothing singles out, while the flag is not killed."""
        exposed = self.traffic_allocation / 100
        made = {name: size / 100 * exposed for name, size in self.sizes.items()}
        made[self.default_treatment] += 1.0 - exposed
        return {name: round(share, 9) for name, share in made.items()}

    @property
    def singled_out(self) -> frozenset[str]:
        """The treatments that lists, rules, or a flag that is killed serve."""
        listed = {treatment.name for treatment in self.treatments if treatment.keys or treatment.segments}
        ruled = {bucket.treatment for rule in self.rules for bucket in rule.buckets if bucket.size}
        return frozenset(listed | ruled | {self.default_treatment})

    @property
    def etag(self) -> str:
        """Another one after every change; not only of when traffic came last."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

    @property
    def sizes(self) -> dict[str, int]:
        """The default rule, in percent."""
        made = dict.fromkeys(self.names, 0)
        for bucket in self.default_rule:
            made[bucket.treatment] += bucket.size
        return made

    def sizes_for(self, shares: Mapping[str, float], stopped: Mapping[str, str]) -> dict[str, int]:
        """
        The sizes of the default rule under which these *shares* are served.

        Raises:
            StoreError: there are none, as too few are exposed; the text says what would help.
        """
        default = stopped.get(self.default_treatment, self.default_treatment)
        exposed = self.traffic_allocation / 100
        if not exposed and all(abs(shares[name] - (name == default)) <= _NEAR for name in shares):
            return {name: round(size) for name, size in moved(self.sizes, stopped).items()}
        outside = {name: (1.0 - exposed) * (name == default) for name in shares}
        made = {name: (shares[name] - outside[name]) / exposed if exposed else -1.0 for name in shares}
        if all(-_NEAR < share < 1.0 + _NEAR and abs(share * 100 - round(share * 100)) <= 1e-4 for share in made.values()):
            return whole({name: max(share, 0.0) for name, share in made.items()}, 100)
        raise StoreError(
            f"the exposure of flag {self.name!r} is limited to {self.traffic_allocation} %, and everybody else gets "
            f"{default!r}: with whole percents nobody can get {dict(shares)} of that. Set Limit exposure to 100 % in "
            "Harness FME: the guardian sets shares of all"
        )


def read_definition(body: bytes) -> Definition:
    """
    The flag that an answer holds.

    Raises:
        Malformed: it does not hold one.
    """
    try:
        made = msgspec.json.decode(body, type=Definition)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(str(error) or "it is nested too deeply") from None
    served = {bucket.treatment for buckets in (made.default_rule, *(rule.buckets for rule in made.rules)) for bucket in buckets}
    if unknown := sorted((served | {made.default_treatment}) - set(made.names)):
        raise Malformed(f"{unknown[0]!r} is no treatment of the flag; there are: {', '.join(made.names)}")
    if not 0 <= made.traffic_allocation <= 100:
        raise Malformed(f"trafficAllocation: {made.traffic_allocation} is not a percentage")
    return made


def json_patch(known: Definition, change: Change) -> list[dict[str, Any]]:
    """
    The operations that make a flag serve what a change asks for; none where it does.

    Raises:
        StoreError: it cannot; the text says what would help.
    """
    stopped = change.stopped
    sizes = known.sizes_for(change.shares, stopped)
    asked = []
    if _buckets(sizes) != _buckets(known.sizes):
        asked.append(_replace("/defaultRule", _buckets(sizes)))
    if (by := stopped.get(known.default_treatment)) is not None:
        asked.append(_replace("/defaultTreatment", by))
    for place, rule in enumerate(known.rules):
        if any(bucket.treatment in stopped and bucket.size for bucket in rule.buckets):
            before = {bucket.treatment: float(bucket.size) for bucket in rule.buckets}
            after = {name: round(size) for name, size in moved(before, stopped).items()}
            asked.append(_replace(f"/rules/{place}/buckets", _buckets(after)))
    return asked + _lists(known.treatments, stopped)


def _lists(treatments: Sequence[Treatment], stopped: Mapping[str, str]) -> list[dict[str, Any]]:
    """The users and segments that are listed for what is stopped, listed for those who take over."""
    asked = []
    for kind in ("keys", "segments"):
        before = {treatment.name: list(getattr(treatment, kind)) for treatment in treatments}
        after = {name: list(listed) for name, listed in before.items()}
        for name, by in stopped.items():
            after[by] += [one for one in after[name] if one not in after[by]]
            after[name] = []
        for place, treatment in enumerate(treatments):
            if after[treatment.name] != before[treatment.name]:
                op = "replace" if before[treatment.name] else "add"
                asked.append({"op": op, "path": f"/treatments/{place}/{kind}", "value": after[treatment.name]})
    # First the ones that lose: nobody is listed twice at any moment.
    return sorted(asked, key=lambda one: bool(one["value"]))


def _buckets(sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"treatment": name, "size": size} for name, size in sizes.items() if size]


def _replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}
