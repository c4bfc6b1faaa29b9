"""The states of a rollout and the one table of its transitions: the table is the documentation, and what runs."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a rollout stands."""

    PLANNED = "planned"
    RUNNING = "running"
    HOLDING = "holding"
    PAUSED = "paused"
    STEPPING_BACK = "stepping_back"
    KILLED = "killed"
    COMPLETED = "completed"


class Event(StrEnum):
    """What moves a rollout from one status to another; every decision and every person's wish is one of them."""

    BEGAN = "began"
    ADVANCED = "advanced"
    HELD = "held"
    PAUSED = "paused"
    STEPPED_BACK = "stepped_back"
    WENT_BACK = "went_back"
    STAYED = "stayed"
    KILLED = "killed"
    RESUMED = "resumed"
    COMPLETED = "completed"


_LIVE = (Status.PLANNED, Status.RUNNING, Status.HOLDING, Status.PAUSED, Status.STEPPING_BACK, Status.COMPLETED)

TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.PLANNED, Event.BEGAN): Status.RUNNING,
    (Status.RUNNING, Event.ADVANCED): Status.RUNNING,
    (Status.RUNNING, Event.HELD): Status.HOLDING,
    (Status.RUNNING, Event.COMPLETED): Status.COMPLETED,
    (Status.HOLDING, Event.HELD): Status.HOLDING,
    (Status.COMPLETED, Event.HELD): Status.HOLDING,
    (Status.PAUSED, Event.HELD): Status.PAUSED,
    (Status.STEPPING_BACK, Event.HELD): Status.HOLDING,
    **{(status, Event.PAUSED): Status.PAUSED for status in _LIVE},
    **{(status, Event.STEPPED_BACK): Status.STEPPING_BACK for status in _LIVE},
    # Who was held or paused stays so at the smaller share.
    (Status.HOLDING, Event.STEPPED_BACK): Status.HOLDING,
    (Status.PAUSED, Event.STEPPED_BACK): Status.PAUSED,
    (Status.STEPPING_BACK, Event.WENT_BACK): Status.RUNNING,
    (Status.STEPPING_BACK, Event.STAYED): Status.HOLDING,
    (Status.RUNNING, Event.STAYED): Status.HOLDING,
    **{(status, Event.KILLED): Status.KILLED for status in Status},
    (Status.HOLDING, Event.RESUMED): Status.RUNNING,
    (Status.PAUSED, Event.RESUMED): Status.RUNNING,
    (Status.STEPPING_BACK, Event.RESUMED): Status.RUNNING,
    (Status.KILLED, Event.RESUMED): Status.RUNNING,
    (Status.COMPLETED, Event.RESUMED): Status.RUNNING,
}
"""A killed rollout gets traffic again only by ``resumed``, which only a person causes."""

MEANS: dict[Event, str] = {
    Event.BEGAN: "telemetry of a variation came for the first time",
    Event.ADVANCED: "every gate of the stage was open: the next one",
    Event.HELD: "a guardrail held it at its share",
    Event.PAUSED: "a guardrail or a person paused it, or it stepped back from one stage for the second time",
    Event.STEPPED_BACK: "a guardrail took it back to the last good stage",
    Event.WENT_BACK: "the store has carried the step back out",
    Event.STAYED: "the store could not carry an advance or a step back out",
    Event.KILLED: "the last variation that was alive was killed",
    Event.RESUMED: "a person let it go on",
    Event.COMPLETED: "every gate of the last stage was open",
}
"""What each event means, in words."""


def after(status: Status, event: Event) -> Status:
    """Return the status after the event; an event that means nothing here leaves the status as it is."""
    return TRANSITIONS.get((status, event), status)


def states_text() -> str:
    """Return the table of transitions as ``docs/rollout-states.md`` holds it."""
    lines = [
        "# States of a rollout",
        "",
        "Written by `python -m streams.apps.states > docs/rollout-states.md` from the table that runs",
        "(`guardian/rollout.py`). An empty cell leaves the status as it is.",
        "",
        f"| event | what happened | {' | '.join(Status)} |",
        f"|---|---|{'---|' * len(Status)}",
    ]
    for event in Event:
        cells = [str(TRANSITIONS.get((status, event), "")) for status in Status]
        lines.append(f"| {event} | {MEANS[event]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
