"""
What a change touches in one environment of a flag, worked out once; and the two ways to ask LaunchDarkly for it.

A JSON patch can test the version of the environment, so nothing is changed but what was read. A semantic patch cannot, and
names rules and variations by their ids instead of their places: it is for what must not wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from streams.stores.launchdarkly.flag import TOTAL, Config, Flag, Rollout, Rule, Serves, Target, Weighted, by_place
from streams.stores.shares.flag import Change
from streams.stores.shares.weights import whole

Weights = dict[int, int]


@dataclass(frozen=True, slots=True)
class Edits:
    """
    What is to be: the split of everybody, that of rules by place, and so on; what is not named stays as it is.

    *gone* are the places of rules to remove, *new* the rings that get a rule, each before the rule at a place, or (``None``)
    last. *moves* says whose users go to whom, by place.
    """

    everybody: Weights | None = None
    rules: dict[int, Weights] = field(default_factory=dict)
    gone: tuple[int, ...] = ()
    new: tuple[tuple[str, int | None, Weights], ...] = ()
    moves: Mapping[int, int] = field(default_factory=dict)

    def touch(self, config: Config) -> bool:
        """Whether anything of an environment becomes another one."""
        named = [target.variation for target in (*config.targets, *config.context_targets) if target.values]
        is_moved = not self.moves.keys().isdisjoint((config.off_variation, *named))
        return self.everybody is not None or bool(self.rules or self.gone or self.new) or is_moved


def edits(config: Config, change: Change, names: Sequence[str], rings: Sequence[str]) -> Edits:
    """What a change asks for, of an environment as it was read."""
    assert config.fallthrough is not None  # read_flag has seen to it
    places = {name: place for place, name in enumerate(names)}
    moves = {places[name]: places[by] for name, by in change.stopped.items() if by in places}
    wanted = by_place(whole(change.shares, TOTAL), names)
    made = Edits(everybody=wanted if _differs(config.fallthrough, wanted) else None, moves=moves)
    people = config.rules_of_people(rings)
    cleaned = {place: _moved(rule.weights, moves) for place, rule in people.items() if rule.weights.keys() & moves.keys()}
    return _with_rings(replace(made, rules=cleaned), config, change, names, rings)


def nudged(config: Config, control: int) -> Edits | None:
    """The least change there is: one weight of everybody's split moved to *control*; ``None`` where that has all of them."""
    assert config.fallthrough is not None  # read_flag has seen to it
    weights = dict(config.fallthrough.weights)
    giver = max((place for place in weights if place != control), key=weights.__getitem__, default=None)
    if giver is None or not weights[giver]:
        return None
    return Edits(everybody={**weights, giver: weights[giver] - 1, control: weights.get(control, 0) + 1})


def _with_rings(made: Edits, config: Config, change: Change, names: Sequence[str], rings: Sequence[str]) -> Edits:
    rules, gone, new = dict(made.rules), list[int](), list[tuple[str, int | None, Weights]]()
    for number, ring in enumerate(rings):
        place, shares = config.place_of_ring(ring), change.rings.get(ring)
        if not shares:
            gone += [] if place is None else [place]
            continue
        wanted = by_place(whole(shares, TOTAL), names)
        if place is None:
            later = (config.place_of_ring(other) for other in rings[number + 1 :] if change.rings.get(other))
            new.append((ring, next((found for found in later if found is not None), None), wanted))
        elif _differs(config.rules[place], wanted):
            rules[place] = wanted
    return replace(made, rules=rules, gone=tuple(gone), new=tuple(new))


def _differs(served: Serves, wanted: Weights) -> bool:
    return served.weights != {place: weight for place, weight in wanted.items() if weight}


def _moved(weights: Weights, moves: Mapping[int, int]) -> Weights:
    found: Weights = {}
    for place, weight in weights.items():
        to = moves.get(place, place)
        found[to] = found.get(to, 0) + weight
    return found


# ---------------------------------------------------------------------- as a JSON patch


def json_patch(made: Edits, config: Config, environment: str, context_kind: str) -> list[dict[str, Any]]:
    """The operations, first the test that the environment is the one that was read."""
    at = f"/environments/{environment.replace('~', '~0').replace('/', '~1')}"
    asked = [_op("test", f"{at}/version", config.version)]
    if made.everybody is not None and config.fallthrough is not None:
        if (known := config.fallthrough.rollout) is not None:
            asked.append(_op("replace", f"{at}/fallthrough/rollout/variations", _weighted(made.everybody, known)))
        else:
            asked.append(_op("replace", f"{at}/fallthrough", {"rollout": _rollout(made.everybody, context_kind)}))
    for place, weights in made.rules.items():
        asked += _rule_ops(f"{at}/rules/{place}", config.rules[place], weights, context_kind)
    if (off := config.off_variation) is not None and off in made.moves:
        asked.append(_op("replace", f"{at}/offVariation", made.moves[off]))
    for name, targets in (("targets", config.targets), ("contextTargets", config.context_targets)):
        if any(target.variation in made.moves and target.values for target in targets):
            asked.append(_op("replace", f"{at}/{name}", msgspec.to_builtins(_retargeted(targets, made.moves))))
    # From behind, so that no place moves before it is used.
    asked += [_op("remove", f"{at}/rules/{place}") for place in sorted(made.gone, reverse=True)]
    return asked + _new_rules(made, config, at, context_kind)


def _new_rules(made: Edits, config: Config, at: str, context_kind: str) -> list[dict[str, Any]]:
    left = [place for place in range(len(config.rules)) if place not in made.gone]
    asked = []
    for ring, before, weights in made.new:
        rule = {"clauses": [_clause(ring)], "rollout": _rollout(weights, context_kind), "trackEvents": False}
        where = len(left) if before is None else left.index(before)
        asked.append(_op("add", f"{at}/rules/{where if before is not None else '-'}", rule))
        left.insert(where, -1)
    return asked


def _op(op: str, path: str, *value: Any) -> dict[str, Any]:
    return {"op": op, "path": path, **({"value": value[0]} if value else {})}


def _rule_ops(at: str, rule: Rule, weights: Weights, context_kind: str) -> list[dict[str, Any]]:
    if rule.rollout is not None:
        return [_op("replace", f"{at}/rollout/variations", _weighted(weights, rule.rollout))]
    if len(weights) == 1:
        return [_op("replace", f"{at}/variation", *weights)]
    return [_op("remove", f"{at}/variation"), _op("add", f"{at}/rollout", _rollout(weights, context_kind))]


def _rollout(weights: Weights, context_kind: str) -> dict[str, Any]:
    return {"variations": _weighted(weights, None), "contextKind": context_kind}


def _weighted(weights: Weights, known: Rollout | None) -> list[dict[str, Any]]:
    untracked = {one.variation for one in known.variations if one.untracked} if known else set()
    made = [Weighted(place, weight, place in untracked) for place, weight in sorted(weights.items())]
    found: list[dict[str, Any]] = msgspec.to_builtins(made)
    return found


def _retargeted(targets: Sequence[Target], moves: Mapping[int, int]) -> list[Target]:
    """Individual targets with the users of what is stopped at those who take over, in their order."""
    found: dict[tuple[str, int], list[str]] = {}
    for target in targets:
        values = found.setdefault((target.context_kind, moves.get(target.variation, target.variation)), [])
        values += [value for value in target.values if value not in values]
    return [Target(values, place, kind) for (kind, place), values in found.items()]


def _clause(segment: str) -> dict[str, Any]:
    return {"attribute": "segmentMatch", "op": "segmentMatch", "negate": False, "values": [segment]}


# ---------------------------------------------------------------------- as a semantic patch


def instructions(made: Edits, flag: Flag, config: Config, context_kind: str) -> list[dict[str, Any]]:
    """The same, by the ids of variations and rules."""
    ids = [variation.id for variation in flag.variations]
    asked: list[dict[str, Any]] = []
    if made.everybody is not None:
        split = _by_id(config.fallthrough, made.everybody, ids, context_kind)
        asked.append({"kind": "updateFallthroughVariationOrRollout", **split})
    for place, weights in made.rules.items():
        rule = config.rules[place]
        serve = {"variationId": ids[next(iter(weights))]} if len(weights) == 1 else _by_id(rule, weights, ids, context_kind)
        asked.append({"kind": "updateRuleVariationOrRollout", "ruleId": rule.id, **serve})
    if (off := config.off_variation) is not None and off in made.moves:
        asked.append({"kind": "updateOffVariation", "variationId": ids[made.moves[off]]})
    for target in (*config.targets, *config.context_targets):
        if target.variation in made.moves and target.values:
            who = {"contextKind": target.context_kind, "values": target.values}
            asked.append({"kind": "removeTargets", **who, "variationId": ids[target.variation]})
            asked.append({"kind": "addTargets", **who, "variationId": ids[made.moves[target.variation]]})
    asked += [{"kind": "removeRule", "ruleId": config.rules[place].id} for place in made.gone]
    for ring, before, weights in made.new:
        split = _by_id(None, weights, ids, context_kind)
        place_at = {} if before is None else {"beforeRuleId": config.rules[before].id}
        asked.append({"kind": "addRule", "clauses": [_clause(ring)], **split, **place_at})
    return asked


def _by_id(before: Serves | None, weights: Weights, ids: Sequence[str], context_kind: str) -> dict[str, Any]:
    known = before.rollout if before is not None else None
    made: dict[str, Any] = {
        "rolloutWeights": {ids[place]: weight for place, weight in sorted(weights.items())},
        "rolloutContextKind": known.context_kind if known else context_kind,
    }
    return made | ({"rolloutBucketBy": known.bucket_by} if known and known.bucket_by else {})
