"""
``guardian check``: the policy lint, and the JSON Schema of policies for editors.

``python -m streams.apps.check --schema > config/policy.schema.json`` writes the schema anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from pydantic.json_schema import models_json_schema

from guardian.chances import Traffic, finding_notes, literal_notes
from guardian.errors import ConfigError
from guardian.flagdoc import Document
from guardian.forecast import Assumed
from guardian.listening import topic_notes
from guardian.policy import Policy
from guardian.ports import in_common
from guardian.schedule import Schedule
from guardian.stage_notes import stage_notes
from guardian.tempering import tempering_notes
from streams.apps.simulate_given import Given
from streams.apps.simulate_numbers import assumed, problems_of
from streams.policies import Beside, Home, PolicyFile, read_default, read_policies
from streams.settings import Settings, load_settings
from streams.stores.kinds import kind_of

DAYS_A_YEAR = 365


def check(
    paths: list[Path],
    *,
    traffic: str = "",
    rate: str = "",
    out: TextIO,
    default: Path | None = None,
    beside: Beside | None = None,
) -> int:
    """
    Print what is wrong with the policies of *paths*, and with the *default* one.

    Returns the exit code: 1 for problems, 2 for numbers that are none.

    They are compared with what is *beside* them; without it, with the calendar alone. Of files without problems it also
    notes what their guardrails find later where events carry no unit id, what their stages cannot do, and how often
    literal rules are false. With *traffic* or *rate*, as ``guardian simulate`` takes them, also how long tests take.
    """
    given = Given(traffic=traffic or Given().traffic, rate=rate or Given().rate)
    if wrong := list(problems_of(given)):
        out.writelines(f"{problem}\n" for problem in wrong)
        return 2
    known = assumed(given)
    beside = beside or Beside(now=datetime.now(UTC))
    files = read_policies(paths, beside=beside)
    files += [read_default(default)] if default is not None else []
    for file in files:
        out.writelines(f"{problem}\n" for problem in file.problems)
        if not file.problems:
            out.write(f"{file.file}: OK, {_count(len(file.policies), 'policy', 'policies')}\n")
            notes = _notes(file, known, beside.exposures, told=bool(traffic or rate))
            out.writelines(f"{file.file}: note: {policy.flag}: {note}\n" for policy, note in notes)
    problems = sum(len(file.problems) for file in files)
    out.write(f"{_budget(files)}\n")
    out.write(f"{_count(len(files), 'file')}, {_count(problems, 'problem')}\n")
    return 1 if problems or not files else 0


def check_settings(
    config: Path | None, paths: list[Path] | None = None, *, traffic: str = "", rate: str = "", out: TextIO
) -> int:
    """As ``check``, of *paths* or what the settings name, beside the flags that they name: as ``guardian run`` would."""
    try:
        settings = load_settings(config)
    except ConfigError as error:
        out.write(f"{error}\n")
        return 1
    default = Path(settings.policies_default) if settings.policies_default else None
    paths = paths or [Path(path) for path in settings.policies]
    try:
        beside = besides(settings)
    except ValueError as error:
        out.write(f"{error}\n")
        return 1
    return check(paths, traffic=traffic, rate=rate, out=out, default=default, beside=beside)


def besides(settings: Settings) -> Beside:
    """
    What policies are compared with: the calendar, what the stores of each flag can do, and flagd's document, if it is there.

    Raises:
        ValueError: the document has problems; the text holds each.
    """
    from streams.stores.flagd.documents import checked

    flags, document = Path(settings.flagd.document), None
    if settings.serves_flagd and flags.is_file():
        try:
            document = checked(flags.read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"{flags}:\n{error}") from None
    return Beside(
        now=datetime.now(UTC), home=lambda environment, flag: _home(settings, document, environment, flag),
        inputs=settings.topics.inputs, exposures=settings.topics.exposures,
    )  # fmt: skip


def _home(settings: Settings, document: Document | None, environment: str, flag: str) -> Home:
    keeping = settings.keeping(environment, flag).values()
    if not keeping:
        environments = dict.fromkeys(section.environment for section in settings.targets.values())
        if environment not in environments:
            return Home(lacking="environment", right=f"no flag store has this environment; there are: {', '.join(environments)}")
        patterns = [pattern for one in settings.targets.values() if one.environment == environment for pattern in one.flags]
        return Home(lacking="flag", right=f"no flag store keeps it; they keep {', '.join(patterns)} in {environment!r}")
    served = any(section.kind == "flagd" for section in keeping)
    return Home(document if served else None, in_common([kind_of(section.kind).capabilities for section in keeping]))


def _notes(file: PolicyFile, known: Assumed, exposures: tuple[str, ...], *, told: bool) -> Iterator[tuple[Policy, str]]:
    traffic = Traffic(known.requests_per_s, known.rate)
    for policy in file.policies:
        notes = [*tempering_notes(policy), *stage_notes(policy), *literal_notes(policy, traffic)]
        notes += topic_notes(policy, exposures)
        yield from ((policy, note) for note in [*notes, *(finding_notes(policy, traffic) if told else ())])


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
    parser.add_argument("--traffic", default="", help="requests of the flag, such as 200/s")
    parser.add_argument("--rate", default="", help="control's error rate, such as 1%%")
    given = parser.parse_args(arguments)
    if given.schema:
        sys.stdout.write(schema_text())
        return 0
    return check(given.paths, traffic=given.traffic, rate=given.rate, out=sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
