"""A guardian on a flag store of somebody's own that goes away: the kill waits, is told, and arrives once when it is back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.ports import free_ports
from guardian.decisions import RECEIPT_TYPE, ROLLOUT_TYPE, Receipt, RolloutView
from streams.cloudevents import from_event
from streams.settings import Settings
from tests.support.installation import Written, written
from tests.support.movers import until
from tests.support.pagerduty import EventsApi, events_api
from tests.support.processes import producer
from tests.support.receiver import SECRET
from tests.support.receiver_process import FileFlags, ReceiverProcess, of
from tests.support.started import children, command, end_process, write_flags
from tests.support.users import Users

FLAG = "checkout"
WORKERS = ("observe", "judge", "act", "report")
WATCHED = 150
"""Requests of each arm before the treatment breaks."""


@contextmanager
def guardian(folder: Path, store: ReceiverProcess, pages: EventsApi, health: int) -> Iterator[Path]:
    """``guardian run --embedded`` that changes flags in *store* and pages through *pages*; what it says goes to the file."""
    write_flags(folder, [FLAG])
    settings = Settings.model_validate({"kafka": {"embedded": True}, "observe": {"workers": 1}})
    started = command(settings, folder, "guardian", ",".join(WORKERS), store=0, health=health)
    secret, said = folder / "secret", folder / "said"
    secret.write_text(SECRET)
    own = {
        "GUARDIAN_STORE": "webhook",
        "GUARDIAN_WEBHOOK_STORE__URL": store.url,
        "GUARDIAN_WEBHOOK_STORE__SECRET_FILE": str(secret),
        "GUARDIAN_ACT__DEADLINE_S": "1",
        "GUARDIAN_JUDGE__PROPAGATION_S": "1",
        "GUARDIAN_ALERTS__PAGERDUTY__URL": pages.url,
        "GUARDIAN_ALERTS__PAGERDUTY__ROUTING_KEY": "r" * 32,
    }
    with said.open("wb") as out, subprocess.Popen(started, stdout=out, stderr=out, env=os.environ | own) as process:
        try:
            yield said
        finally:
            end_process(process)
            print(said.read_text())


@asynccontextmanager
async def traffic(settings: Settings, store: ReceiverProcess) -> AsyncIterator[tuple[Users, Written]]:
    """Users of the flag as the store has it, and what the guardian writes about it."""
    topics = settings.topics
    async with written(settings, topics.rollouts, topics.receipts) as records, producer(settings, linger_ms=5) as producing:
        users = Users(settings, producing, FileFlags(store), FLAG)
        async with users.busy():
            yield users, records


async def _its_broker(said: Path) -> Settings:
    """Settings for the broker that the guardian has started, by which its topics are called as they are by default."""
    found = await until(
        lambda: re.search(r"embedded_broker_started\s+bootstrap=(\S+)", said.read_text()), within_s=30, what="a broker"
    )
    return Settings.model_validate({"kafka": {"bootstrap": found[1], "embedded": True}})


def receipts(records: Written, settings: Settings) -> list[Receipt]:
    return [from_event(value, Receipt, type=RECEIPT_TYPE) for value in records.of(settings.topics.receipts, FLAG)]


def is_watched(records: Written, settings: Settings) -> bool:
    values = records.of(settings.topics.rollouts, FLAG)
    view = from_event(values[-1], RolloutView, type=ROLLOUT_TYPE) if values else None
    return view is not None and len(view.arms) == 2 and all(arm.n >= WATCHED for arm in view.arms)


def paged(pages: EventsApi) -> list[str]:
    """What somebody was woken for, in its order."""
    return [str(one["payload"]["summary"]) for one in pages.accepted if one["event_action"] == "trigger"]


@pytest.mark.timeout(120)
async def test_a_kill_waits_for_a_store_that_is_down_and_arrives_once(tmp_path: Path):
    """
    The store is killed, then the treatment breaks: somebody is paged that it is to be killed, and that the kill waits, once; when
    the store is back the treatment is stopped by one change of it, somebody is paged that it arrived, once, and it is seen to be
    effective.
    """
    [health] = free_ports(1)
    async with events_api() as pages:
        with ReceiverProcess(tmp_path, FLAG) as store, guardian(tmp_path, store, pages, health) as said:
            await store.up()
            settings = await _its_broker(said)
            await until(lambda: _are_ready(health, *WORKERS), within_s=60, what="all are ready")
            async with traffic(settings, store) as (users, records):
                await records.until(lambda: is_watched(records, settings), "the rollout is watched")
                store.down()
                users.is_broken = True
                await records.until(lambda: "waiting" in _statuses(records, settings), "the kill waits")
                await until(lambda: len(paged(pages)) == 2, what="somebody was paged")
                await asyncio.to_thread(_assert_told_why, health)
                await store.up()
                await store.until_killed(FLAG)
                await records.until(lambda: "effective" in _statuses(records, settings), "seen to be effective")
                await until(lambda: len(paged(pages)) >= 3, what="somebody was told that it arrived")
                await until(lambda: _are_ready(health, *WORKERS), within_s=40.0, what="all are ready again")
                await records.to_end()

        assert [f"production|{FLAG}|treatment|1"] == of(store.effects, FLAG)
        assert ["waiting", "applied", "effective"] == _statuses(records, settings)
        decided, waits, arrived = paged(pages)
        assert decided.startswith(f"Killed {FLAG}/treatment")
        assert "waits" in waits
        assert "after it was decided" in arrived
        text = said.read_text() + json.dumps(pages.accepted)
        assert not [secret for secret in (SECRET, SECRET.removeprefix("whsec_"), "hidden-in-the-path") if secret in text]


def _statuses(records: Written, settings: Settings) -> list[str]:
    return [one.status for one in receipts(records, settings)]


def _are_ready(health: int, *names: str) -> bool:
    found: dict[str, Any] = children(health)
    return set(found) == set(names) and all(found[name]["ready"] for name in names)


def _assert_told_why(health: int) -> None:
    """Who looks at /readyz sees that the flag store does not answer; there is no process of flagd."""
    found = children(health)
    assert "store" not in found
    assert (False, True) == (found["act"]["ready"], "flag store: the webhook store at 127.0.0.1:" in found["act"]["why"])
