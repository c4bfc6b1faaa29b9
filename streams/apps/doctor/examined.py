"""All checks, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from guardian.errors import ConfigError
from guardian.policy import Policy
from streams.apps.doctor import alerts, kafka, running, stores
from streams.apps.doctor.checks import CHECK_S, checked, together
from streams.apps.run import processors
from streams.findings import Finding
from streams.policies import read_policies
from streams.settings import Settings, load_settings

ALL_S = 60.0
"""What an area may take with all of its checks: a store with many flags is asked for a few at a time."""


def settings_read(config: Path | None, only: str) -> tuple[Settings | None, list[str], list[Finding]]:
    """The settings, the processors that *only* names, and what is wrong with both; no settings where they cannot be used."""
    try:
        settings = load_settings(config)
        return settings, processors(only, settings), [Finding("ok", "settings", "can be used")]
    except ConfigError as error:
        return None, [], [Finding("error", "settings", str(problem)) for problem in error.problems]


async def examined(settings: Settings, names: Sequence[str]) -> list[Finding]:
    """Everything that can be found out without changing anything, area by area."""
    policies, found = _policies(settings)
    return found + await together(
        checked("Kafka", kafka.look(settings, names), within_s=3 * CHECK_S),
        checked("flag stores", stores.look(settings, policies), within_s=ALL_S),
        checked("alerts", alerts.look(settings), within_s=2 * CHECK_S),
        checked("guardian", running.look(settings)),
    )


def _policies(settings: Settings) -> tuple[list[Policy], list[Finding]]:
    """The policies whose flags are looked for, and the files that have problems."""
    files = read_policies(map(Path, settings.policies))
    policies = [policy for file in files for policy in file.policies]
    wrong = [
        Finding("error", "policies", str(problem), "`guardian check` says more") for file in files for problem in file.problems
    ]
    return policies, wrong or [Finding("ok", "policies", f"{len(policies)} of {len(files)} files can be run")]
