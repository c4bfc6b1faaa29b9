"""Schedules: a plan by phases is a policy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from guardian.conditions import parse_condition
from guardian.errors import PolicyError
from guardian.policy import Action, Guardrail, Policy, Stage
from guardian.schedule import parse_document
from tests.guardian.policy.examples import DECLARATIONS, SCHEDULE, SIMPLE, STEPPING

DAY_S = 86400.0


def read(text: str, **changes: Any) -> Policy:
    policy, _ = parse_document(yaml.safe_load(text) | changes)
    return policy


def told(document: object) -> list[tuple[str, str]]:
    with pytest.raises(PolicyError) as caught:
        parse_document(document)
    return [(problem.field, problem.right) for problem in caught.value.problems]


def test_a_teams_schedule_loads_once_its_words_are_declared():
    """
    The schedule loads as it stands, given only what its own words mean.
    """
    policy = read(DECLARATIONS + SCHEDULE)

    conditions = ("zero_critical_issues", "search_quality_score > 0.85", "error_rate > 0.5%")
    no_issues, quality, errors = (parse_condition(text, policy.signals) for text in conditions)
    latency = parse_condition("search_latency_p95 > 300ms", policy.signals)
    standard = {"name": "Standard Rollout"}
    assert "production|new_search_algorithm" == policy.key
    assert (
        Guardrail(when=errors, then=Action.PAUSE),
        Guardrail(when=latency, then=Action.PAUSE),
    ) == policy.guardrails
    assert (
        Stage(
            share=1.0,
            for_s=2 * DAY_S,
            name="Internal",
            users="employees",
            size=500,
            start=datetime(2024, 11, 15, 9, tzinfo=UTC),
        ),
        Stage(
            share=1.0,
            for_s=3 * DAY_S,
            until=(no_issues, quality),
            name="Beta Users",
            users="beta_program",
            size=5000,
            start=datetime(2024, 11, 17, 9, tzinfo=UTC),
        ),
        Stage(share=0.05, for_s=1 * DAY_S, start=datetime(2024, 11, 20, 9, tzinfo=UTC), **standard),
        Stage(share=0.1, for_s=2 * DAY_S, **standard),
        Stage(share=0.25, for_s=4 * DAY_S, **standard),
        Stage(share=0.5, for_s=7 * DAY_S, **standard),
        Stage(share=1.0, **standard),
    ) == policy.stages


def test_a_schedule_travels_as_a_policy():
    """
    A schedule that was read is a policy like any other, and survives its journey.
    """
    policy = read(DECLARATIONS + SCHEDULE)

    assert policy == Policy.from_document(policy.to_document())


def test_unknown_words_say_how_to_declare_them():
    """
    Without declarations, each unknown word is refused with the line that would declare it.
    """
    latency = 'search_latency_p95: {of: latency_p95, where: {operation: "GET /search"}}'
    declared_by = {
        "phases[1].criteria[0]": 'zero_critical_issues: {means: "report_rate < 0.1%"}',
        "phases[1].criteria[1]": "search_quality_score: {measure: search_quality_score, range: [0, 1]}",
        "phases[2].pause_conditions[1]": latency,
    }

    problems = told(yaml.safe_load(SCHEDULE))
    advice = {field: right.partition("under signals:, for example ")[2] for field, right in problems}

    assert declared_by == advice


def test_the_advice_given_is_right():
    """
    Whoever follows the advice word by word ends with a schedule that loads.
    """
    document = yaml.safe_load(SCHEDULE)
    lines = [right.split("for example ")[1] for _, right in told(document)]

    document["signals"] = yaml.safe_load("\n".join(lines))

    assert "new_search_algorithm" == parse_document(document)[0].flag


def test_a_schedule_may_say_what_a_policy_says():
    """
    Environment, owner, budget and guardrails may stand in a schedule as in a policy.
    """
    kill = {"when": "error_rate > 2x control", "then": "kill"}

    policy = read(
        DECLARATIONS + SCHEDULE, environment="staging", owner="search", mode="shadow", guardrails=[kill]
    )

    assert ("staging", "search", "shadow") == (policy.environment, policy.owner, policy.mode)
    assert [Action.KILL, Action.PAUSE, Action.PAUSE] == [guardrail.then for guardrail in policy.guardrails]


def test_a_condition_of_two_phases_is_one_guardrail():
    """
    What two phases pause for is asked once, so it spends the budget once.
    """
    pauses = {"pause_conditions": ["error_rate > 1%"]}
    phases = [{"users": "employees", "duration": "1d"} | pauses, {"users": "everyone"} | pauses]

    policy, _ = parse_document({"rollout": "search", "phases": phases})

    assert ["error_rate > 1%"] == [guardrail.when.text for guardrail in policy.guardrails]


def test_a_policy_is_read_as_a_policy():
    """
    A document with `flag:` is no schedule, and a document with both is told so.
    """
    assert "checkout-v2" == read(SIMPLE).flag
    assert ["rollout"] == [field for field, _ in told(yaml.safe_load(SIMPLE) | {"rollout": "checkout-v2"})]


def phases(*given: dict[str, Any]) -> dict[str, Any]:
    return {
        "rollout": "search",
        "guardrails": [{"when": "error_rate > 5%", "then": "kill"}],
        "phases": [*given],
    }


def grows(*increments: object, **rest: Any) -> dict[str, Any]:
    return phases({"increments": [*increments]} | rest)


RING = {"users": "employees", "duration": "1d"}


@pytest.mark.parametrize(
    ("document", "field", "said"),
    [
        ({"rollout": "search"}, "phases", "is missing"),
        ({"rollout": "search", "phases": [RING]}, "phases", "nothing to watch"),
        (phases(), "phases", "is empty"),
        (phases(RING) | {"environment": "eu|prod"}, "environment", "no '|' in its name"),
        (phases({"duration": "1d"}), "phases[0]", "add users: NAME, or increments:"),
        (phases({"users": "everyone"}, RING), "phases[0]", "add duration: or criteria: to it"),
        (phases(RING | {"size": "some"}), "phases[0].size", "such as ~5,000"),
        (phases(RING | {"size": "~0"}), "phases[0].size", "must be at least 1; write size: ~5,000"),
        (phases(RING | {"start": "tomorrow"}), "phases[0].start", "such as 2024-11-15 09:00 UTC"),
        (phases(RING | {"strategy": "canary"}), "phases[0].strategy", "write one of ring_based, percentage"),
        (phases(RING | {"strategy": "percentage"}), "phases[0].strategy", "needs increments:"),
        (phases(RING | {"criterias": []}), "phases[0].criterias", "did you mean criteria?"),
        (
            phases(RING | {"criteria": ["error_rate > 1%"]}),
            "phases[0].criteria[0]",
            "because of a high error_rate",
        ),
        (phases(RING | {"pause_conditions": ["csat > 1"]}), "phases[0].pause_conditions[0]", "never harm"),
        (
            phases(RING | {"pause_conditions": ["error_rate > 5.0%"]}),
            "phases[0].pause_conditions[0]",
            "asked already",
        ),
        (
            phases(
                RING | {"start": "2024-11-15 09:00 UTC"},
                RING | {"start": "2024-11-15 10:00 +01:00", "users": "all"},
            ),
            "phases[1].start",
            "must be later than the 2024-11-15 09:00 UTC",
        ),
        (grows({"5": "Day 0"}), "phases[0].increments[0]", "with its percent sign, such as 5%"),
        (grows({"5%": "now"}), "phases[0].increments[0]", "such as 5%: Day 0"),
        (grows("5%"), "phases[0].increments[0]", "such as 5%: Day 0"),
        (grows({"5%": "Day 0", "9%": "Day 1"}), "phases[0].increments[0]", "one share and its day"),
        (grows({"5%": "Day 1"}), "phases[0].increments[0]", "write Day 0"),
        (grows({"5%": "Day 0"}, {"9%": "Day 0"}), "phases[0].increments[1]", "days must rise"),
        (grows({"5%": "Day 0"}, {"5%": "Day 1"}), "phases[0].increments[1]", "shares must rise"),
        (grows({"5%": "Day 0"}) | {"guardrails": STEPPING}, "guardrails[0].then", "no earlier stage"),
        (
            grows({"5%": "Day 0"}, {"9%": "Day 2"}, duration="48h"),
            "phases[0].duration",
            "ends before the Day 2",
        ),
    ],
)
def test_wrong_schedules_say_what_would_be_right(document: dict[str, Any], field: str, said: str):
    """
    What is wrong in a schedule is told with the schedule's own fields.
    """
    assert [(field, True)] == [(told_field, said in right) for told_field, right in told(document)], told(
        document
    )
