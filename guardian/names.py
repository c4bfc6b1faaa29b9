"""Typed names, and the few rules by which they are made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NewType

FlagKey = NewType("FlagKey", str)
Variation = NewType("Variation", str)
Environment = NewType("Environment", str)
RolloutKey = NewType("RolloutKey", str)
"""``environment|flag_key``: the Kafka key of every flag-scoped topic."""
Millis = int
"""Milliseconds since the Unix epoch, UTC."""


def rollout_key(environment: str, flag_key: str) -> RolloutKey:
    """Return ``environment|flag_key``, the key that owns a rollout everywhere."""
    return RolloutKey(f"{environment}|{flag_key}")


def split_rollout_key(key: str) -> tuple[str, str]:
    """Return ``(environment, flag_key)``; the environment never holds a ``|``, a flag key may."""
    environment, _, flag_key = key.partition("|")
    return environment, flag_key


def decision_id(key: str, variation: str, sequence: int) -> str:
    """Return the deterministic id of a rollout's ``sequence``-th decision: a repeat has the same one."""
    return f"{key}|{variation}|{sequence}"


def sequence_of(made: str) -> int:
    """Return the number of a rollout's decision from its id: the later the higher; -1 for an id of another form."""
    last = made.rpartition("|")[2]
    return int(last) if last.isascii() and last.isdecimal() else -1


def iso(at_ms: Millis) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
