"""Promises of the fold about the other flags that outcomes ran under: what is counted, and that it stays little."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from guardian.plan import Plan
from guardian.summaries import FlagSums
from streams.fold import Fold
from streams.folding import companies
from streams.folding.companies import FLAGS_MAX
from streams.folding.company import COMPANIONS_MAX, VARIATIONS_MAX
from tests.support.events import NOON_MS, exposure, feedback, line, outcome

WATCHED = Plan(company=True)


def watching(*flags: str) -> Fold:
    fold = Fold("t/0")
    fold.plans = {f"production|{flag}": WATCHED for flag in flags}
    return fold


def under(flags: Mapping[str, str], **given: Any) -> Any:
    return line(outcome(dict(flags), time=NOON_MS, latency_ms=0, **given))


def company_of(found: list[FlagSums], flag: str) -> dict[str, dict[str, dict[str, tuple[int, int]]]]:
    """Return what the one tick of a flag tells."""
    (sums,) = [one for one in found if one.key == f"production|{flag}"]
    (tick,) = sums.ticks
    return tick.company


def test_outcomes_are_counted_by_what_they_ran_under() -> None:
    """Each of two flags says how outcomes ended by its own variation and by the other's; weights count."""
    fold = watching("a", "b")
    fold.take(
        [
            under({"a": "t", "b": "on"}, outcome="error"),
            under({"a": "t", "b": "on"}, sampledrate=3),
            under({"a": "t", "b": "off"}, outcome="error", sampledrate=2),
            under({"a": "c", "b": "off"}),
        ],
        NOON_MS,
    )
    found = fold.flush()

    assert {"b": {"c": {"off": (1, 0)}, "t": {"off": (2, 2), "on": (4, 1)}}} == company_of(found, "a")
    assert {"a": {"off": {"c": (1, 0), "t": (2, 2)}, "on": {"t": (4, 1)}}} == company_of(found, "b")


def test_nothing_is_told_of_a_flag_that_runs_alone() -> None:
    """Alone means without another watched flag: others do not count, nor do exposures and feedback."""
    fold = watching("a", "b")
    fold.take(
        [
            under({"a": "t"}),
            under({"a": "t", "unwatched": "on"}),
            under({"b": "t", "unwatched": "on"}),
            line(exposure("a", "t", time=NOON_MS)),
            line(feedback(time=NOON_MS, flags={"a": "t", "b": "on"})),
        ],
        NOON_MS,
    )

    assert all(not tick.company for sums in fold.flush() for tick in sums.ticks)


def test_who_is_watched_may_change() -> None:
    """Other plans count for the events that come then; a setting that was known is read again."""
    fold = watching("a")
    both = {"a": "t", "b": "on"}
    fold.take([under(both)], NOON_MS)
    fold.plans = {"production|a": WATCHED, "production|b": WATCHED}
    fold.take([under(both)], NOON_MS)
    assert {"b": {"t": {"on": (1, 0)}}} == company_of(fold.flush(), "a")
    fold.plans = {"production|b": WATCHED}
    fold.take([under(both)], NOON_MS)

    assert {} == company_of(fold.flush(), "a")


def test_what_was_taken_back_is_counted_once() -> None:
    """After a rollback, also one behind other plans, the same events give the same counts."""
    fold = watching("a", "b")
    fold.flush()
    point = fold.savepoint()
    given = [under({"a": "t", "b": "on"}, outcome="error", id=str(number)) for number in range(5)]
    fold.take(given, NOON_MS)
    first = company_of(fold.flush(), "a")
    fold.plans = {"production|c": WATCHED}
    fold.rollback(point)
    fold.plans = {"production|a": WATCHED, "production|b": WATCHED}
    fold.take(given, NOON_MS)

    assert {"b": {"t": {"on": (5, 5)}}} == first == company_of(fold.flush(), "a")


def test_the_flags_that_share_most_are_told() -> None:
    """Of more flags than are told in a flush, those are that share most outcomes with it."""
    many = COMPANIONS_MAX + 4
    fold = watching("a", *(f"f{number:02}" for number in range(many)))
    fold.take([under({"a": "t", f"f{number:02}": "on"}) for number in range(many) for _ in range(number + 1)], NOON_MS)

    assert [f"f{number:02}" for number in range(4, many)] == sorted(company_of(fold.flush(), "a"))


def test_the_commonest_variations_are_told() -> None:
    """Of more variations than are told of a flag, those are that share most outcomes."""
    many = VARIATIONS_MAX + 3
    fold = watching("a", "b")
    fold.take([under({"a": "t", "b": f"v{number:02}"}) for number in range(many) for _ in range(number + 1)], NOON_MS)

    assert [f"v{number:02}" for number in range(3, many)] == sorted(company_of(fold.flush(), "a")["b"]["t"])


def test_of_too_many_flags_in_one_outcome_the_same_are_left_out() -> None:
    """Under more watched flags than are seen together, each source chooses the same ones, whatever their order."""
    names = [f"f{number:02}" for number in range(FLAGS_MAX + 5)]
    found = []
    for _ in range(3):
        random.Random(7).shuffle(names)
        fold = watching(*names)
        fold.take([under(dict.fromkeys(names, "on"))], NOON_MS)
        found.append({sums.key: sorted(sums.ticks[0].company) for sums in fold.flush()})

    assert found[0] == found[1] == found[2]
    assert FLAGS_MAX == sum(bool(told) for told in found[0].values())
    assert {FLAGS_MAX - 1} == {len(told) for told in found[0].values() if told}


def test_combinations_are_forgotten_when_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most that are told apart, new combinations are not counted until the next flush; then they are."""
    monkeypatch.setattr(companies, "COMPANIES_MAX", 4)
    fold = watching("a", "b")
    given = [under({"a": "t", "b": f"v{number}"}) for number in range(8)]
    fold.take(given, NOON_MS)
    first = company_of(fold.flush(), "a")
    fold.take(given[5:], NOON_MS)

    assert {"v0", "v1", "v2"} == set(first["b"]["t"])
    assert {"v5", "v6", "v7"} == set(company_of(fold.flush(), "a")["b"]["t"])
