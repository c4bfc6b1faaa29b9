"""The states of a rollout and the one table of its transitions: the table is the documentation, and what runs."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a rollout stands."""

    PLANNED = "planned"
    RUNNING = "running"
    HOLDING = "holding"
    PAUSED = "paused"
    KILLED = "killed"
    COMPLETED = "completed"


class Event(StrEnum):
    """What moves a rollout from one status to another; every decision and every person's wish is one of them."""

    BEGAN = "began"
    ADVANCED = "advanced"
    HELD = "held"
    PAUSED = "paused"
    STEPPED_BACK = "stepped_back"
    KILLED = "killed"
    RESUMED = "resumed"
    COMPLETED = "completed"


_LIVE = (Status.PLANNED, Status.RUNNING, Status.HOLDING, Status.PAUSED, Status.COMPLETED)

TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.PLANNED, Event.BEGAN): Status.RUNNING,
    (Status.RUNNING, Event.ADVANCED): Status.RUNNING,
    (Status.RUNNING, Event.HELD): Status.HOLDING,
    (Status.RUNNING, Event.COMPLETED): Status.COMPLETED,
    (Status.HOLDING, Event.HELD): Status.HOLDING,
    (Status.PAUSED, Event.HELD): Status.PAUSED,
    **{(status, Event.PAUSED): Status.PAUSED for status in _LIVE},
    **{(status, Event.STEPPED_BACK): Status.HOLDING for status in _LIVE},
    **{(status, Event.KILLED): Status.KILLED for status in Status},
    (Status.HOLDING, Event.RESUMED): Status.RUNNING,
    (Status.PAUSED, Event.RESUMED): Status.RUNNING,
    (Status.KILLED, Event.RESUMED): Status.RUNNING,
}
"""A killed rollout gets traffic again only by ``resumed``, which only a person causes."""


def after(status: Status, event: Event) -> Status:
    """Return the status after the event; an event that means nothing here leaves the status as it is."""
    return TRANSITIONS.get((status, event), status)
