"""What every guardian that tests start has in common: flags split in halves, settings, how it is, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streams.settings import Settings

STOP_S = 10.0
ASK_S = 2.0


def write_flags(folder: Path, flags: Sequence[str]) -> None:
    """Write *flags*, each split in halves, and policies that kill where the treatment fails more than control."""
    rule = {"fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}, ["control", 1], ["treatment", 1]]}
    flag = {"state": "ENABLED", "variants": {"control": "old", "treatment": "new"}, "defaultVariant": "control"}
    (folder / "flags.json").write_text(json.dumps({"flags": {name: flag | {"targeting": rule} for name in flags}}))
    kill = [{"when": "error_rate > 1.2x control", "then": "kill"}]
    policies = [{"flag": name, "environment": "production", "owner": "shop", "guardrails": kill} for name in flags]
    (folder / "policies.yaml").write_text("\n---\n".join(map(json.dumps, policies)))


def command(settings: Settings, folder: Path, name: str, only: str, *, store: int, health: int) -> list[str]:
    """Write the settings called *name* for what ``write_flags`` wrote; return how a guardian is started on them."""
    config = folder / f"{name}.yaml"
    own = {
        "flagd": {"port": store, "document": str(folder / "flags.json")},
        "health": {"port": health},
        "policies": [str(folder / "policies.yaml")],
    }
    config.write_text(json.dumps(settings.model_dump(mode="json", by_alias=True, exclude_unset=True) | own))
    return [sys.executable, "-m", "streams.apps.cli", "run", "--config", str(config), "--only", only]


def children(health: int) -> dict[str, dict[str, Any]]:
    """What a supervisor says of its workers; nothing where none answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{health}/readyz", timeout=ASK_S) as answer:
            said = answer.read()
    except urllib.error.HTTPError as error:
        said = error.read()
    except OSError:
        return {}
    found: dict[str, dict[str, Any]] = json.loads(said)["children"]
    return found


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process in good order; killed where that takes too long."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
