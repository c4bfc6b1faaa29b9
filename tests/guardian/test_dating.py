"""One worker's clock that is wrong does not blind the guardian: no entry is dated later than Kafka kept it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import pytest

from guardian.dating import AHEAD_MS, dated
from guardian.journal import Beat, Entry, Override, Summary
from tests.support.courses import Course, told
from tests.support.sums import World
from tests.support.traffic import KEY, T0_MS, Traffic, entries, policy

SLOW = [{"when": "latency_p95 > 1.2x control", "then": "kill"}]
HOUR_S = 3_600.0


def kept(given: Iterable[Entry], from_s: float, to_s: float, ahead_s: float) -> Iterator[tuple[Entry, int]]:
    """Entries of which those of a while were written by a clock that is ahead, each with when it was kept."""
    for entry in given:
        kept_ms, ahead_ms = entry.at_ms, round(ahead_s * 1_000)
        if isinstance(entry, Summary | Beat) and from_s * 1_000 <= kept_ms - T0_MS < to_s * 1_000:
            entry = msgspec.structs.replace(entry, at_ms=kept_ms + ahead_ms, passed_ms=entry.passed_ms + ahead_ms)  # noqa: PLW2901
        yield entry, kept_ms


def slow_since_20s() -> list[Entry]:
    world = World(seconds=40.0, latency_ms=lambda variation, s: 300.0 if variation == "treatment" and s >= 20.0 else 100.0)
    return [told(policy(guardrails=SLOW)), *world.entries()]


@pytest.mark.parametrize(("from_s", "to_s"), [(10.0, 12.0), (10.0, 60.0), (-1.0, 60.0)], ids=["2 s", "since then", "always"])
def test_a_clock_that_is_an_hour_ahead_delays_nothing(from_s: float, to_s: float):
    """Stamped by brokers, entries of a clock that is an hour ahead lead to the same kill at the same time."""
    calm = Course().play(slow_since_20s())
    course = Course().play(dated(entry, kept_ms) for entry, kept_ms in kept(slow_since_20s(), from_s, to_s, HOUR_S))

    assert ["kill"] == [one.action for one in calm.made]
    assert [(one.action, one.decided_at) for one in calm.made] == [(one.action, one.decided_at) for one in course.made]


def test_unstamped_it_takes_an_hour():
    """What this is for: with writers' own times, two seconds of that clock leave a slow treatment alone for an hour."""
    course = Course().play(dated(entry, None) for entry, _ in kept(slow_since_20s(), 10.0, 12.0, HOUR_S))

    assert [] == course.made


def late(seconds: float) -> list[Entry]:
    """Traffic whose requests take so long before they are heard of."""
    latency_ms = lambda rng, variation, failed: 1_000.0 * seconds  # noqa: E731
    return [told(policy()), *entries(Traffic(seconds=20.0, latency_ms=latency_ms).requests(), exposures=True)]


def test_what_comes_too_late_to_be_waited_for_is_told():
    """Where outcomes come later than the lag may be, the rollout says so; where they come within it, it has nothing to say."""
    note = Course().play(late(16.0)).bank.view(KEY).note

    assert note.startswith("100 % of its outcomes come later than the 15 s that are waited for")
    assert "" == Course().play(late(12.0)).bank.view(KEY).note


def test_what_is_told_is_dated_back_and_no_more():
    """The time, and what was passed by that clock; an event time that was reached behind the end stays; so do small leads."""
    whole = Summary(source="w/0", at_ms=1_000_000, passed_ms=999_900, offsets=[1, 2])
    behind = Beat(source="w/0", at_ms=1_000_000, passed_ms=300_000)
    wish = Override(at_ms=1_000_000, key=KEY, action="pause")
    kept_ms = 1_000_000 - AHEAD_MS - 1

    assert (kept_ms, kept_ms - 100, [1, 2]) == _told(dated(whole, kept_ms))
    assert (kept_ms, 300_000) == _told(dated(behind, kept_ms))
    assert kept_ms == dated(wish, kept_ms).at_ms
    for entry in (whole, behind, wish):
        assert entry is dated(entry, kept_ms + 1)
        assert entry is dated(entry, None)


def _told(entry: Entry) -> tuple[object, ...]:
    assert isinstance(entry, Summary | Beat)
    return (entry.at_ms, entry.passed_ms, entry.offsets) if isinstance(entry, Summary) else (entry.at_ms, entry.passed_ms)
