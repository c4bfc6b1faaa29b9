"""
Rollout schedules: policies told by phases, as teams plan them.

``rollout: NAME``, a ``strategy`` and ``phases`` with ``start``, ``duration``, ``users``, ``size``,
``criteria``, ``increments`` (``5%: Day 0``) and ``pause_conditions``. A schedule becomes a ``Policy``:

- a phase for named ``users`` is one stage with 100% of them; each increment is a stage of its own, left when
  the next one's day has come;
- ``criteria`` are what the last stage of the phase waits for (``until``);
- ``pause_conditions`` are guardrails that pause. They hold for the whole rollout, not only for their phase:
  what is harm at 25% is harm at 5%;
- whatever else a policy says (``environment``, ``owner``, ``guardrails``, ``signals``) may be said here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, StrictInt, WithJsonSchema

from guardian.documents import NO_LINES, Finding, list_in, readable
from guardian.errors import Lines, Path, wrong
from guardian.fields import (
    Document,
    Duration,
    Environment,
    HarmCondition,
    HealthCondition,
    Key,
    Reading,
    Start,
    Word,
    share_of,
)
from guardian.guardrails import Action, Guardrail, step_back_findings
from guardian.policy import Policy, Terms, parse_policy, read_terms
from guardian.stages import PlacedStage, Stage, hold_back_findings, stage_findings
from guardian.timetable import moment_text

DAY_S = 86400.0
LEAVE = "this phase would never be left; add duration: or criteria: to it"
STAGE_FIELDS = {"until": "criteria", "for": "duration"}

Places = Mapping[Path, Path]
"""Where each part of a policy was written, if its document has another form: policy path to document path."""

AS_WRITTEN: Places = MappingProxyType({})

Strategy = Literal["ring_based", "percentage"]


@dataclass(frozen=True, slots=True)
class Increment:
    """From day *day* of its phase on, *share* of the traffic."""

    share: float
    day: int


def _increment(value: object) -> Increment:
    entries = list(value.items()) if isinstance(value, dict) else []
    if len(entries) != 1:
        raise wrong("write one share and its day, such as 5%: Day 0")
    share, day = entries[0]
    match = (
        re.fullmatch(r"day (\d{1,3})", day.strip(), re.IGNORECASE | re.ASCII)
        if isinstance(day, str)
        else None
    )
    if match is None:
        raise wrong(f"say when, counted from the start of the phase, such as {share}: Day 0")
    return Increment(share_of(share), int(match[1]))


def _size(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"~? ?(\d{1,3}(,\d{3})+|\d+)", value, re.ASCII):
        return int(re.sub(r"\D", "", value)[:18])
    if isinstance(value, str):
        raise wrong("write how many users, such as ~5,000")
    return value


class Phase(Document):
    """One phase: a ring of *users*, or *increments* of the traffic."""

    name: Word | None = None
    strategy: Strategy | None = None
    start: Start | None = Field(None, examples=["2024-11-15 09:00 UTC"])
    duration_s: Duration | None = Field(None, alias="duration", examples=["48h"])
    users: Word | None = Field(None, examples=["beta_program"])
    size: (
        Annotated[
            StrictInt,
            Field(ge=1),
            BeforeValidator(_size),
            WithJsonSchema({"type": ["integer", "string"], "examples": ["~5,000"]}),
        ]
        | None
    ) = Field(None, examples=["~5,000"])
    criteria: tuple[HealthCondition, ...] = Field((), examples=[["error_rate < 1.1x control"]])
    increments: tuple[
        Annotated[
            Increment,
            PlainValidator(_increment),
            WithJsonSchema(
                {"type": "object", "minProperties": 1, "maxProperties": 1, "examples": [{"5%": "Day 0"}]}
            ),
        ],
        ...,
    ] = Field((), examples=[[{"5%": "Day 0"}]])
    pause_conditions: tuple[HarmCondition, ...] = Field((), examples=[["error_rate > 0.5%"]])


class Schedule(Terms):
    """A rollout told by its phases."""

    rollout: Key = Field(examples=["new_search_algorithm"])
    strategy: Strategy | None = None
    environment: Environment = Field("production", examples=["production"])
    phases: tuple[Phase, ...] = Field(min_length=1, examples=[[{"users": "employees", "duration": "48h"}]])


def parse_document(document: object, *, file: str = "", lines: Lines = NO_LINES) -> tuple[Policy, Places]:
    """
    Read a document of either form, and tell where the parts of the policy were written.

    Raises:
        PolicyError: with every problem that the document has.
    """
    if isinstance(document, dict) and "rollout" in document and "flag" not in document:
        return parse_schedule(document, file=file, lines=lines)
    return parse_policy(document, file=file, lines=lines), AS_WRITTEN


def parse_schedule(
    document: dict[str, Any], *, file: str = "", lines: Lines = NO_LINES
) -> tuple[Policy, Places]:
    """
    Read a schedule's document; see ``parse_document``.

    Raises:
        PolicyError: with every problem that the document has.
    """
    return _policy(read_terms(Schedule, document, _findings, file=file, lines=lines))


def _findings(document: dict[str, Any], reading: Reading) -> Iterator[Finding]:
    given = list_in(document, "phases")
    read = [(at, readable(Phase, phase, reading)) for at, phase in enumerate(given)]
    phases = [(at, phase) for at, phase in read if phase is not None]
    stages: list[PlacedStage] = []
    for at, phase in phases:
        found = [*_phase_findings(at, phase)]
        yield from found
        if not found:
            stages += _stages(at, phase, is_last=at == len(given) - 1)
    yield from stage_findings(stages, leave=LEAVE)
    yield from hold_back_findings(document, stages)
    if len(phases) == len(given) and stages:
        yield from step_back_findings(document, len(stages))
    for (_, before), (at, phase) in pairwise(phases):
        if before.start and phase.start and phase.start <= before.start:
            said = f"must be later than the {moment_text(before.start)} of the phase before it"
            yield ("phases", at, "start"), moment_text(phase.start), said
    yield from _pause_findings(document, phases, reading)
    asked = document.get("guardrails") or any(phase.pause_conditions for _, phase in phases)
    if not asked and 0 < len(given) == len(phases):
        said = "has nothing to watch; add pause_conditions: such as - error_rate > 0.5%, or guardrails:"
        yield ("phases",), None, said


def _phase_findings(at: int, phase: Phase) -> Iterator[Finding]:
    if phase.strategy == "percentage" and not phase.increments:
        yield ("phases", at, "strategy"), phase.strategy, "needs increments:, such as - 5%: Day 0"
    elif phase.users is None and not phase.increments:
        yield ("phases", at), phase.name, "who gets it? add users: NAME, or increments: such as - 5%: Day 0"
    days = [increment.day for increment in phase.increments]
    if days and days[0] != 0:
        yield (
            ("phases", at, "increments", 0),
            f"Day {days[0]}",
            "days count from the start of the phase; write Day 0",
        )
    for nth, (before, day) in enumerate(pairwise(days), start=1):
        if day <= before:
            yield (
                ("phases", at, "increments", nth),
                f"Day {day}",
                f"days must rise; write one after Day {before}",
            )
    if days and phase.duration_s is not None and phase.duration_s <= max(days) * DAY_S:
        yield (
            ("phases", at, "duration"),
            f"{phase.duration_s / DAY_S:g}d",
            f"ends before the Day {max(days)} of its increments",
        )


def _pause_findings(
    document: dict[str, Any], phases: list[tuple[int, Phase]], reading: Reading
) -> Iterator[Finding]:
    """Asked in two phases it is one guardrail; asked twice in a phase, or beside a guardrail, a slip."""
    guardrails = [readable(Guardrail, guardrail, reading) for guardrail in list_in(document, "guardrails")]
    asked = {guardrail.when.meaning for guardrail in guardrails if guardrail is not None}
    for at, phase in phases:
        seen = set(asked)
        for nth, when in enumerate(phase.pause_conditions):
            if when.meaning in seen:
                said = "is asked already by another condition or guardrail; keep one of them"
                yield ("phases", at, "pause_conditions", nth), when.text, said
            seen.add(when.meaning)


def _stages(at: int, phase: Phase, *, is_last: bool) -> list[PlacedStage]:
    """The stages of a phase, each with the place that its share is written at."""
    told = {"name": phase.name, "users": phase.users, "size": phase.size}
    until = phase.criteria or None
    if not phase.increments:
        stage = Stage(share=1.0, for_s=phase.duration_s, until=until, start=phase.start, **told)
        return [PlacedStage(("phases", at), stage, is_last)]
    ends = None if phase.duration_s is None else phase.duration_s / DAY_S
    days: list[float | None] = [*(increment.day for increment in phase.increments), ends]
    stages = []
    for nth, increment in enumerate(phase.increments):
        end, final = days[nth + 1], nth == len(phase.increments) - 1
        stage = Stage(
            share=increment.share,
            for_s=None if end is None else (end - increment.day) * DAY_S,
            until=until if final else None,
            start=phase.start if nth == 0 else None,
            **told,
        )
        stages.append(PlacedStage(("phases", at, "increments", nth), stage, is_last and final))
    return stages


def _policy(schedule: Schedule) -> tuple[Policy, Places]:
    guardrails, places = list(schedule.guardrails), dict[Path, Path]()
    stages: list[Stage] = []
    asked = {guardrail.when.meaning for guardrail in guardrails}
    for at, phase in enumerate(schedule.phases):
        for nth, when in enumerate(phase.pause_conditions):
            if when.meaning not in asked:
                places |= {
                    ("guardrails", len(guardrails), part): ("phases", at, "pause_conditions", nth)
                    for part in ("when", "then")
                }
                guardrails.append(Guardrail(when=when, then=Action.PAUSE))
                asked.add(when.meaning)
        for path, stage, _ in _stages(at, phase, is_last=False):
            places |= {
                ("stages", len(stages), part): ("phases", at, STAGE_FIELDS.get(part, part))
                for part in ("for", "until", "name", "users", "size", "start")
            }
            places["stages", len(stages), "share"] = path
            stages.append(stage)
    terms = {name: getattr(schedule, name) for name in Terms.model_fields}
    policy = Policy(
        **(terms | {"flag": schedule.rollout, "guardrails": tuple(guardrails), "stages": tuple(stages)})
    )
    return policy, places
