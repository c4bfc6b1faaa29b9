"""A flag of Unleash as shares, and a change of them as a JSON Patch of its strategy: docs/decisions/0022-unleash-shares.md."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from guardian.ports import StoreError, UnknownFlag
from streams.stores.shares.flag import Change, Kept, Malformed, Seen, Shares, kept_in, seen

RECORD = "guardian"
"""The parameter of the strategy that holds the guardian's record. SDKs and the user interface leave it alone."""
OUTSIDE, INSIDE = "disabled", "enabled"
"""What a flag without variants is to those outside its rollout and to those inside; SDKs say ``disabled``, too."""
FINEST_WEIGHT, FINEST_ROLLOUT = 0.001, 0.01
_TOTAL = 1000
_KIND = "flexibleRollout"


class Strategy(msgspec.Struct, frozen=True):
    """One strategy of a flag in one environment, as the Admin API tells it."""

    id: str
    name: str
    parameters: dict[str, str] = {}
    constraints: list[Any] = []
    segments: list[Any] = []
    variants: list[dict[str, Any]] = []
    disabled: bool = False

    @property
    def rollout(self) -> int:
        """
        Percent of those who get anything of it; more than 100, which Unleash takes, is 100: so SDKs read it.

        Raises:
            StoreError: it is no whole number.
        """
        written = self.parameters.get("rollout", "100")
        if not written.isascii() or not written.isdecimal():
            raise StoreError(f"rollout: {written!r} is no whole number of percent; write one from 0 to 100 in Unleash")
        return min(int(written), 100)

    @property
    def weights(self) -> Shares:
        """The shares of its variants, of those who get anything of it."""
        return {variant["name"]: variant["weight"] / _TOTAL for variant in self.variants}

    @property
    def is_split(self) -> bool:
        """Whether variants divide its users; else its rollout divides them from all others."""
        return len(self.variants) > 1

    def shares(self) -> Shares:
        """What it serves, of those in the rollout where variants divide them, else of everybody."""
        if self.is_split:
            return self.weights
        inside = next(iter(self.weights), INSIDE)
        return {OUTSIDE: round(1 - self.rollout / 100, 2), inside: self.rollout / 100}


class _Environment(msgspec.Struct, frozen=True):
    name: str
    enabled: bool
    strategies: list[Strategy]
    variants: list[Any] = []


class _Feature(msgspec.Struct, frozen=True):
    name: str
    environments: list[_Environment]


def read_flag(body: bytes, flag_key: str, *, at: str, environment: str) -> Seen:
    """
    The flag that an answer holds, as it is served in Unleash's environment *at*, which the guardian calls *environment*.

    Raises:
        Malformed: it holds none.
        UnknownFlag: it is not in this environment.
        StoreError: it is served in a way that is no shares; the text says what would be.
    """
    try:
        feature = msgspec.json.decode(body, type=_Feature)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(str(error) or "it is nested too deeply") from None
    if feature.name != flag_key:
        raise Malformed(f"flag {feature.name!r}: asked for was {flag_key!r}; is a cache between?")
    found = next((one for one in feature.environments if one.name == at), None)
    if found is None:
        there_are = ", ".join(one.name for one in feature.environments) or "none"
        raise UnknownFlag(
            f"flag {flag_key!r} has no environment {at!r} in Unleash; write unleash_environment. There are: {there_are}"
        )
    strategy = _the_strategy(found, flag_key)
    return seen(
        environment,
        flag_key,
        etag=etag_of(strategy, found.enabled),
        shares=strategy.shares(),
        kept=_kept(strategy, environment, flag_key),
        enabled=found.enabled,
        raw=strategy,
        finest=FINEST_WEIGHT if strategy.is_split else FINEST_ROLLOUT,
    )


def patch_of(strategy: Strategy, change: Change, control: str) -> list[dict[str, Any]]:
    """The JSON Patch that makes a change, and only of the strategy that was read."""
    expected = {
        "name": strategy.name, "disabled": strategy.disabled, "constraints": strategy.constraints,
        "segments": strategy.segments, "parameters": strategy.parameters, "variants": strategy.variants,
    }  # fmt: skip
    patch = [{"op": "test", "path": f"/{name}", "value": value} for name, value in expected.items()]
    record = msgspec.json.encode(change.kept).decode()
    patch.append({"op": "add", "path": f"/parameters/{RECORD}", "value": record})
    if strategy.is_split:
        patch.append({"op": "replace", "path": "/variants", "value": _weighed(strategy.variants, change.shares, control)})
    else:
        inside = round((1 - change.shares[OUTSIDE]) * 100)
        patch.append({"op": "add", "path": "/parameters/rollout", "value": str(inside)})
    return patch


def etag_of(strategy: Strategy, is_enabled: bool) -> str:
    """A text that is another one after each change that matters: Unleash has no version of a flag."""
    content = msgspec.json.encode([strategy, is_enabled], order="sorted")
    return hashlib.sha256(content).hexdigest()[:12]


def _the_strategy(found: _Environment, flag_key: str) -> Strategy:
    """The one strategy that serves the flag."""
    in_force = [strategy for strategy in found.strategies if not strategy.disabled]
    place = f"flag {flag_key!r} in environment {found.name!r} of Unleash"
    if len(in_force) != 1:
        names = ", ".join(strategy.name for strategy in in_force) or "none"
        raise StoreError(
            f"{place} has {len(in_force)} strategies that are not disabled ({names}); the guardian keeps flags with one: "
            f"whoever is not served by one is served by the next. Leave one {_KIND}"
        )
    strategy = in_force[0]
    if strategy.name != _KIND:
        raise StoreError(f"{place} is served by strategy {strategy.name!r}; the guardian keeps shares of {_KIND} alone")
    for name, value in (("constraints", strategy.constraints), ("segments", strategy.segments)):
        if value:
            raise StoreError(
                f"{place}: its strategy has {name}: whom it is for is not everybody, and shares of some are not kept; remove them"
            )
    if found.variants:
        raise StoreError(f"{place} has variants of the environment, which are deprecated; make them variants of its strategy")
    for number, variant in enumerate(strategy.variants):
        if not isinstance(variant.get("name"), str) or not isinstance(variant.get("weight"), int):
            raise Malformed(f"variants[{number}]: {variant!r} has no name and weight")
    if any(variant["name"] == OUTSIDE for variant in strategy.variants):
        raise StoreError(f"{place} has a variant {OUTSIDE!r}: SDKs say so of those who are not served; give it another name")
    return strategy


def _kept(strategy: Strategy, environment: str, flag_key: str) -> Kept | None:
    """The record; one that came with a copy of another flag or environment is none of this flag."""
    kept = kept_in(strategy.parameters.get(RECORD))
    if kept is None:
        return None
    its = kept.overlay.get("environment"), kept.overlay.get("flag_key")
    return kept if its == (environment, flag_key) else None


def _weighed(variants: list[dict[str, Any]], shares: Shares, control: str) -> list[dict[str, Any]]:
    """
    The variants, payloads and all, with weights of *shares*; control has the rest.

    Unleash divides the rest equally among ``variable`` ones, whatever is sent: so control alone is that.
    """
    weights = {variant["name"]: round(shares[variant["name"]] * _TOTAL) for variant in variants}
    weights[control] = _TOTAL - sum(weight for name, weight in weights.items() if name != control)
    return [
        {**variant, "weight": weights[variant["name"]], "weightType": "variable" if variant["name"] == control else "fix"}
        for variant in variants
    ]
