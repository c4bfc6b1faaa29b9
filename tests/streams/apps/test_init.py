"""The policies to begin with: each can be run, and is as careful as its risk asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.apps.cli import app
from streams.apps.init import RISKS
from streams.policies import files_in, load_policies, read_policy_text

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "config" / "policies" / "templates"


def test_the_templates_can_be_run():
    """``guardian check`` finds nothing wrong with any of them, nor with all of them together."""
    said = CliRunner().invoke(app, ["check", str(TEMPLATES)])

    assert (0, True) == (said.exit_code, "3 files, 0 problems" in said.stdout), said.output
    assert {f"{risk}.yaml" for risk in RISKS} == {path.name for path in TEMPLATES.iterdir()}


def test_templates_are_no_policies():
    """What policies are made from is not published with the policies beside it."""
    files = list(files_in(ROOT / "config" / "policies"))

    assert files
    assert not [file for file in files if TEMPLATES.resolve() in Path(str(file)).resolve().parents]


def test_templates_grow_with_their_risk():
    """With higher risk the budget is smaller, there are more guardrails, the first share is no larger and stages are longer."""
    low, medium, high = (load_policies([TEMPLATES / f"{risk}.yaml"])[0] for risk in RISKS)

    for milder, stricter in ((low, medium), (medium, high)):
        assert milder.false_kills.per_rollout > stricter.false_kills.per_rollout
        assert len(milder.guardrails) < len(stricter.guardrails)
        assert milder.stages[0].share >= stricter.stages[0].share
        assert sum(stage.for_s or 0 for stage in milder.stages) < sum(stage.for_s or 0 for stage in stricter.stages)
    assert [0.01, 0.1, 0.5, 1.0] == [stage.share for stage in medium.stages]
    assert "csat" in {guardrail.when.signal.name for guardrail in high.guardrails}
    assert any(guardrail.segments for guardrail in high.guardrails)
    assert all(guardrail.when.signal.kind == "no_data" for policy in (low, medium, high) for guardrail in policy.guardrails[-1:])


@pytest.mark.parametrize("risk", RISKS)
@pytest.mark.parametrize("flag", ["checkout-v3", "off", "1:30", "a|b", 'say"it"', "grün"])
def test_init_writes_a_policy_of_the_flag(risk: str, flag: str):
    """What it writes is the template's policy under the given names, whatever they are."""
    said = CliRunner().invoke(app, ["init", "--risk", risk, "--flag", flag, "--owner", "team-x", "--environment", "staging"])
    file = read_policy_text(said.stdout.encode(), file="made")
    [policy], [template] = file.policies, load_policies([TEMPLATES / f"{risk}.yaml"])

    assert (0, ()) == (said.exit_code, file.problems)
    assert (flag, "staging", "team-x") == (policy.flag, policy.environment, policy.owner)
    assert (template.guardrails, template.stages) == (policy.guardrails, policy.stages)
    assert "# " in said.stdout


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (["--risk", "hihg", "--flag", "a"], "write one of low, medium, high"),
        (["--flag", "two words"], "is one word"),
        (["--flag", "a", "--environment", "p|q"], "an environment has no '|'"),
    ],
)
def test_what_no_policy_can_be_made_of_is_said(arguments: list[str], right: str):
    """A risk or a name that cannot be ends with 2, what would be right, and nothing on standard output."""
    said = CliRunner().invoke(app, ["init", *arguments])

    assert (2, "", True) == (said.exit_code, said.stdout, right in said.stderr)
