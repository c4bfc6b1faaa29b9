"""A flag as LaunchDarkly's REST API gives it, and what one environment of it serves, as shares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from guardian.ports import StoreError
from streams.stores.shares.flag import Malformed, Shares

TOTAL = 100_000
"""Weights are thousandths of a percent."""
NamedBy = Literal["name", "value", "index"]
"""What services and events call a variation by: its name, its value, or its place in the list."""


class Variation(msgspec.Struct, frozen=True):
    """One of the answers that a flag can give."""

    value: Any
    id: str = msgspec.field(name="_id", default="")
    name: str = ""


class Weighted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The weight of a variation, by its place in the list."""

    variation: int
    weight: int
    untracked: bool = False


class Rollout(msgspec.Struct, frozen=True, rename="camel"):
    """A split by weights."""

    variations: list[Weighted]
    bucket_by: str = ""
    context_kind: str = "user"
    experiment_allocation: Any = None


class Serves(msgspec.Struct, frozen=True):
    """What a rule serves: one variation, or a split."""

    variation: int | None = None
    rollout: Rollout | None = None

    @property
    def weights(self) -> dict[int, int]:
        """Weights by the place of the variation; those of a split that serves nothing are left out."""
        if self.rollout is None:
            return {} if self.variation is None else {self.variation: TOTAL}
        found: dict[int, int] = {}
        for one in self.rollout.variations:
            found[one.variation] = found.get(one.variation, 0) + one.weight
        return {place: weight for place, weight in found.items() if weight}


class Clause(msgspec.Struct, frozen=True):
    """One condition of a rule."""

    op: str
    values: list[Any]
    negate: bool = False


class Rule(Serves, frozen=True, kw_only=True):
    """A rule: who fulfils all clauses gets what it serves."""

    clauses: list[Clause]
    id: str = msgspec.field(name="_id", default="")
    disabled: bool = False

    def is_of(self, segment: str) -> bool:
        """Whether it is for those in one named segment, and for nobody else."""
        is_one = len(self.clauses) == 1 and not self.disabled
        return is_one and (one := self.clauses[0]).op == "segmentMatch" and one.values == [segment] and not one.negate


class Target(msgspec.Struct, frozen=True, rename="camel"):
    """Keys that get one variation, whatever rules say."""

    values: list[str]
    variation: int
    context_kind: str = "user"


class Config(msgspec.Struct, frozen=True, rename="camel"):
    """What one environment serves, as of its *version*; to everybody the fallthrough, while the flag is on."""

    on: bool
    version: int
    fallthrough: Serves | None = None
    rules: list[Rule] = []
    targets: list[Target] = []
    context_targets: list[Target] = []
    off_variation: int | None = None

    def place_of_ring(self, segment: str) -> int | None:
        """The place of the first rule that is for a segment alone."""
        return next((place for place, rule in enumerate(self.rules) if rule.is_of(segment)), None)

    def rules_of_people(self, rings: Sequence[str]) -> dict[int, Rule]:
        """The rules that are no rings, by their places."""
        own = {self.place_of_ring(ring) for ring in rings}
        return {place: rule for place, rule in enumerate(self.rules) if place not in own}


class Flag(msgspec.Struct, frozen=True):
    """A flag, with the environments that were asked for."""

    key: str
    variations: list[Variation]
    environments: dict[str, Config] = {}
    archived: bool = False


def read_flag(body: bytes) -> Flag:
    """
    The flag that an answer holds.

    Raises:
        Malformed: it does not hold one.
    """
    try:
        flag = msgspec.json.decode(body, type=Flag)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(str(error) or "it is nested too deeply") from None
    for environment, config in flag.environments.items():
        if config.fallthrough is None:
            raise Malformed(f"environments.{environment}.fallthrough is missing")
        places = {place for one in (config.fallthrough, *config.rules) for place in one.weights}
        places |= {target.variation for target in (*config.targets, *config.context_targets)}
        if unknown := sorted(place for place in places if not 0 <= place < len(flag.variations)):
            raise Malformed(f"environments.{environment}: serves variation {unknown[0]}; there are {len(flag.variations)}")
    return flag


def names_of(flag: Flag, by: NamedBy) -> list[str]:
    """
    What the guardian calls the variations, in their order. One without a name is called by its value.

    Raises:
        StoreError: two are called the same; the text says what would help.
    """
    made = [_name(place, one, by) for place, one in enumerate(flag.variations)]
    if twice := sorted({name for name in made if made.count(name) > 1}):
        raise StoreError(
            f"two variations of flag {flag.key!r} are called {twice[0]!r}: give each a name of its own in LaunchDarkly, "
            "or set named_by of this store to value or index"
        )
    return made


def _name(place: int, variation: Variation, by: NamedBy) -> str:
    if by == "index":
        return str(place)
    if by == "name" and variation.name:
        return variation.name
    value = variation.value
    return value if isinstance(value, str) and value else json.dumps(value, separators=(",", ":"), sort_keys=True)


def shares_of(served: Serves, names: Sequence[str]) -> Shares:
    """What a rule serves, as shares of all variations."""
    weights = served.weights
    return {name: weights.get(place, 0) / TOTAL for place, name in enumerate(names)}


def singled_out(config: Config, names: Sequence[str], rings: Sequence[str]) -> frozenset[str]:
    """The variations that people's rules, individual targets, or a flag that is off serve."""
    places = {place for rule in config.rules_of_people(rings).values() if not rule.disabled for place in rule.weights}
    places |= {target.variation for target in (*config.targets, *config.context_targets) if target.values}
    if config.off_variation is not None:
        places.add(config.off_variation)
    return frozenset(names[place] for place in places if 0 <= place < len(names))


def by_place(shares: Mapping[str, int], names: Sequence[str]) -> dict[int, int]:
    """Weights by name as weights by place."""
    return {place: shares[name] for place, name in enumerate(names)}
