"""Real clients of the sync server, and how to wait for what they see."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

SAMPLE = Path(__file__).parents[3] / "config" / "flags.json"
USERS = [EvaluationContext(f"user-{n}") for n in range(1000)]
_domains = itertools.count()


def sample() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SAMPLE.read_text())
    return document


def kill_record(version: int = 1, flag_key: str = "checkout-v2", **decided: Any) -> dict[str, Any]:
    record = {"flag_key": flag_key, "environment": "production", "version": version, "command_id": f"c{version}"}
    return {**record, "killed": {"treatment": "control"}, **decided}


async def connect(port: int, **options: Any) -> OpenFeatureClient:
    """An OpenFeature client on the official in-process provider, ready to evaluate."""
    settings = {
        "retry_backoff_ms": 100,
        "retry_backoff_max_ms": 200,
        "stream_deadline_ms": 0,
        "deadline_ms": 10_000,
        "retry_grace_period": 1,
    }
    provider = FlagdProvider(
        host="127.0.0.1", port=port, resolver_type=ResolverType.IN_PROCESS, **{**settings, **options}
    )
    domain = f"client-{next(_domains)}"
    await asyncio.to_thread(api.set_provider_and_wait, provider, domain)
    return api.get_client(domain)


def treated(client: OpenFeatureClient, flag_key: str = "checkout-v2") -> int:
    """How many of 1,000 users get the treatment."""
    return sum(client.get_string_details(flag_key, "", user).variant == "treatment" for user in USERS)


def version(client: OpenFeatureClient, flag_key: str = "checkout-v2") -> object:
    """The flag's version that comes with an evaluation; new-search is the boolean one."""
    if flag_key == "new-search":
        return client.get_boolean_details(flag_key, False, USERS[0]).flag_metadata.get("version")
    return client.get_string_details(flag_key, "", USERS[0]).flag_metadata.get("version")


def write(path: Path, document: dict[str, Any] | str) -> None:
    path.write_text(document if isinstance(document, str) else json.dumps(document))


async def eventually(holds: Callable[[], object], *, within_s: float = 5.0, every_s: float = 0.005) -> None:
    """Wait until it holds; fail if that takes longer."""
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, f"did not come to hold within {within_s} s"
        await asyncio.sleep(every_s)
