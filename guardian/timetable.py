"""
When a rollout may go on by the calendar: freeze windows, business hours, and moments with their time zone.

Moments are kept in UTC, so that what is in the journal means the same to every worker. Business hours recur, and
are kept in the zone in which people work: 09:00 is 09:00 in winter and in summer.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from difflib import get_close_matches
from typing import Annotated, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from guardian.errors import wrong

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = "24:00"
DAYS_AHEAD = 8
"""Within so many days every timetable opens again; one more for zones that change their offset."""


def zone_of(name: object) -> str:
    """Return a time zone's name as it is; a problem for one that does not exist."""
    if isinstance(name, str):
        try:
            ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            near = get_close_matches(name, available_timezones(), n=1, cutoff=0.6)
            better = f"did you mean {near[0]}?" if near else "write one such as Europe/Berlin"
            raise wrong(f"{name!r} is no time zone; {better}") from None
        return name
    raise wrong("write a time zone such as Europe/Berlin")


def moment_of(value: object) -> datetime:
    """``2024-11-15 09:00 UTC``, ``... Europe/Berlin``, or RFC 3339; always with its zone, kept in UTC."""
    if isinstance(value, str):
        value = _written(value.strip())
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise wrong("write a time with its zone, such as 2024-11-15 09:00 UTC")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise wrong("this time lies outside of the calendar") from None


def moment_text(at: datetime) -> str:
    """A moment in UTC as people write it: ``2024-11-15 09:00 UTC``."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _written(text: str) -> datetime | None:
    named = re.fullmatch(r"(.*\S)\s+([A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+)", text, re.ASCII)
    zone = ZoneInfo(zone_of(named[2])) if named is not None else None
    try:
        if named is not None:
            return datetime.fromisoformat(named[1]).replace(tzinfo=zone)
        return datetime.fromisoformat(re.sub(r"\s*(UTC|Z)$", "+00:00", text))
    except ValueError:
        return None


def _days(value: object) -> tuple[str, ...]:
    """``mon-fri``, ``mon, wed, sat-sun``: the days, in the order of the week."""
    found: set[str] = set()
    for part in re.split(r"\s*,\s*", value.strip().lower()) if isinstance(value, str) else [""]:
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise wrong("write days such as mon-fri, or mon, wed, fri")
        at, end = DAYS.index(first), DAYS.index(last or first)
        found |= {DAYS[(at + i) % 7] for i in range((end - at) % 7 + 1)}
    return tuple(day for day in DAYS if day in found)


def _clock(value: object) -> str:
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value, re.ASCII) if isinstance(value, str) else None
    if value == MIDNIGHT:
        return MIDNIGHT
    if match is None:
        raise wrong('write a time of the day in quotes, such as "09:00"')
    return f"{int(match[1]):02}:{match[2]}"


Moment = Annotated[
    datetime,
    BeforeValidator(moment_of),
    PlainSerializer(lambda at: at.isoformat().replace("+00:00", "Z"), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["2024-11-15 09:00 UTC", "2024-11-15 09:00 Europe/Berlin"]}),
]
Zone = Annotated[str, BeforeValidator(zone_of), Field(examples=["Europe/Berlin"])]
Clock = Annotated[str, PlainValidator(_clock), WithJsonSchema({"type": "string", "examples": ["09:00"]})]
Days = Annotated[
    tuple[str, ...],
    PlainValidator(lambda value: value if isinstance(value, tuple) else _days(value)),
    PlainSerializer(", ".join, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["mon-fri"]}),
]


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class Freeze(_Written):
    """A time in which no rollout goes on: from *since* until just before *to*."""

    since: Moment = Field(alias="from", examples=["2026-12-20 00:00 Europe/Berlin"])
    to: Moment = Field(examples=["2027-01-02 00:00 Europe/Berlin"])

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.to <= self.since:
            raise wrong("a freeze ends after it begins; write a later to:")
        return self

    def ends(self, at: datetime) -> datetime | None:
        """Return when the freeze that ``at`` lies in is over; None outside of it."""
        return self.to if self.since <= at < self.to else None


class Hours(_Written):
    """The hours of the week in which somebody is there: a rollout goes on only in these."""

    days: Days = Field(DAYS[:5], examples=["mon-fri"])
    since: Clock = Field(alias="from", examples=["09:00"])
    to: Clock = Field(examples=["17:00"])
    zone: Zone

    @model_validator(mode="after")
    def _opens(self) -> Self:
        if self.to <= self.since:
            raise wrong("the hours of a day end after they begin; write a later to:")
        return self

    def opens(self, at: datetime) -> datetime | None:
        """Return when the hours begin again; None while they last."""
        here = at.astimezone(ZoneInfo(self.zone))
        for ahead in range(DAYS_AHEAD + 1):
            day = (here + timedelta(days=ahead)).date()
            if DAYS[day.weekday()] not in self.days:
                continue
            begins, ends = (self._moment(datetime.combine(day, time()), clock) for clock in (self.since, self.to))
            if at < ends:
                return None if at >= begins else begins
        raise AssertionError(f"hours {self!r} never open")

    def _moment(self, day: datetime, clock: str) -> datetime:
        hour, minute = (int(part) for part in clock.split(":"))
        local = day + timedelta(days=1) if clock == MIDNIGHT else day.replace(hour=hour, minute=minute)
        return local.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)

    @property
    def text(self) -> str:
        """The hours as people read them."""
        return f"{', '.join(self.days)} {self.since} to {self.to} {self.zone}"

