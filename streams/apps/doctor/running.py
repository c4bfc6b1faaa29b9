"""The guardian that runs here, as it says itself at ``/readyz``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from streams.apps.client import ANYWHERE
from streams.findings import Finding
from streams.settings import Settings, load_settings

ANSWER_S = 2.0


async def readiness(settings: Settings) -> dict[str, Any] | None:
    """What ``/readyz`` of the guardian on this machine shows; ``None`` where none answers at ``health.port``."""
    if not settings.health.port:
        return None
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session,
            session.get(f"{address(settings)}/readyz") as answer,
        ):
            said = await answer.json()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("children"), dict) else None


def drift_here(config: Path | None) -> dict[str, str]:
    """
    In what stores differ, by ``environment|flag``, as act says at ``/readyz`` of this machine; nothing where none answers.

    Raises:
        ConfigError: the settings cannot be read.
    """
    return drift_in(asyncio.run(readiness(load_settings(config))))


def drift_in(said: dict[str, Any] | None) -> dict[str, str]:
    """The same, in what ``/readyz`` has shown."""
    children = (said or {}).get("children") or {}
    found = children.get("act", {}).get("drift")
    return {str(key): str(text) for key, text in found.items()} if isinstance(found, dict) else {}


def address(settings: Settings) -> str:
    """Where ``/readyz`` is, seen from this machine."""
    host = ANYWHERE.get(settings.health.host, settings.health.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.health.port}"


async def look(settings: Settings) -> list[Finding]:
    """Whether a guardian runs here and does its work."""
    about = f"guardian at {address(settings)}/readyz"
    said = await readiness(settings)
    if said is None:
        return [Finding("ok", about, "none runs here")]
    return list(_ill(said)) or [Finding("ok", about, "is ready")]


def _ill(said: dict[str, Any]) -> Iterator[Finding]:
    if waits := said.get("waiting_for"):
        yield Finding("error", "guardian", f"waits for {waits}", "it goes on by itself when that is there")
    for name, child in said["children"].items():
        if not child.get("ready") and not waits:
            yield Finding("error", f"process {name}", f"is not ready: {child.get('why')}", "its log says more")
    for problem in (said.get("policies") or {}).get("problems", []):
        yield Finding("warning", "policies", f"not in force: {problem}", "mend the file: it is read again by itself")
