"""What this version cannot run is said, never ignored."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given

from guardian.conditions import parse_condition
from guardian.policy import parse_policy
from guardian.schedule import parse_document
from guardian.support import unsupported
from tests.guardian.policy.examples import DECLARATIONS, EVERYTHING, SCHEDULE, SIMPLE
from tests.guardian.policy.strategies import SIGNALS as SIGNALS_OF_STRATEGIES
from tests.guardian.policy.strategies import documents, few

SIGNALS = {
    "search_errors": {"of": "error_rate", "where": {"operation": "GET /search"}},
    "search_csat": {"of": "csat", "where": {"operation": "GET /search"}},
    "quality": {"measure": "quality", "range": [0, 1]},
}

HEALTH = [
    *("error_rate < 1.1x control", "error_rate < control + 0.5%", "error_rate < 5%", "search_errors < control + 1%"),
    *("latency_p95 < 1.1x control", "latency_p95 < control + 50ms", "latency_p95 < 300ms", "csat > control - 0.3"),
    *("nps > 20", "thumbs_down_rate < 5%", "report_rate < 0.1%", "quality > 0.9x control", "quality < control + 0.1"),
]


def told(document: dict[str, Any]) -> list[str]:
    return [problem.field for problem in unsupported(parse_policy(document))]


def test_a_policy_with_every_word_in_it_runs():
    """
    Nothing of the policy that has all of the language in it is refused.
    """
    assert [] == told(yaml.safe_load(EVERYTHING))


def test_each_is_told_with_a_way_out():
    """
    Each refusal says that the words were understood, and what to do.
    """
    document = yaml.safe_load(SIMPLE) | {"guardrails": [{"when": "search_csat < 4", "then": "kill"}], "signals": SIGNALS}
    problems = unsupported(parse_policy(document))

    assert problems
    assert all("by this version; remove it" in problem.right for problem in problems)


def test_a_schedule_is_told_in_its_own_words():
    """
    What is not run of a schedule is named by the schedule's fields.
    """
    policy, places = parse_document(yaml.safe_load(DECLARATIONS + SCHEDULE))

    assert ["phases[0].users"] == [problem.field for problem in unsupported(policy, places=places)]


@pytest.mark.parametrize("then", ["alert", "hold", "pause", "kill", "kill_flag", "step_back"])
@pytest.mark.parametrize(
    "when",
    [
        *("error_rate > 1.2x control", "error_rate >= control", "error_rate > control + 1%", "error_rate >= 5%"),
        *("latency_p95 > 2x baseline", "latency_p50 > control + 20ms", "latency_p999 > 2s", "search_errors > 5%"),
        *("csat < control - 0.3", "csat < 3.5", "nps < control", "nps < 30", "thumbs_down_rate > 1.2x control"),
        *("report_rate > 2x control", "report_rate > 0.1%", "quality < 0.9x control", "quality > control + 0.1"),
        *("sample_ratio off", "no_data for 2m"),
    ],
)
def test_what_runs_is_not_refused(when: str, then: str):
    """
    Every signal runs, against control and against bounds, with every action and with all plain fields.
    """
    document = yaml.safe_load(SIMPLE) | {
        "guardrails": [{"when": when, "then": then, "evaluate": "evidence"}],
        "signals": SIGNALS,
        "segments": ["country"],
        "variations": ["new"],
        "owner": "team-checkout",
        "mode": "shadow",
        "false_kills": {"per_rollout": 0.01, "per_day": 0.01, "per_step": 0.01},
        "min_units": 5,
        "unit_cluster": 3.0,
        "stages": [
            {"share": "5%", "for": "1h", "start": "2026-11-15 09:00 UTC", "approval": ["release-managers"]},
            *([] if when == "sample_ratio off" else [{"users": "employees", "size": 500, "for": "1h"}]),
            {"share": "50%", "until": HEALTH},
            {"share": "95%"},
        ],
        "cooldown": "30m",
        "hold_back": "5%",
        "freeze": [{"from": "2026-12-20 00:00 Europe/Berlin", "to": "2027-01-02 00:00 Europe/Berlin"}],
        "hours": {"days": "mon-fri", "from": "09:00", "to": "17:00", "zone": "Europe/Berlin"},
        "min_starts": 100,
        "false_advances": 0.01,
        "accelerate": True,
    }

    assert [] == told(document)


@pytest.mark.parametrize("evaluate", ["evidence", "literal", "either", "both"])
@pytest.mark.parametrize("when", ["error_rate > 5%", "latency_p95 > 2x control", "csat < 3.5", "search_errors > control + 1%"])
def test_windows_are_run_in_every_way(when: str, evaluate: str):
    """
    A condition over a window runs as a literal rule, as a test, and as both in either way.
    """
    guardrails = [{"when": f"{when} for 10m", "then": "pause", "evaluate": evaluate}]

    assert [] == told(yaml.safe_load(SIMPLE) | {"guardrails": guardrails, "signals": SIGNALS})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (
            {"guardrails": [{"when": "error_rate > 5% for 2d", "then": "kill", "evaluate": "literal"}]},
            "guardrails[0].when",
        ),
        (
            {"guardrails": [{"when": "error_rate > 5% for 0.5s", "then": "kill", "evaluate": "both"}]},
            "guardrails[0].when",
        ),
        (
            {"guardrails": [{"when": "error_rate > 5%", "then": "kill", "evaluate": "either"}]},
            "guardrails[0].evaluate",
        ),
        (
            {"guardrails": [{"when": "no_data for 2m", "then": "pause", "evaluate": "literal"}]},
            "guardrails[0].evaluate",
        ),
        (
            {"guardrails": [{"when": "sample_ratio off", "then": "pause", "evaluate": "both"}]},
            "guardrails[0].evaluate",
        ),
        ({"guardrails": [{"when": "search_csat < 4", "then": "kill"}]}, "guardrails[0].when"),
        (
            {"guardrails": [{"when": "csat < 4", "then": "pause", "segments": ["plan"]}]},
            "guardrails[0].segments",
        ),
        ({"signals": SIGNALS | {"worse": {"measure": "quality", "range": [0, 2]}}}, "signals.worse.range"),
        (
            {"guardrails": [{"when": "error_rate > 5%", "then": "kill", "evaluate": "both"}]},
            "guardrails[0].evaluate",
        ),
        ({"stages": [{"share": "5%", "size": 3}]}, "stages[0].size"),
        ({"stages": [{"users": "staff", "for": "1h"}, {"share": "5%"}]}, "stages[0].users"),
        (
            {
                "guardrails": [{"when": "sample_ratio off", "then": "pause"}],
                "stages": [{"share": "5%", "for": "1h"}, {"ring": "staff"}],
            },
            "guardrails[0].when",
        ),
        ({"stages": [{"share": "5%", "until": "error_rate < 5% for 1h"}, {"share": "6%"}]}, "stages[0].until"),
        ({"stages": [{"share": "5%", "until": "search_csat > 4"}, {"share": "6%"}]}, "stages[0].until"),
    ],
)
def test_what_does_not_run_is_refused(changes: dict[str, Any], field: str):
    """
    Each thing that is not run is refused in its own place.
    """
    assert [field] == told(yaml.safe_load(SIMPLE) | {"signals": SIGNALS} | changes)


@few
@given(documents)
def test_only_what_is_followed_passes(document: dict[str, Any]):
    """
    Of any policy, what is not refused is made of nothing but what the engine evaluates.
    """
    refused = set(told(document))
    followed = [
        name
        for at, stage in enumerate(document.get("stages", []))
        for name in stage
        if f"stages[{at}].{name}" not in refused
    ]

    literal = [
        parse_condition(one["when"], SIGNALS_OF_STRATEGIES).for_s
        for at, one in enumerate(document["guardrails"])
        if one["evaluate"] != "evidence" and not {f"guardrails[{at}].when", f"guardrails[{at}].evaluate"} & refused
    ]

    assert all(for_s is not None and 1.0 <= for_s <= 86_400.0 for for_s in literal)
    assert {*followed} <= {"share", "for", "name", "until", "approval", "start", "users"}
    assert not {"cooldown", "freeze", "hours"} & refused
