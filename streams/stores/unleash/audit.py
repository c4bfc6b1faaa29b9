"""What Unleash's log of events says of the last changes of a flag: who made them, and whether one was lost."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.stores.unleash.strategy import RECORD, Strategy

EVENTS = 5
"""As many of the newest are asked for."""


class _Event(msgspec.Struct, frozen=True, rename={"created_by": "createdBy", "before": "preData"}):
    type: str
    created_by: str = ""
    data: dict[str, Any] | None = None
    before: dict[str, Any] | None = None


class _Events(msgspec.Struct, frozen=True):
    events: list[_Event]


class Audit:
    """
    The newest events of a flag in an environment, newest first.

    Raises:
        msgspec.DecodeError: it is no list of them.
    """

    def __init__(self, body: bytes) -> None:
        self._events = msgspec.json.decode(body, type=_Events).events

    @property
    def changed_by(self) -> str:
        """Who made the newest change."""
        return self._events[0].created_by if self._events else ""

    def lost(self, strategy: Strategy) -> str:
        """
        What the newest change has overwritten without having read it, if it is the guardian's; empty for nothing.

        Unleash compares before its transaction begins, so a change that came in those milliseconds is not refused. But
        each event holds what it found, and that must be what the event before it left.
        """
        own = [one for one in self._events if one.data and one.data.get("id") == strategy.id]
        if len(own) < 2 or own[0].before is None:
            return ""
        newest, last = own[0], own[1]
        if not _is_of(newest.data, strategy) or _served(newest.before) == _served(last.data):
            return ""
        return f"; it overwrote what {last.created_by or 'somebody'} changed in the same moment: {_told(last.data)}"


def _is_of(data: dict[str, Any] | None, strategy: Strategy) -> bool:
    record = strategy.parameters.get(RECORD)
    return bool(record) and bool(data) and (data or {}).get("parameters", {}).get(RECORD) == record


def _served(data: dict[str, Any] | None) -> list[Any]:
    return [(data or {}).get(name) for name in ("parameters", "variants", "constraints", "segments", "disabled")]


def _told(data: dict[str, Any] | None) -> str:
    known = data or {}
    weights = {variant.get("name"): variant.get("weight") for variant in known.get("variants") or ()}
    return f"rollout {known.get('parameters', {}).get('rollout')} %, weights {weights or 'none'}"
