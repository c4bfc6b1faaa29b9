"""
From a kill command to the official client of Unleash: a real server, and clients that ask it every 1 s and every 15 s.

`settings` and `provider` are what `bench.kill` needs to measure the whole way, from the decisive event on.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata
from UnleashClient import UnleashClient  # type: ignore[attr-defined]

from guardian.ports import FlagCommand
from streams.stores.http import open_session
from streams.stores.shares.store import SharesStore
from streams.stores.unleash.backend import UnleashBackend
from tests.support.stores.unleash import SDK, Unleash, token

CLIENTS, ROUNDS = 8, {1: 5, 15: 2}
"""Clients that look at once, and kills of each interval (s)."""
SPLIT = {"control": 900, "treatment": 100}
_numbers = itertools.count(1)


def run() -> dict[str, Any]:
    """``every_1_s`` and ``every_15_s`` hold the milliseconds from the command to a client; ``applied`` those to its answer."""
    people = Unleash()
    every: dict[str, dict[str, float]] = {}
    applied: list[float] = []
    for refresh_s, rounds in ROUNDS.items():
        took = [one for _ in range(rounds) for one in asyncio.run(_kill(people, refresh_s, applied))]
        every[f"every_{refresh_s}_s"] = _figures(took)
    return {"unit": "ms", **every, "applied": _figures(applied)}


async def _kill(people: Unleash, refresh_s: int, applied: list[float]) -> list[float]:
    flag = people.flag(weights=SPLIT)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        clients = []
        for _ in range(CLIENTS):
            clients.append(stack.enter_context(client(Path(folder), refresh_s)))
            await asyncio.sleep(random.uniform(0.0, 2 * refresh_s / CLIENTS))
        users = [_treated(one, flag) for one in clients]
        async with open_session() as session:
            store = SharesStore(
                UnleashBackend(
                    session, url=people.url, token=token(), project="default", at="production", environment="production",
                    timeout_s=4.0,
                ),
            )  # fmt: skip
            name = f"production|{flag}|treatment|{next(_numbers)}"
            began_s = time.perf_counter()
            looking = [asyncio.ensure_future(_left(one, flag, user, began_s)) for one, user in zip(clients, users, strict=True)]
            answer = await store.apply(FlagCommand(name, name, flag, "production", "kill", "treatment", "control"))
            applied.append((time.perf_counter() - began_s) * 1_000)
            assert answer.status == "applied", answer.detail
            return await asyncio.gather(*looking)


def _treated(client: UnleashClient, flag: str) -> dict[str, Any]:
    return next(user for n in range(10_000) if client.get_variant(flag, user := {"userId": f"u{n}"})["name"] == "treatment")


async def _left(client: UnleashClient, flag: str, user: dict[str, Any], began_s: float) -> float:
    while client.get_variant(flag, user)["name"] == "treatment":
        await asyncio.sleep(0.005)
    return (time.perf_counter() - began_s) * 1_000


def _figures(took_ms: list[float]) -> dict[str, float]:
    ordered = sorted(took_ms)
    return {"n": len(ordered), "p50_ms": ordered[len(ordered) // 2], "max_ms": ordered[-1]}


@contextmanager
def client(folder: Path, refresh_s: int) -> Iterator[UnleashClient]:
    """Return a client that has the flags of now and asks again every *refresh_s* seconds."""
    number = next(_numbers)
    made = UnleashClient(
        Unleash().url + "/api", "shop", environment="production", custom_headers={"Authorization": SDK["production"]},
        instance_id=str(number), refresh_interval=refresh_s, disable_metrics=True, disable_registration=True,
        cache_directory=str(folder / str(number)),
    )  # fmt: skip
    time.sleep(1.1)  # the server looks once a second whether there is something new
    made.initialize_client()
    try:
        yield made
    finally:
        made.destroy()


# ---------------------------------------------------------------------------- for bench.kill


def settings(folder: Path, _: dict[str, int]) -> dict[str, Any]:
    """Return the sections of settings for the flags of *folder*, which are made in a server that is started for it."""
    people = Unleash()
    for flag in json.loads((folder / "flags.json").read_text())["flags"]:
        people.flag(flag, weights=SPLIT)
    (folder / "token").write_text(token())
    return {"stores": {"unleash": {"kind": "unleash", "url": people.url, "token_file": str(folder / "token")}}}


def provider(folder: Path, _: dict[str, int]) -> AbstractProvider:
    """Return a provider of OpenFeature whose client asks once a second; ``old`` is the control, ``new`` the treatment."""
    return _Provider(folder)


class _Provider(AbstractProvider):
    """The least that the benchmark asks of one."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._stack = folder, ExitStack()

    def initialize(self, evaluation_context: Any) -> None:  # noqa: ARG002
        self._client = self._stack.enter_context(client(self._folder, 1))

    def shutdown(self) -> None:
        self._stack.close()

    def get_metadata(self) -> Metadata:
        return Metadata("Unleash")

    def resolve_string_details(self, flag_key: str, default_value: str, evaluation_context: Any = None) -> Any:
        found = self._client.get_variant(flag_key, {"userId": evaluation_context.targeting_key})["name"]
        value = {"control": "old", "treatment": "new"}.get(found, default_value)
        return FlagResolutionDetails(value, variant=found, reason=Reason.SPLIT)

    def _none(self, flag_key: str, default_value: Any, evaluation_context: Any = None) -> Any:
        raise NotImplementedError(f"{flag_key}: the flags of the benchmark are strings")

    resolve_boolean_details = resolve_integer_details = resolve_float_details = resolve_object_details = _none
