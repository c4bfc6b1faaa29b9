"""Who is told what, and when: routes, quiet hours, the schedule of an incident, what stands in when a channel fails."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from guardian.conditions import parse_duration
from guardian.errors import ConditionError, wrong
from guardian.incidents import Schedule
from streams.alerts.routing import Quiet, Route, Routing
from streams.fields import Seconds, Section, Strings, items
from streams.settings.channels import Address, Channels


def _channel(value: str) -> str:
    known = Channels.model_fields
    if value not in known:
        raise wrong(f"{value!r} is no channel; write one of {', '.join(known)}")
    return value


def _duration(value: str) -> str:
    try:
        parse_duration(value)
    except ConditionError as error:
        raise wrong(f"{value!r} is no duration: {error}") from None
    return value


def _time(value: Any) -> Any:
    # YAML takes 22:00 for a number in base sixty: 1,320.
    if isinstance(value, int) and 0 <= value < 24 * 60:
        return f"{value // 60:02}:{value % 60:02}"
    try:
        if isinstance(value, str) and value:
            time.fromisoformat(value)
    except ValueError:
        raise wrong(f"{value!r} is no time of day; write one like 22:00") from None
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise wrong(f"{value!r} is no time zone known here; write one like Europe/Berlin, or UTC") from None
    return value


ChannelNames = Annotated[tuple[Annotated[str, AfterValidator(_channel)], ...], BeforeValidator(items)]
Duration = Annotated[str, AfterValidator(_duration)]
"""Written ``90s``, ``15m``, ``1h``."""
TimeOfDay = Annotated[str, BeforeValidator(_time)]


class RouteGiven(Section):
    """One route: each field that is written, a glob or a list of them, must match."""

    level: Literal["page", "chat", "log"]
    to: ChannelNames = ()
    action: Strings = ()
    environment: Strings = ()
    mode: Strings = ()
    owner: Strings = ()
    status: Strings = ()


class QuietGiven(Section):
    """Hours in which nobody is chatted to; without a beginning and an end there are none."""

    begins: TimeOfDay = Field("", alias="from")
    ends: TimeOfDay = Field("", alias="to")
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"

    @model_validator(mode="after")
    def _both(self) -> QuietGiven:
        if bool(self.begins) != bool(self.ends):
            raise wrong("from and to go together; write both or neither")
        return self


class Heartbeat(Section):
    """An address that is called for as long as all is well; without one there is none."""

    url: Address = ""
    every_s: Seconds = 60.0
    method: Literal["GET", "POST"] = "POST"


class Flow(Section):
    """What of the alerts is about no single channel."""

    routes: tuple[RouteGiven, ...] = ()
    quiet: QuietGiven = QuietGiven()
    stakeholders: ChannelNames = ()
    stakeholders_after: Duration = "15m"
    status_every: Duration = "1h"
    fallback: ChannelNames = ()
    unreachable_after_s: Seconds = 30.0
    page_url: Address = ""
    heartbeat: Heartbeat = Heartbeat()

    @property
    def schedule(self) -> Schedule:
        """When an incident that is still open is told of."""
        return Schedule(parse_duration(self.stakeholders_after), parse_duration(self.status_every))

    @property
    def routing(self) -> Routing:
        """The routes and the quiet hours."""
        quiet = self.quiet
        return Routing(
            tuple(Route(**one.model_dump()) for one in self.routes),
            Quiet(time.fromisoformat(quiet.begins), time.fromisoformat(quiet.ends), ZoneInfo(quiet.zone))
            if quiet.begins
            else None,
        )

    @property
    def named_channels(self) -> dict[str, tuple[str, ...]]:
        """The channels that each setting names."""
        routes = {f"alerts.routes[{number}].to": one.to for number, one in enumerate(self.routes)}
        return {**routes, "alerts.stakeholders": self.stakeholders, "alerts.fallback": self.fallback}


class Alerts(Flow, Channels):
    """Who is told."""
