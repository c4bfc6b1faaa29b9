"""A service that does not follow a kill: on call hears which one, and how many of its exposures are of what was killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType

from demo.ports import free_ports
from guardian.decisions import RECEIPT_TYPE, ROLLOUT_TYPE, Receipt, RolloutView
from streams.cloudevents import from_event
from streams.settings import Settings
from tests.streams.stores.support import connect
from tests.support.installation import Written, written
from tests.support.movers import until
from tests.support.pagerduty import EventsApi, events_api
from tests.support.processes import producer
from tests.support.started import children, command, end_process, write_flags
from tests.support.users import Users

FLAG = "checkout"
WORKERS = ("store", "observe", "judge", "act", "report")
WATCHED = 150
"""Requests of each arm before the treatment breaks."""
OLD = "16"
"""The version of the flag that the service stays with."""


@contextmanager
def guardian(folder: Path, pages: EventsApi, store: int, health: int) -> Iterator[Path]:
    """``guardian run --embedded`` with its own store, which pages through *pages*; what it says goes to the file."""
    write_flags(folder, [FLAG])
    # A machine that is full must not make more workers: the embedded broker is slow to share partitions out.
    own_settings = {"kafka": {"embedded": True}, "judge": {"propagation_s": 1.0}, "observe": {"workers": 1}}
    settings = Settings.model_validate(own_settings)
    started = command(settings, folder, "guardian", ",".join(WORKERS), store=store, health=health)
    own = {"GUARDIAN_ALERTS__PAGERDUTY__URL": pages.url, "GUARDIAN_ALERTS__PAGERDUTY__ROUTING_KEY": "r" * 32}
    said = folder / "said"
    with said.open("wb") as out, subprocess.Popen(started, stdout=out, stderr=out, env=os.environ | own) as process:
        try:
            yield said
        finally:
            end_process(process)
            print(said.read_text())


async def stuck(folder: Path) -> OpenFeatureClient:
    """The official provider on a copy of the flags as they were, which nobody changes any more."""
    document = json.loads((folder / "flags.json").read_text())
    document["flags"][FLAG]["metadata"] = {"version": OLD}
    copy = folder / "old.json"
    copy.write_text(json.dumps(document))
    provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(copy))
    await asyncio.to_thread(api.set_provider_and_wait, provider, "stuck")
    return api.get_client("stuck")


@asynccontextmanager
async def traffic(settings: Settings, folder: Path, store: int) -> AsyncIterator[tuple[list[Users], Written]]:
    """Users of two services, one of them stuck, and what the guardian writes about their flag."""
    following, staying = await connect(store), await stuck(folder)
    topics = settings.topics
    async with written(settings, topics.rollouts, topics.receipts) as records, producer(settings, linger_ms=5) as producing:
        services = [
            Users(settings, producing, following, FLAG, "search-api"), Users(settings, producing, staying, FLAG, "checkout-api")
        ]  # fmt: skip
        async with services[0].busy(), services[1].busy():
            yield services, records


def receipts(records: Written, settings: Settings) -> dict[str, Receipt]:
    found = [from_event(value, Receipt, type=RECEIPT_TYPE) for value in records.of(settings.topics.receipts, FLAG)]
    return {one.status: one for one in found}


def view(records: Written, settings: Settings) -> RolloutView | None:
    values = records.of(settings.topics.rollouts, FLAG)
    return from_event(values[-1], RolloutView, type=ROLLOUT_TYPE) if values else None


def is_watched(records: Written, settings: Settings) -> bool:
    found = view(records, settings)
    return found is not None and len(found.arms) == 2 and all(arm.n >= WATCHED for arm in found.arms)


@pytest.mark.timeout(180)
async def test_on_call_hears_which_service_still_serves_what_was_killed(tmp_path: Path):
    """
    Two services, one on a copy of the flags that nobody changes; the treatment breaks and is killed. The receipt names the one
    that is stuck, with its exposures and its flag's version, and the page says so; once it follows, the kill is effective, and
    how long it took was learned of the store and of the service.
    """
    store, health = free_ports(2)
    async with events_api() as pages:
        with guardian(tmp_path, pages, store, health) as said:
            settings = await _its_broker(said)
            await until(lambda: _are_ready(health), within_s=60, what="all are ready")
            async with traffic(settings, tmp_path, store) as (services, records):
                await records.until(lambda: is_watched(records, settings), "the rollout is watched")
                for one in services:
                    one.is_broken = True
                await records.until(lambda: "not_effective" in receipts(records, settings), "it is seen that it is not effective")
                await until(lambda: any("has not taken effect" in text for text in paged(pages)), what="somebody was paged")
                services[1].follow(services[0])
                await records.until(lambda: "effective" in receipts(records, settings), "seen to be effective")
                await records.until(lambda: bool(_learned(records, settings)), "it is learned how long that took")

        told = receipts(records, settings)
        still = told["not_effective"].services
        assert ["checkout-api"] == [one.service for one in still if one.still]
        assert {OLD: still[0].still} == still[0].versions
        assert 0.3 * still[0].seen < still[0].still < 0.7 * still[0].seen
        [text] = [one for one in paged(pages) if "has not taken effect" in one]
        assert f"checkout-api still serves it: {still[0].still:,} of its {still[0].seen:,} exposures in the last" in text
        assert f"by flag version {OLD}" in text
        assert "search-api still" not in text
        took_ms = told["effective"].took_ms or 0
        assert took_ms > 1_000
        assert {(told["applied"].store, None): took_ms, (told["applied"].store, "checkout-api"): took_ms}.items() <= _learned(
            records, settings
        ).items()


def paged(pages: EventsApi) -> list[str]:
    """What somebody was woken for, in its order."""
    return [str(one["payload"]["summary"]) for one in pages.accepted if one["event_action"] == "trigger"]


def _learned(records: Written, settings: Settings) -> dict[tuple[str, str | None], int]:
    found = view(records, settings)
    return {(row.store, row.service): row.longest_ms for row in found.propagation} if found is not None else {}


async def _its_broker(said: Path) -> Settings:
    """Settings for the broker that the guardian has started, by which its topics are called as they are by default."""
    found = await until(
        lambda: re.search(r"embedded_broker_started\s+bootstrap=(\S+)", said.read_text()), within_s=60, what="a broker"
    )
    return Settings.model_validate({"kafka": {"bootstrap": found[1], "embedded": True}})


def _are_ready(health: int) -> bool:
    found = children(health)
    return set(found) == set(WORKERS) and all(found[name]["ready"] for name in WORKERS)
