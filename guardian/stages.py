"""Stages as people write them: who gets the variations, how long, and what is wrong between stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

from pydantic import AliasChoices, ConfigDict, Field, StrictInt, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from guardian.documents import Finding
from guardian.errors import Path
from guardian.fields import Document, Duration, Share, Start, Until, Word, percent_text, share_of
from guardian.timetable import moment_text

LEAVE = "this stage would never be left; add for: 1h, until: or approval: to it"


def _ring_schema(schema: dict[str, Any]) -> None:
    """Both words for a ring; a share is needed where there is none."""
    schema["properties"]["ring"] = schema["properties"]["users"]
    schema["required"].remove("share")
    schema["anyOf"] = [{"required": [name]} for name in ("share", "users", "ring")]


class Stage(Document):
    """
    One share of the traffic, in (0, 1]; of the ring *users*, where one is named: all of it, unless a share is given.

    It is left after *for_s* seconds, when every condition of *until* is shown, and when each group in
    *approval* has agreed.
    """

    model_config = ConfigDict(json_schema_extra=_ring_schema)

    share: Share = Field(examples=["10%"])
    for_s: Duration | None = Field(None, alias="for", examples=["1h"])
    until: Until = Field(None, examples=["error_rate < 1.1x control"])
    approval: tuple[Word, ...] = ()
    name: Word | None = None
    users: Word | None = Field(
        None,
        validation_alias=AliasChoices("users", "ring"),
        examples=["employees"],
        description="A ring: a named group of users, defined beside the flags; also written ring:",
    )
    size: Annotated[StrictInt, Field(ge=1, examples=[500])] | None = Field(
        None, description="How many users the ring has, for people"
    )
    start: Start | None = Field(None, examples=["2024-11-15 09:00 UTC"], description="Neither entered nor left before")

    @model_validator(mode="before")
    @classmethod
    def _whole_ring(cls, given: Any, info: ValidationInfo) -> Any:
        """Without a share a ring gets it whole."""
        if isinstance(given, dict) and "share" not in given and given.keys() & {"users", "ring"}:
            return {**given, "share": "100%" if info.context is not None else 1.0}
        return given


class PlacedStage(NamedTuple):
    """A stage, where its share is written, and whether it is the last one, which need not be left."""

    path: Path
    stage: Stage
    is_last: bool


def stage_findings(stages: Iterable[PlacedStage], *, leave: str) -> Iterator[Finding]:
    """What is wrong between stages; *leave* tells how to leave one. Shares rise within a group of users."""
    before: dict[str | None, float] = {}
    for path, stage, is_last in stages:
        share, least = stage.share, before.get(stage.users, 0)
        if share <= least:
            yield path, percent_text(share), f"shares must rise; write more than the {percent_text(least)} before it"
        before[stage.users] = max(share, least)
        if not is_last and stage.for_s is None and stage.until is None and not stage.approval:
            yield path, percent_text(share), leave


def hold_back_findings(document: Mapping[str, Any], stages: Iterable[PlacedStage]) -> Iterator[Finding]:
    """Stages that take what the document wants to hold back; a group of users is no part of it."""
    try:
        kept = share_of(document["hold_back"])
    except (KeyError, PydanticCustomError):
        return  # there is none, or it is told in its own place
    for path, stage, _ in stages:
        if stage.users is None and stage.share > 1.0 - kept + 1e-9:
            said = f"leaves less than the {percent_text(kept)} to hold_back; write at most {percent_text(round(1.0 - kept, 9))}"
            yield path, percent_text(stage.share), said


def start_findings(stages: Iterable[PlacedStage]) -> Iterator[Finding]:
    """Starts that do not come after those of the stages before them."""
    before: datetime | None = None
    for path, stage, _ in stages:
        if stage.start is None:
            continue
        if before is not None and stage.start <= before:
            said = f"must be later than {moment_text(before)}, the start of a stage before it"
            yield (*path[:-1], "start"), moment_text(stage.start), said
        before = max(stage.start, before or stage.start)


def past_findings(stages: Sequence[Stage], now: datetime) -> Iterator[Finding]:
    """A calendar that is over: the latest start, if all that was planned from it on has passed at *now*."""
    starts = [(stage.start, at) for at, stage in enumerate(stages) if stage.start is not None]
    if not starts:
        return
    start, at = max(starts)
    ends = start + timedelta(seconds=sum(stage.for_s or 0.0 for stage in stages[at:]))
    if ends < now:
        said = f"lies in the past, and what was planned from it on ended at {moment_text(ends)}; write starts to come, or none"
        yield ("stages", at, "start"), moment_text(start), said
