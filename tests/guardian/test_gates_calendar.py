"""What a stage waits for by the calendar: its start, freezes and hours; and how calendars are read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from guardian.errors import PolicyError
from guardian.policy import parse_policy
from guardian.timetable import Hours
from tests.support.staged import FREEZE, OPEN, SHUT, course, terms, utc, waits


def test_a_stage_is_not_left_before_the_start_of_its_plan():
    """
    A stage with a start is not left before it, however long it ran.
    """
    stages = [{"share": "10%", "for": "1s", "start": utc(20.0)}, {"share": "50%", "for": "1h"}]
    early, late = course(terms(stages), seconds=10.0), course(terms(stages))

    assert 20.0 <= late.when("advance") < 20.5
    assert [] == early.made
    assert ("waits until 14:13:40 UTC",) == waits(early)


@pytest.mark.parametrize(
    ("changes", "from_s", "said"),
    [
        (FREEZE, 20.0, "is frozen until 14:13:40 UTC"),
        (OPEN, 40.0, "waits until 14:14 UTC, for mon 16:14 to 17:00 Europe/Berlin"),
        (SHUT, None, "waits until 2026-09-22 07:00 UTC, for tue, wed, thu, fri 09:00 to 17:00 Europe/Berlin"),
    ],
)
def test_the_calendar_keeps_a_stage(changes: dict[str, Any], from_s: float | None, said: str):
    """
    A stage is not left in a freeze or out of hours, as the zone has them, and the rollout says until when.
    """
    stages = [{"share": "10%", "for": "5s"}, {"share": "50%", "for": "1h"}]
    early, late = (course(terms(stages, **changes), seconds=seconds) for seconds in (12.0, 45.0))

    assert [] == early.made
    assert (said,) == waits(early)
    assert [] == late.made if from_s is None else from_s <= late.when("advance") < from_s + 0.5


def test_harm_waits_for_no_calendar():
    """
    In a freeze, out of hours, in a cooldown and without approvals a harmful variation is killed at once.
    """
    stages = [{"share": "10%", "for": "5s", "approval": ["nobody"]}, {"share": "50%"}]
    asked = terms(stages, guardrails=[{"when": "error_rate > 5%", "then": "kill"}], cooldown="1h", **FREEZE, **SHUT)
    played = course(asked, errors=lambda variation, s: 0.5 if variation == "treatment" else 0.01)

    assert ["kill"] == [one.action for one in played.made]
    assert played.when("kill") < 5.0


def test_hours_follow_the_clocks_of_their_zone():
    """
    Nine o'clock is nine o'clock in winter and in summer, and the day is that of the zone.
    """
    hours = Hours.model_validate({"days": "mon-fri", "from": "09:00", "to": "24:00", "zone": "Europe/Berlin"})

    def opens(text: str) -> str | None:
        found = hours.opens(datetime.fromisoformat(f"{text}+00:00"))
        return None if found is None else f"{found:%Y-%m-%d %H:%M}"

    assert "2026-01-05 08:00" == opens("2026-01-02 23:00")
    assert "2026-07-06 07:00" == opens("2026-07-04 12:00")
    assert None is opens("2026-07-06 07:00")
    assert None is opens("2026-07-06 21:59")
    assert "2026-07-07 07:00" == opens("2026-07-06 22:00")


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"hours": SHUT["hours"] | {"zone": "Europe/Berlni"}}, "hours.zone", "did you mean Europe/Berlin?"),
        ({"hours": SHUT["hours"] | {"days": "mon-fry"}}, "hours.days", "write days such as mon-fri"),
        ({"hours": SHUT["hours"] | {"to": 1020}}, "hours.to", 'in quotes, such as "09:00"'),
        ({"hours": SHUT["hours"] | {"to": "08:00"}}, "hours", "write a later to:"),
        ({"freeze": [{"from": "2026-12-20 00:00 Mars/Base", "to": utc(0)}]}, "freeze[0].from", "is no time zone"),
        ({"freeze": [{"from": "2026-12-20 00:00", "to": utc(0)}]}, "freeze[0].from", "write a time with its zone"),
        ({"freeze": [{"from": utc(9.0), "to": utc(0.0)}]}, "freeze[0]", "write a later to:"),
        ({"hold_back": "60%"}, "stages[1].share", "write at most 40%"),
    ],
)
def test_wrong_calendars_say_what_would_be_right(changes: dict[str, Any], field: str, said: str):
    """
    Zones, days and times that do not exist are told at their field, and so is a stage that takes what is held back.
    """
    with pytest.raises(PolicyError) as caught:
        terms(**changes)

    assert [(field, True)] == [(one.field, said in one.right) for one in caught.value.problems]


def test_moments_are_kept_in_utc():
    """
    A moment in a zone is the same policy as its moment in UTC, so that every worker reads the same.
    """
    berlin = terms(freeze=[{"from": "2026-12-20 00:00 Europe/Berlin", "to": "2027-07-01 00:00 Europe/Berlin"}])

    expected = [{"from": "2026-12-19T23:00:00Z", "to": "2027-06-30T22:00:00Z"}]
    assert expected == berlin.to_document()["freeze"]
    assert berlin == parse_policy(berlin.to_document())
