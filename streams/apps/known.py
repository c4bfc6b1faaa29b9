"""Which rollout or decision a person means by what was typed."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from streams.apps.board import DecisionNow, PropagationNow, RolloutNow
from streams.apps.client import Client, NotThere, Wrong, path_of

NEAR_SHOWN = 3


def rollouts(client: Client) -> list[RolloutNow]:
    """Return all rollouts, by key."""
    return [RolloutNow.model_validate(one) for one in client.get("/rollouts")]


def rollout(client: Client, name: str) -> RolloutNow:
    """
    Return the rollout of a key (``production|checkout-v2``), or of a flag that is in one environment alone.

    Raises:
        Wrong: there is none, or there are several; the text names those that may be meant.
    """
    known = rollouts(client)
    found = [one for one in known if name == one.key] or [one for one in known if name == one.flag_key]
    if not found:
        raise Wrong(f"no rollout {name!r}; {_near(name, known)}")
    if len(found) > 1:
        keys = " or ".join(f"'{one.key}'" for one in found)
        raise Wrong(f"{name} is in several environments; write {keys}")
    return found[0]


def propagation(client: Client) -> list[PropagationNow]:
    """Return how long the last kills took, by store and service; nothing where the API is of a version that does not say."""
    try:
        return [PropagationNow.model_validate(one) for one in client.get("/propagation")]
    except NotThere:
        return []


def decision(client: Client, name: str) -> DecisionNow | None:
    """Return the decision of this id with what became of it, or nothing."""
    try:
        return DecisionNow.model_validate(client.get(path_of("decisions", name)))
    except NotThere:
        return None


def decisions(client: Client, key: str, limit: int) -> list[DecisionNow]:
    """Return the newest decisions of a rollout, the newest first."""
    found: list[Any] = client.get("/decisions", key=key, limit=str(limit))
    return [DecisionNow.model_validate(one) for one in found]


def _near(name: str, known: Iterable[RolloutNow]) -> str:
    keys: dict[str, list[str]] = {}
    for one in known:
        keys.setdefault(one.flag_key, []).append(one.key)
    if not keys:
        return "no rollout is known yet: does judge run, and are there policies?"
    # Of a key, its flag alone: that environments are alike would make all of their flags near.
    near = get_close_matches(name.partition("|")[2] or name, keys, n=NEAR_SHOWN, cutoff=0.6)
    quoted = " or ".join(f"'{key}'" for flag in near for key in keys[flag])
    return f"did you mean {quoted}?" if near else "`guardian status` lists those that there are"
