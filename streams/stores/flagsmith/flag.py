"""
A multivariate flag of Flagsmith's, and what an environment serves of it, as shares.

Shares are the percentages of the flag's variants; the flag's own value has the rest, under the name of *control*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from guardian.ports import StoreError
from streams.stores.shares.flag import Malformed, Shares
from streams.stores.shares.weights import moved


class Option(msgspec.Struct, frozen=True):
    """A variant of a flag: its value, the same in all environments, and the key that people may have given it."""

    id: int
    key: str | None = None
    string_value: str | None = None
    integer_value: int | None = None
    boolean_value: bool | None = None

    @property
    def value(self) -> str:
        """The value as environments write it."""
        if self.string_value is not None:
            return self.string_value
        if self.integer_value is not None:
            return str(self.integer_value)
        return "true" if self.boolean_value else "false"


class Feature(msgspec.Struct, frozen=True):
    """A flag of a project."""

    id: int
    name: str
    type: str = "STANDARD"
    is_archived: bool = False
    multivariate_options: list[Option] = []


class Features(msgspec.Struct, frozen=True):
    """A page of the flags of a project."""

    results: list[Feature]
    next: str | None = None


class Value(msgspec.Struct, frozen=True):
    """A value, written as text."""

    type: str
    value: str


class Variant(msgspec.Struct, frozen=True):
    """The percentage of a variant."""

    id: int
    weight: float


class Segment(msgspec.Struct, frozen=True):
    """A segment, by its number."""

    id: int


class State(msgspec.Struct, frozen=True):
    """What is served: the own *value* to all that no variant has."""

    enabled: bool
    value: Value | None
    variants: list[Variant]


class Override(State, frozen=True):
    """What those of a segment get instead."""

    segment: Segment


class Served(msgspec.Struct, frozen=True):
    """What a flag serves in an environment."""

    environment_default: State
    segment_overrides: list[Override]


class Flag(msgspec.Struct, frozen=True):
    """A flag as it was read, with what the guardian calls each of its variants, by number."""

    id: int
    served: Served
    names: dict[int, str]
    values: dict[int, str]
    control: str

    def shares(self, state: State) -> Shares:
        """What is served, as shares; whose own value is that of a variant serves that variant."""
        made = dict.fromkeys((self.control, *self.names.values()), 0.0)
        for variant in state.variants:
            made[self.names[variant.id]] += variant.weight / 100
        made[self._own(state)] += max(1.0 - sum(made.values()), 0.0)
        return {name: round(share, 9) for name, share in made.items()}

    def override(self, state: Override, stopped: Mapping[str, str]) -> dict[str, Any]:
        """An override in which what is *stopped* has nothing left, as a request has it."""
        shares = moved(self.shares(state), stopped)
        made: dict[str, Any] = {"segment": {"id": state.segment.id}}
        own = self._own(state)
        if own != self.control and (own in stopped or shares[self.control] > 0.0):
            made["value"] = msgspec.to_builtins(self.served.environment_default.value)
            own = self.control
        # The own value has the rest, so a variant of the same value needs no percentage for what that serves.
        rest = {name: 0.0 if name == own else share for name, share in shares.items()}
        return made | {"variants": self.variants(rest)}

    def variants(self, shares: Mapping[str, float]) -> list[dict[str, Any]]:
        """Percentages of all variants, as a request has them."""
        return [{"id": number, "weight": round(shares[name] * 100, 6)} for number, name in sorted(self.names.items())]

    def _own(self, state: State) -> str:
        if isinstance(state, Override) and state.value is not None:
            same = (number for number, value in self.values.items() if value == state.value.value)
            return self.names.get(next(same, -1), self.control)
        return self.control


def names_of(feature: Feature, control: str) -> dict[int, str]:
    """
    What the guardian calls the variants of a flag, by number: their keys, or their values; the own value is *control*.

    Raises:
        StoreError: there are none, two are called the same, or nobody is served any; the text says what would help.
    """
    if feature.is_archived:
        raise StoreError(f"flag {feature.name!r} is archived in Flagsmith: take it out of the archive there")
    if not feature.multivariate_options:
        raise StoreError(
            f"flag {feature.name!r} has no variants in Flagsmith, so there are no shares: add a variant for each variation "
            f"beside the flag's own value, which is {control!r}"
        )
    names = {option.id: option.key or option.value for option in feature.multivariate_options}
    made = [control, *names.values()]
    if twice := sorted({name for name in made if made.count(name) > 1}):
        raise StoreError(
            f"two variations of flag {feature.name!r} are called {twice[0]!r}: give each variant a key of its own in Flagsmith, "
            "or the flag's own value another name by the setting control of this store"
        )
    return names


def flag_of(feature: Feature, served: Served, control: str) -> Flag:
    """
    A flag with what an environment serves.

    Raises:
        Malformed: it serves what the flag does not have.
        StoreError: what it serves cannot be told apart; the text says what would help.
    """
    names, values = names_of(feature, control), {option.id: option.value for option in feature.multivariate_options}
    states = [served.environment_default, *served.segment_overrides]
    if unknown := sorted({one.id for state in states for one in state.variants} - names.keys()):
        raise Malformed(f"variants: {unknown[0]} is no variant of the flag; there are {sorted(names)}")
    own = served.environment_default.value
    if own is not None and (same := [names[number] for number, value in values.items() if value == own.value]):
        raise StoreError(
            f"the own value of flag {feature.name!r} in this environment is that of its variant {same[0]!r}, so that who should "
            f"get {control!r} gets it: give the flag its own value back"
        )
    return Flag(feature.id, served, names, values, control)
