"""Policies beside what they are about: the flags of the store, what the store can do, and the calendar."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from guardian.ports import StoreCapabilities
from streams.apps.check import check, check_settings
from streams.apps.reload import Reload
from streams.policies import Beside, Home, load_policies
from streams.stores.flagd.adapter import FlagdStore

NOW = datetime(2026, 11, 26, tzinfo=UTC)
POLICY = """flag: checkout-v2
environment: production
variations: [treatment]
guardrails: [{when: error_rate > 5%, then: kill}]
stages:
  - {ring: employees, for: 2d}
  - {share: 10%}
"""
FLAGS: dict[str, Any] = {
    "$evaluators": {"employees": {"ends_with": [{"var": "email"}, "@shop.example"]}},
    "flags": {
        "checkout-v2": {
            "state": "ENABLED", "variants": {"control": "old", "treatment": "new"}, "defaultVariant": "control",
        },
    },
}  # fmt: skip


def home(environment: str, _flag: str, store: StoreCapabilities = FlagdStore.capabilities) -> Home:
    return Home({"production": FLAGS}.get(environment), store)


BESIDE = Beside(now=NOW, home=home)


def told(directory: Path, text: str = POLICY, beside: Beside = BESIDE) -> list[str]:
    """The problems, each from its line on."""
    (directory / "a.yaml").write_text(text)
    out = io.StringIO()
    code = check([directory], out=out, beside=beside)
    problems = [line.partition("a.yaml:")[2] for line in out.getvalue().splitlines() if "a.yaml:" in line]
    problems = [line for line in problems if line[:1].isdigit()]
    assert (1 if problems else 0) == code
    return problems


def test_a_policy_that_fits_its_flag_is_right(tmp_path: Path):
    """
    A flag, variations and rings that the store has, and a store that can do rings, are no problem.
    """
    assert [] == told(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("checkout-v2", "chekout-v2"), "1: flag: 'chekout-v2': is no flag of the store; did you mean checkout-v2?"),
        (("[treatment]", "[new]"), "3: variations[0]: 'new': is no variation of the flag in the store; write one of control,"),
        (("flag:", "control: base\nflag:"), "1: control: 'base': is no variation of the flag in the store; write one of"),
        (("ring: employees", "users: staf"), "6: stages[0].users: 'staf': is no ring of the store; write one of employees"),
    ],
)
def test_what_the_store_does_not_have_is_told(tmp_path: Path, change: tuple[str, str], problem: str):
    """
    A flag, a variation, a control or a ring that the store does not have is told at its line, with what would be right.
    """
    (found,) = told(tmp_path, POLICY.replace(*change))

    assert found.startswith(problem)


def test_a_topic_that_nobody_reads_is_told(tmp_path: Path):
    """
    A topic that the settings do not name as an input would never be heard: a problem at its line, with those that there are.
    """
    beside = replace(BESIDE, inputs=("flag.exposures.v1", "shop.events.v1"), exposures=("flag.exposures.v1",))
    written = POLICY.replace("flag:", "topics: [shop.events.v1, shop.event.v1]\nflag:", 1)

    (found,) = told(tmp_path, written, beside)
    (tmp_path / "a.yaml").write_text(written.replace(", shop.event.v1", ""))
    check([tmp_path], out=(out := io.StringIO()), beside=beside)

    right = "is no topic that events are read from; there are: flag.exposures.v1, shop.events.v1"
    assert f"1: topics[1]: 'shop.event.v1': {right}" == found
    assert "note: checkout-v2: topics names none of those for exposures (flag.exposures.v1)" in out.getvalue()


def test_another_environments_flags_are_not_compared(tmp_path: Path):
    """
    A policy of an environment whose flags are not known is compared with none.
    """
    assert [] == told(tmp_path, POLICY.replace("production", "staging").replace("checkout-v2", "other"))


def test_a_store_that_cannot_do_rings_is_said(tmp_path: Path):
    """
    Where the flag store cannot target a group, a stage for a ring is a problem and not a surprise at night.
    """
    store = replace(FlagdStore.capabilities, can_target_rings=False)
    (found,) = told(tmp_path, beside=replace(BESIDE, home=partial(home, store=store)))

    assert found.startswith("6: stages[0].users: 'employees': the flag store cannot give a ring a share of its own; remove")


def test_the_settings_name_the_flags(tmp_path: Path):
    """
    ``guardian check`` alone compares with the document that the settings name, and says what is wrong with that one.
    """
    (tmp_path / "a.yaml").write_text(POLICY.replace("checkout-v2", "nowhere"))
    (tmp_path / "flags.json").write_text(json.dumps(FLAGS))
    config, out = tmp_path / "guardian.yaml", io.StringIO()
    document = str(tmp_path / "flags.json")
    config.write_text(json.dumps({"policies": [str(tmp_path / "a.yaml")], "flagd": {"document": document}}))

    assert 1 == check_settings(config, out=out)
    assert "flag: 'nowhere': is no flag of the store; write one of checkout-v2" in out.getvalue()
    (tmp_path / "flags.json").write_text("{")
    assert 1 == check_settings(config, out=out)
    assert "flags.json:\nthe document:" in out.getvalue()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("flag: checkout-v2", "flag: web-nav"), ""),
        (("flag: checkout-v2", "flag: web-nav\n# ring"), ""),
        (("flag: checkout-v2", "flag: app-nav"), "1: flag: 'app-nav': is no flag of the store"),
        (("flag: checkout-v2", "flag: tv-nav"), "1: flag: 'tv-nav': no flag store keeps it; they keep web-*, app-*"),
        (("production", "staging"), "2: environment: 'staging': no flag store has this environment; there are: production"),
    ],
)
def test_a_policy_is_compared_with_the_stores_that_keep_its_flag(tmp_path: Path, change: tuple[str, str], problem: str):
    """
    Of several stores only those that keep a flag count: one of Unleash's is not looked for in the document, and stages for
    rings are a problem where Unleash keeps it; a flag or an environment that none has is told.
    """
    text = POLICY.replace(*change)
    text = text.replace("  - {ring: employees, for: 2d}\n", "") if "# ring" not in text else text
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "flags.json").write_text(json.dumps(FLAGS))
    (tmp_path / "token").write_text("hush-hush")
    stores = {
        "web": {"kind": "unleash", "url": "http://unleash", "token_file": str(tmp_path / "token"), "flags": ["web-*"]},
        "app": {"kind": "flagd", "flags": ["app-*", "checkout-v2"]},
    }
    document = {"document": str(tmp_path / "flags.json")}
    settings = {"policies": [str(tmp_path / "a.yaml")], "flagd": document, "stores": stores}
    (tmp_path / "guardian.yaml").write_text(json.dumps(settings))
    out = io.StringIO()
    code = check_settings(tmp_path / "guardian.yaml", out=out)

    problem = problem or ("stages[0].users: 'employees': the flag store cannot give a ring" if "# ring" in text else "")
    assert (1 if problem else 0) == code, out.getvalue()
    assert problem in out.getvalue()


def dated(start: datetime) -> str:
    return POLICY.replace("for: 2d", f"for: 2d, start: '{start:%Y-%m-%d %H:%M} UTC'")


def test_a_schedule_in_the_past_is_told(tmp_path: Path):
    """
    A calendar of which nothing is to come any more is told at its last start; one that is under way is not.
    """
    (found,) = told(tmp_path, dated(NOW - timedelta(days=3)))

    assert found.startswith("6: stages[0].start: '2026-11-23 00:00 UTC': lies in the past, and what was planned from it on")
    assert [] == told(tmp_path, dated(NOW - timedelta(days=1)))
    assert [] == told(tmp_path, dated(NOW + timedelta(days=1)))


async def test_a_new_rollout_in_the_past_is_refused_while_it_runs(tmp_path: Path):
    """
    A file that comes with a calendar that is over is refused whole; a rollout that was there before goes on to its end.
    """
    past = datetime.now(UTC) - timedelta(days=30)
    (tmp_path / "a.yaml").write_text(dated(past))
    reload = Reload([tmp_path], load_policies([tmp_path]))
    published: list[str] = []

    async def publish(policies: Any) -> None:
        published.extend(policy.flag for policy in policies)

    fresh, late = POLICY.replace("checkout-v2", "fresh"), dated(past).replace("checkout-v2", "late")
    (tmp_path / "b.yaml").write_text(f"{fresh}---\n{late}")
    (tmp_path / "a.yaml").write_text(dated(past).replace("5%", "6%"))
    with capture_logs() as logged:
        for _ in range(3):
            await reload.look(publish)

    assert ["checkout-v2"] == published
    (refused,) = [str(one["reason"]) for one in logged if one["event"] == "policy_refused"]
    assert "b.yaml:14: stages[0].start" in refused
    assert "lies in the past" in refused
