"""Policies: read whole, told whole, and the same again after every journey."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given

from guardian.conditions import Absolute, Condition, Margin, Off, Relative, Signal, Silence, parse_condition
from guardian.errors import PolicyError
from guardian.policy import Action, FalseKills, Guardrail, Policy, Stage, parse_policy, policy_hash
from tests.guardian.policy.examples import EVERYTHING, SIMPLE, STEPPING
from tests.guardian.policy.strategies import documents, unhurried


def simple(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(SIMPLE)
    return document | changes


def told(document: object) -> list[tuple[str, str]]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(document)
    return [(problem.field, problem.right) for problem in caught.value.problems]


def kill_when(*conditions: str) -> list[dict[str, str]]:
    return [{"when": condition, "then": "kill"} for condition in conditions]


@unhurried
@given(documents)
def test_documents_survive_the_journey(document: dict[str, Any]):
    """
    A valid document is read whole and written again as it was.
    """
    assert document == parse_policy(document).to_document()


@unhurried
@given(documents)
def test_policies_travel_as_json(document: dict[str, Any]):
    """
    A policy that went through JSON is the same policy, with the same hash.
    """
    policy = parse_policy(document)

    travelled = Policy.from_document(json.loads(json.dumps(policy.to_document())))

    assert (policy, policy_hash(policy)) == (travelled, policy_hash(travelled))


def test_the_hash_names_the_content():
    """
    The hash is the same for every spelling of one content, differs with the content, and stays over time.
    """
    policy = parse_policy(simple())
    respelt = parse_policy(dict(reversed(simple(mode="enforce", false_kills={"per_day": 1e-3}).items())))
    other = parse_policy(simple(guardrails=kill_when("error_rate > 1.3x control")))

    known = "sha256:ff4929517af4032a3d9b2b7a70e7451b7d9a6d764d03a0c16b1a4b927ab90e29"
    assert known == policy_hash(policy)
    assert policy_hash(policy) == policy_hash(respelt)
    assert policy_hash(policy) != policy_hash(other)


def test_every_word_of_the_language_is_read():
    """
    The policy with every word in it is read whole, each into its plain value.
    """
    policy = parse_policy(yaml.safe_load(EVERYTHING))

    errors, p95 = Signal("error_rate", "error_rate"), Signal("latency_p95", "latency", 0.95)
    assert ("production|checkout-v2", "control", "team-checkout", "enforce", 1800.0) == (
        policy.key,
        policy.control,
        policy.owner,
        policy.mode,
        policy.cooldown_s,
    )
    assert FalseKills(per_rollout=0.001, per_day=0.001, per_step=0.001) == policy.false_kills
    assert [
        (errors, Relative(1.2), None, Action.KILL),
        (errors, Absolute(0.05, "proportion"), None, Action.KILL),
        (p95, Relative(2.0), None, Action.STEP_BACK),
        (p95, Absolute(300.0, "ms"), None, Action.PAUSE),
        (Signal("csat", "csat"), Margin(-0.3), None, Action.PAUSE),
        (Signal("report_rate", "report_rate"), Relative(2.0), None, Action.KILL),
        (errors, Absolute(0.05, "proportion"), 600.0, Action.KILL),
        (Signal("sample_ratio", "sample_ratio"), Off(), None, Action.PAUSE),
        (Signal("no_data", "no_data"), Silence(120.0), None, Action.PAUSE),
    ] == [(one.when.signal, one.when.bound, one.when.for_s, one.then) for one in policy.guardrails]
    until = Condition("error_rate < 1.1x control", errors, "<", Relative(1.1))
    assert (
        Stage(share=0.01, for_s=600.0),
        Stage(share=0.1, for_s=3600.0, until=(until,)),
        Stage(share=0.5, for_s=86400.0, approval=("release-managers",)),
        Stage(share=1.0),
    ) == policy.stages


def test_policies_are_built_from_plain_values_in_code():
    """
    Code builds the policy that people write, out of plain values.
    """
    built = Policy(
        flag="checkout-v2",
        environment="production",
        guardrails=(Guardrail(when=parse_condition("error_rate > 1.2x control"), then=Action.KILL),),
        stages=(Stage(share=0.1, for_s=3600.0), Stage(share=1.0)),
    )

    assert parse_policy(simple()) == built


def test_steps_are_allowed_what_the_start_is_allowed():
    """
    Without a word on steps, each change of the share may cost as many false kills as the start.
    """
    assert 0.01 == parse_policy(simple(false_kills={"per_rollout": 0.01})).false_kills.per_step


def test_the_strictest_action_is_the_greatest():
    """
    Actions compare by severity, mildest first.
    """
    mildest_first = [Action.ALERT, Action.HOLD, Action.PAUSE, Action.STEP_BACK, Action.KILL, Action.KILL_FLAG]

    strictest_first = [*reversed(mildest_first)]
    assert mildest_first == sorted(strictest_first)
    assert Action.KILL == max(Action.PAUSE, Action.KILL, Action.ALERT)
    assert Action.PAUSE <= Action.PAUSE < "kill"
    assert Action.KILL >= Action.KILL > "pause"


def test_every_problem_is_told_at_once():
    """
    Wrong fields, wrong conditions and what is wrong between fields are told together, whatever else is wrong.
    """
    document = simple(
        flag="",
        moode="enforce",
        owner=None,
        variations=["control", "new"],
        false_kills={"per_rollout": 5},
        guardrails=[
            {"when": "error_rate > 5ms", "then": "kill"},
            {"when": "error_rate > 5%", "then": "kil"},
            {"when": "error_rate > 5%", "then": "kill"},
            {"when": "error_rate > 5.0%", "then": "alert"},
            {"then": "kill"},
        ],
        stages=[{"share": "10%", "for": "1h"}, {"share": "5%"}, {"share": "100%", "for": 10}],
        signals={"quality": {"measure": "quality"}},
    )

    assert {
        "flag",
        "moode",
        "owner",
        "variations[0]",
        "false_kills.per_rollout",
        "guardrails[0].when",
        "guardrails[1].then",
        "guardrails[3].when",
        "guardrails[4].when",
        "stages[1].share",
        "stages[2].for",
        "signals.quality",
    } == {field for field, _ in told(document)}


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"flag": "a b"}, "flag", "write it without spaces"),
        ({"flag": True}, "flag", "put it in quotes; write flag: checkout-v2"),
        ({"environment": "eu|prod"}, "environment", "no '|' in its name"),
        ({"mode": "shaddow"}, "mode", "did you mean shadow? write one of enforce, shadow"),
        ({"mode": 3}, "mode", "write one of enforce, shadow"),
        ({"false_kills": 0.1}, "false_kills", 'write false_kills: {"per_rollout"'),
        ({"false_kills": {"per_day": 0}}, "false_kills.per_day", "must be above 0"),
        ({"false_kills": {"per_day": "1"}}, "false_kills.per_day", "is not a number; write per_day: 0.001"),
        ({"false_kills": {"per_day": float("inf")}}, "false_kills.per_day", "is not a number"),
        ({"guardrails": []}, "guardrails", "nothing would be watched"),
        ({"guardrails": {"when": 1}}, "guardrails", "is not a list"),
        (
            {"guardrails": [*kill_when("error_rate > 5%"), {"then": "kill"}]},
            "guardrails[1].when",
            "is missing; write when: error_rate",
        ),
        (
            {"guardrails": kill_when("error_rate > 2x control", "error_rate>2.0x baseline")},
            "guardrails[1].when",
            "asks the same as guardrails[0]",
        ),
        (
            {"guardrails": [{"when": "error_rate > 5%", "then": then} for then in ("pause", "kill")]},
            "guardrails[1].when",
            "asks the same as guardrails[0]; keep one of them",
        ),
        (
            {
                "guardrails": [
                    {"when": "error_rate > 2x control", "then": "pause"},
                    {"when": "error_rate > 1.2x control", "then": "kill"},
                ]
            },
            "guardrails[0].when",
            "never comes to act: guardrails[1] (error_rate > 1.2x control, then: kill) does more, and at less; change",
        ),
        (
            {"guardrails": [{"when": "csat < 4", "then": "kill"}, {"when": "csat < 3.5", "then": "alert"}]},
            "guardrails[1].when",
            "never comes to act: guardrails[0] (csat < 4, then: kill)",
        ),
        (
            {
                "stages": [
                    {"share": "5%", "for": "1h", "start": "2026-11-15 09:00 UTC"},
                    {"share": "9%", "start": "2025-11-16 09:00 UTC"},
                ]
            },
            "stages[1].start",
            "must be later than 2026-11-15 09:00 UTC, the start of a stage before it",
        ),
        (
            {"guardrails": [{"when": "error_rate > 5%", "then": "kill", "evaluate": "literal"}]},
            "guardrails[0].evaluate",
            "the literal rule needs a window; write when: error_rate > 5% for 10m",
        ),
        ({"stages": [{"share": 1}]}, "stages[0].share", "such as 1%"),
        ({"stages": [{"share": 0.5}]}, "stages[0].share", "such as 10%"),
        ({"stages": [{"share": "101%"}]}, "stages[0].share", "above 0% and within 100%"),
        ({"stages": [{"share": "0%"}]}, "stages[0].share", "above 0% and within 100%"),
        ({"stages": [{"share": "5%", "for": "1h"}, {"share": "5%"}]}, "stages[1].share", "shares must rise"),
        ({"stages": [{"share": "5%"}, {"share": "9%"}]}, "stages[0].share", "never be left; add for: 1h"),
        ({"guardrails": STEPPING, "stages": []}, "guardrails[0].then", "no earlier stage to step back to"),
        ({"guardrails": STEPPING, "stages": [{"share": "5%"}]}, "guardrails[0].then", "write then: pause"),
        (
            {"stages": [{"share": "5%", "until": "error_rate > 5%"}]},
            "stages[0].until",
            "because of a high error_rate",
        ),
        ({"stages": [{"share": "5%", "until": []}]}, "stages[0].until", "is empty"),
        (
            {"stages": [{"share": "5%", "until": ["nps > 3", "x"]}]},
            "stages[0].until[1]",
            "'x' is not a signal",
        ),
        (
            {"stages": [{"share": "5%", "start": "2024-11-15"}]},
            "stages[0].start",
            "such as 2024-11-15 09:00 UTC",
        ),
        (
            {"stages": [{"share": "5%", "start": "0001-01-01 00:00+12:00"}]},
            "stages[0].start",
            "outside of the calendar",
        ),
        ({"stages": [{"share": "5%", "four": "1h"}]}, "stages[0].four", "did you mean for?"),
        ({"stages": [{"share": "5%", "for_s": 3}]}, "stages[0].for_s", "is not known here"),
        ({"stages": [None]}, "stages[0]", "is empty"),
        ({"cooldown": 30}, "cooldown", "a duration such as 90s"),
        ({"cooldown": ""}, "cooldown", "a duration such as 90s"),
        ({"variations": ["new", "new"]}, "variations[1]", "is listed twice"),
        ({"control": "old", "variations": ["old"]}, "variations[0]", "is the control"),
        ({"min_units": 0}, "min_units", "must be at least 1"),
        ({"min_units": 1.5}, "min_units", "is not a whole number"),
        ({"unit_cluster": 0.5}, "unit_cluster", "must be at least 1"),
        ({"signals": {"Quality": {"means": "nps > 3"}}}, "signals.Quality", "small letters"),
        ({"signals": {"error_rate": {"means": "nps > 3"}}}, "signals.error_rate", "is a built-in signal"),
        ({"signals": {"good": {"means": "nps"}}}, "signals.good.means", "compare nps by one of"),
        ({"signals": {"good": {"of": "nps"}}}, "signals.good", "{of: latency_p95, where: {operation: NAME}}"),
        ({"signals": {"good": {"of": "np", "where": {"a": "b"}}}}, "signals.good.of", "'np' is not a signal"),
        (
            {"signals": {"good": {"of": "no_data", "where": {"a": "b"}}}},
            "signals.good.of",
            "cannot be narrowed",
        ),
        (
            {"signals": {"good": {"measure": "m", "range": [1, 0]}}},
            "signals.good.range",
            "the range must rise",
        ),
        ({"signals": {"good": {"measure": "m", "range": [1]}}}, "signals.good.range[1]", "is missing"),
    ],
)
def test_wrong_fields_say_what_would_be_right(changes: dict[str, Any], field: str, said: str):
    """
    What is wrong in one field is told once, with that field's name and what would be right.
    """
    ((told_field, told_right),) = told(simple(**changes))

    assert (field, True) == (told_field, said in told_right), told_right


def test_a_wrong_declaration_is_told_once():
    """
    A signal that is declared wrongly is told where it is declared, not again wherever it is used.
    """
    document = simple(
        signals={"quality": {"measure": "quality"}, "good": {"means": "quality > 0.8"}},
        guardrails=kill_when("quality < 0.8", "good"),
        stages=[{"share": "10%", "until": "good"}],
    )

    assert ["signals.quality"] == [field for field, _ in told(document)]


@pytest.mark.parametrize(
    "document", [None, [], "flag", 3, {}, {"flag": {"a": 1}}, {"guardrails": [[[[[[[]]]]]]]}]
)
def test_anything_else_is_a_policy_error(document: object):
    """
    Whatever comes in place of a policy is a PolicyError with at least one problem.
    """
    assert told(document)


def test_bottomless_documents_are_refused():
    """
    A document of endless levels is refused like any other wrong one.
    """
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    assert [("", "is not a mapping of few levels; a policy starts with flag: NAME")] == told({"flag": deep})


@pytest.mark.parametrize(
    "guardrails",
    [
        [{"when": "error_rate > 1.2x control", "then": "pause"}, {"when": "error_rate > 2x control", "then": "kill"}],
        [{"when": "error_rate > 1.2x control", "then": "hold"}, {"when": "error_rate > 2x control", "then": "alert"}],
        [{"when": "error_rate > 5%", "then": "pause"}, {"when": "error_rate > 1.2x control", "then": "kill"}],
        [{"when": "csat < 3 for 10m", "then": "pause", "evaluate": "literal"}, {"when": "csat < 4", "then": "kill"}],
        [{"when": "error_rate > 9%", "then": "pause", "segments": ["plan"]}, {"when": "error_rate > 5%", "then": "kill"}],
    ],
)
def test_guardrails_that_may_each_come_to_act_are_no_contradiction(guardrails: list[dict[str, Any]]):
    """
    Doing more at more, telling of worse after a hold, other bounds, windows and segments: all of it has its use.
    """
    policy = parse_policy({"flag": "f", "environment": "production", "guardrails": guardrails})

    assert 2 == len(policy.guardrails)
