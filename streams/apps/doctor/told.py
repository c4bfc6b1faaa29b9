"""What was found, as text or JSON, without any secret of the settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, SecretStr

from streams.alerts.words import hidden
from streams.apps.doctor.examined import examined, settings_read
from streams.findings import Finding
from streams.settings import Settings

SHORTEST_SECRET = 6
"""Characters: a shorter one stands in other words, too, and could be guessed from what is left out."""


def main(config: Path | None, only: str, out: TextIO, *, as_json: bool) -> int:
    """Print all findings, of rights those of the processors that *only* names; return 1 if there is an error among them."""
    settings, names, found = settings_read(config, only)
    if settings is not None:
        found += asyncio.run(examined(settings, names))
        found = without_secrets(found, settings)
    found = list(dict.fromkeys(found))
    is_ok = all(one.level != "error" for one in found)
    if as_json:
        said = {"ok": is_ok, "findings": [asdict(one) for one in found]}
        out.write(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    else:
        out.writelines(f"{line}\n" for line in lines(found))
    return 0 if is_ok else 1


def lines(found: Sequence[Finding]) -> Iterator[str]:
    """Yield a line a finding, one for its cure beneath it, and at the end how many there are."""
    for one in found:
        yield f"{one.level:<8} {one.about}: {one.found}"
        if one.cure:
            yield f"{'':<8} -> {one.cure}"
    errors, warnings = (sum(one.level == level for one in found) for level in ("error", "warning"))
    yield f"{_count(len(found), 'finding')}: {_count(errors, 'error')}, {_count(warnings, 'warning')}"


def without_secrets(found: Iterable[Finding], settings: Settings) -> list[Finding]:
    """The findings with every secret of the settings taken out, wherever an answer may have quoted it."""
    without = hidden(*(one for one in secrets_of(settings) if len(one) >= SHORTEST_SECRET))
    return [replace(one, about=without(one.about), found=without(one.found), cure=without(one.cure)) for one in found]


def secrets_of(settings: Any) -> Iterator[str]:
    """Yield each secret of the settings, and each word of one that holds several."""
    if isinstance(settings, SecretStr):
        secret = settings.get_secret_value()
        yield from {secret, *secret.split()}
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            yield from secrets_of(getattr(settings, name))
    elif isinstance(settings, dict):
        for value in settings.values():
            yield from secrets_of(value)


def _count(number: int, one: str) -> str:
    return f"{number} {one if number == 1 else one + 's'}"
