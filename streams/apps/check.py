"""
``guardian check``: the policy lint, and the JSON Schema of policies for editors.

``python -m streams.apps.check --schema > config/policy.schema.json`` writes the schema anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from pydantic.json_schema import models_json_schema

from guardian.policy import Policy
from guardian.schedule import Schedule
from guardian.stage_notes import stage_notes
from guardian.tempering import tempering_notes
from streams.policies import PolicyFile, read_policies

DAYS_A_YEAR = 365


def check(paths: list[Path], *, out: TextIO) -> int:
    """
    Print what is wrong with the policies of *paths*; return the exit code, 1 for problems.

    Of files without problems it also notes what their guardrails find later where events carry no unit id, and what
    their stages cannot do.
    """
    files = read_policies(paths)
    for file in files:
        out.writelines(f"{problem}\n" for problem in file.problems)
        if not file.problems:
            out.write(f"{file.file}: OK, {_count(len(file.policies), 'policy', 'policies')}\n")
            out.writelines(f"{file.file}: note: {policy.flag}: {note}\n" for policy, note in _notes(file))
    problems = sum(len(file.problems) for file in files)
    out.write(f"{_budget(files)}\n")
    out.write(f"{_count(len(files), 'file')}, {_count(problems, 'problem')}\n")
    return 1 if problems or not files else 0


def _notes(file: PolicyFile) -> Iterator[tuple[Policy, str]]:
    return ((policy, note) for policy in file.policies for note in (*tempering_notes(policy), *stage_notes(policy)))


def _budget(files: list[PolicyFile]) -> str:
    """What the policies allow in a year: each its start, and each day of the year."""
    budgets = [policy.false_kills for file in files for policy in file.policies]
    expected = sum(budget.per_rollout + DAYS_A_YEAR * budget.per_day for budget in budgets)
    policies = _count(len(budgets), "policy", "policies")
    return f"False kills allowed a year: {expected:.3g} on average, over {policies}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one policy document, in either of its forms."""
    models: list[tuple[type[Policy | Schedule], Any]] = [(Policy, "validation"), (Schedule, "validation")]
    _, definitions = models_json_schema(models, by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rollout policy",
        "if": {"required": ["rollout"], "not": {"required": ["flag"]}},
        "then": {"$ref": "#/$defs/Schedule"},
        "else": {"$ref": "#/$defs/Policy"},
        "$defs": definitions["$defs"],
    }


def schema_text() -> str:
    """The schema as ``config/policy.schema.json`` holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the lint, or print the schema."""
    parser = argparse.ArgumentParser(
        prog="python -m streams.apps.check", description="Check rollout policies."
    )
    parser.add_argument("paths", nargs="*", type=Path, help="files or directories of policies")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of policies instead")
    given = parser.parse_args(arguments)
    if given.schema:
        sys.stdout.write(schema_text())
        return 0
    return check(given.paths, out=sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
