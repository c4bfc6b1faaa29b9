"""What Unleash's log of events says: who made the last changes of a flag, whether one was lost, and what people changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from streams.stores.shares.backend import Edit, News
from streams.stores.unleash.strategy import RECORD, Strategy

EVENTS = 5
"""As many of the newest are asked for."""


_NAMES = {"created_by": "createdBy", "created_at": "createdAt", "before": "preData", "feature": "featureName"}
_STRATEGY = "feature-strategy-"
_WHOLE = {
    "feature-environment-enabled": "switched on",
    "feature-environment-disabled": "switched off",
    "feature-archived": "archived",
    "feature-revived": "revived",
}


class _Event(msgspec.Struct, frozen=True, rename=_NAMES):
    id: int
    type: str
    created_at: datetime
    created_by: str = ""
    feature: str | None = None
    environment: str | None = None
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

    def lost(self, strategy: Strategy, replaced: Strategy) -> str | None:
        """
        What the guardian's change of *replaced* to *strategy* has overwritten without having read it; empty for nothing.

        Unleash compares before its transaction begins, so a change that came in those milliseconds is not refused. But the
        log holds each change in its order: the one before the guardian's must have left what the guardian has read. ``None``
        where the log does not tell: it has the guardian's not yet, or not as the newest, as of two changes at once the one
        that began first may have been made last.
        """
        own = [one for one in self._events if one.data and one.data.get("id") == strategy.id]
        if len(own) < 2 or not _is_of(own[0].data, strategy):
            return None
        last = own[1]
        if _served(last.data) == _served(msgspec.to_builtins(replaced)):
            return ""
        return f"; it overwrote what {last.created_by or 'somebody'} changed in the same moment: {_told(last.data)}"


def news_in(body: bytes, *, at: str, after: int, since: datetime, most: int) -> tuple[int, News]:
    """
    The newest id, and what happened in environment *at* after the event *after* (0: none); people's changes since *since* alone.

    *most* were asked for: where none of so many is old, others may be missing. One that names no flag may be about any.

    Raises:
        msgspec.DecodeError: it is no list of events.
    """
    events = msgspec.json.decode(body, type=_Events).events
    unread = [one for one in reversed(events) if one.id > after]
    new = [one for one in unread if one.environment in (at, None)]
    edits = [edit for one in new if one.created_at >= since for edit in _edit(one)]
    touched = [one.feature for one in new]
    is_any = not after or None in touched or len(unread) >= most
    newest = max((one.id for one in events), default=after)
    return newest, News(edits, None if is_any else frozenset(filter(None, touched)))


def _edit(event: _Event) -> Iterator[Edit]:
    """The change, if people have made it and it is one of what is served: the guardian's alone change its record."""
    before, after = _served(event.before), _served(event.data)
    if event.feature is None or (_record(event.data) and _record(event.data) != _record(event.before)):
        return
    if event.type in _WHOLE:
        yield Edit(f"unleash:{event.id}", event.feature, event.created_by, _WHOLE[event.type])
    elif event.type.startswith(_STRATEGY) and before != after:
        told = f"{_told(event.before)}; now {_told(event.data)}" if event.before else _told(event.data)
        yield Edit(f"unleash:{event.id}", event.feature, event.created_by, f"{event.type.removeprefix('feature-')}: {told}")


def _record(data: dict[str, Any] | None) -> str:
    return str(((data or {}).get("parameters") or {}).get(RECORD) or "")


def _is_of(data: dict[str, Any] | None, strategy: Strategy) -> bool:
    record = strategy.parameters.get(RECORD)
    return bool(record) and _record(data) == record


def _served(data: dict[str, Any] | None) -> list[Any]:
    return [(data or {}).get(name) for name in ("parameters", "variants", "constraints", "segments", "disabled")]


def _told(data: dict[str, Any] | None) -> str:
    if not data:
        return "nothing"
    known = data
    weights = {variant.get("name"): variant.get("weight") for variant in known.get("variants") or ()}
    return f"rollout {known.get('parameters', {}).get('rollout')} %, weights {weights or 'none'}"
