from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from guardian.decisions import Refusal
from guardian.incidents import News
from streams.alerts.messages import of_decision, of_receipt, of_refusal
from streams.alerts.routing import Quiet, Route, Routing
from tests.support.published import decision, receipt

NOW = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)
NIGHT = Quiet(time(22), time(7), ZoneInfo("UTC"))


def news(status: str = "decided", **more) -> News:
    of = decision(at_ms=1_764_000_000_000, **more)
    return of_decision(of) if status == "decided" else of_receipt(receipt(of, status), of)


@pytest.mark.parametrize(
    ("given", "level"),
    [
        (news(), "page"),
        (news(action="kill_flag"), "page"),
        (news(owner=""), "chat"),
        (news(environment="staging"), "chat"),
        (news("failed", environment="staging-eu"), "chat"),
        (news("failed"), "page"),
        (news("waiting"), "page"),
        (news("not_effective"), "page"),
        (news("not_effective", owner=""), "page"),
        (news("applied"), "log"),
        (news("effective"), "log"),
        (news("failed", action="pause"), "chat"),
        (news(action="pause"), "chat"),
        (news(action="step_back"), "chat"),
        (news(action="hold"), "chat"),
        (news(action="alert"), "chat"),
        (news(action="complete"), "chat"),
        (news(action="advance"), "log"),
        (news(action="resume"), "log"),
        (news(mode="shadow"), "log"),
        (news(action="pause", mode="shadow"), "log"),
        (of_refusal(Refusal(topic="t", partition=0, offset=1, reason="not signed"), "2026-11-21T01:00:00Z"), "page"),
    ],
)
def test_how_loud_things_are_where_no_route_is_written(given, level):
    """
    Kills that are meant page, as does what became of them if that is not good; what people should read is chatted; all
    else is only logged. Where things are tried, and in shadow mode, nobody is woken.
    """
    assert (level, ()) == Routing().of(given, NOW)


@pytest.mark.parametrize(
    ("route", "fits"),
    [
        (Route("chat"), True),
        (Route("chat", action=("kill*",)), True),
        (Route("chat", action=("pause", "kill")), True),
        (Route("chat", action=("pause",)), False),
        (Route("chat", environment=("prod*",), owner=("team-?heckout",)), True),
        (Route("chat", environment=("prod*",), owner=("shop",)), False),
        (Route("chat", status=("decided",), mode=("enforce",)), True),
        (Route("chat", status=("failed",)), False),
    ],
)
def test_which_routes_fit(route, fits):
    """
    Every field that is written must match one of its globs; one that is not written matches anything.
    """
    assert fits is route.fits(news())


def test_the_first_route_that_fits_counts():
    """
    Routes are asked in their order, and before the defaults, which stay for what none of them fits.
    """
    routing = Routing((
        Route("page", to=("pagerduty",), action=("kill",), owner=("team-*",)),
        Route("chat", to=("slack",), action=("kill",)),
    ))  # fmt: skip

    assert ("page", ("pagerduty",)) == routing.of(news(), NOW)
    assert ("chat", ("slack",)) == routing.of(news(owner="shop"), NOW)
    assert ("chat", ()) == routing.of(news(action="pause"), NOW)


def test_shadow_mode_pages_nobody():
    """
    Whatever a route says, what only would have been done wakes nobody.
    """
    assert ("chat", ("pagerduty",)) == Routing((Route("page", to=("pagerduty",)),)).of(news(mode="shadow"), NOW)


@pytest.mark.parametrize(
    ("given", "level"),
    [
        (news(action="pause"), "log"),
        (news(), "page"),
        (news(owner=""), "chat"),
        (news("failed", environment="staging"), "chat"),
        (news("waiting"), "page"),
    ],
)
def test_quiet_hours_silence_neither_pages_nor_kills(given, level):
    """
    At night what would be chatted is only logged, and through no channel that a route names; kills and pages come.
    """
    routing = Routing((Route("chat", to=("slack",), action=("pause",)),), NIGHT)

    assert (level, ()) == routing.of(given, NOW)
    assert ("chat", ("slack",)) == routing.of(news(action="pause"), NOW.replace(hour=12))


@pytest.mark.parametrize(
    ("begins", "ends", "zone", "hour", "quiet"),
    [
        (22, 7, "UTC", 22, True),
        (22, 7, "UTC", 6, True),
        (22, 7, "UTC", 7, False),
        (22, 7, "UTC", 21, False),
        (1, 5, "UTC", 5, False),
        (1, 5, "UTC", 1, True),
        (22, 7, "America/New_York", 11, True),
        (22, 7, "America/New_York", 13, False),
    ],
)
def test_when_it_is_quiet(begins, ends, zone, hour, quiet):
    """
    Quiet hours count by the clock of their zone, from their beginning to before their end, over midnight too.
    """
    hours = Quiet(time(begins), time(ends), ZoneInfo(zone))

    assert quiet is hours.holds(NOW.replace(hour=hour, minute=0))
    assert replace(hours, begins=time(hour), ends=time(hour)).holds(NOW.replace(hour=hour)) is False
