"""Who wakes up late, or was started by mistake, does nothing twice and nothing that is over."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from guardian.journal import Override, encode
from streams.admin import ensure_topics
from streams.flag_state import read_record
from streams.partitioning import partition_of
from tests.streams.stores.support import treated
from tests.support.cluster import Cluster
from tests.support.installation import Installation
from tests.support.movers import until
from tests.support.pagerduty import events_api
from tests.support.processes import producer
from tests.support.survival import WORKERS, Rollout, rollout, until_ready

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150)]


@asynccontextmanager
async def started(cluster: Cluster, folder: Path, flag: str, beside: str = "", **sections: object) -> AsyncIterator[Installation]:
    settings = cluster.settings(partitions=2, **sections)
    await ensure_topics(settings, inputs=True)
    with Installation(settings, folder, [flag], beside) as guardian:
        try:
            await until_ready(guardian, *WORKERS)
            yield guardian
        finally:
            print(guardian.said.read_text())


async def resume(one: Rollout) -> None:
    """A person undoes the kill."""
    settings, key = one.guardian.settings, f"production|{one.flag}"
    wish = Override(at_ms=time.time_ns() // 1_000_000, key=key, action="resume", variation="treatment", by="ada", reason="fixed")
    async with producer(settings) as producing:
        partition = partition_of(key, len(await producing.partitions_for(settings.topics.journal)))
        await producing.send_and_wait(settings.topics.journal, encode(wish), key=key.encode(), partition=partition)


async def test_an_act_that_wakes_up_late_changes_nothing(real_cluster, tmp_path):
    """
    Stopped with a kill in hand, act wakes up when another one has carried it out and a person has undone it: the variation
    stays as the person wants it, and all that the late one says is that this was done before.
    """
    async with started(real_cluster, tmp_path, "act-sleeps") as guardian, rollout(guardian, "act-sleeps") as one:
        guardian.held.hold(one.flag, changed=False)
        await one.break_treatment()
        await until(guardian.held.holding.is_set, within_s=30, what="act asks the store")
        pid = guardian.signal("act", signal.SIGSTOP)
        with guardian.without_supervisor("act"), guardian.second_act():
            guardian.held.release()
            await until(lambda: not treated(one.client, one.flag), within_s=60, what="the second act kills")
            one.users.is_broken = False
            await resume(one)
            await until(lambda: treated(one.client, one.flag), within_s=30, what="the person has it back")
            await one.records.to_end()
            before = one.answers

            os.kill(pid, signal.SIGCONT)
            await one.records.until(lambda: len(one.answers) > len(before), "the late one answers")
        await until_ready(guardian, *WORKERS)
        await until(lambda: guardian.child("judge")["outbox"] == 0, within_s=20, what="every decision is answered")
        await one.records.to_end()

        records = [read_record(value) for value in one.records.of(guardian.settings.topics.flag_state, one.flag)]
        # What nobody answers for five seconds is decided again under its id: whoever carries it out may say so, too.
        assert ["applied", "applied"] == [one for one in before if one != "already"]
        assert {"already", "superseded"} >= set(one.answers[len(before) :])
        assert [(1, {"treatment": "control"}), (2, {})] == [(one["version"], one["killed"]) for one in records]
        assert 400 < treated(one.client, one.flag) < 600


@pytest.mark.long
async def test_two_guardians_on_two_hosts_are_one(real_cluster, tmp_path):
    """
    Started twice with the same settings, on two hosts: they share the work. One decision, one change of the flag, one page.
    """
    key = tmp_path / "routing-key"
    key.write_text("R" * 32)
    async with events_api() as api:
        alerts = {"pagerduty": {"url": api.url, "routing_key_file": str(key)}}
        async with started(real_cluster, tmp_path, "twice", ",report", alerts=alerts) as guardian:
            with guardian.second_host():
                await until(guardian.second_ready, within_s=60, what="the second host is ready")
                async with rollout(guardian, "twice") as one:
                    await one.break_treatment()
                    await one.assert_survived({"applied"})
                    await until(lambda: api.accepted, within_s=20, what="somebody was paged")

    assert [["trigger"]] == [[event["event_action"] for event in events] for events in api.open.values()]
    assert [] == api.refused


async def test_two_guardians_on_one_host_are_told_apart(real_cluster, tmp_path):
    """The second one ends at once, and says which port is taken; the first goes on."""
    async with started(real_cluster, tmp_path, "twice") as guardian:
        second = await asyncio.to_thread(guardian.started_again)

        assert 1 == second.returncode
        assert f"health.port {guardian.health['main']}: Address already in use" in second.stdout + second.stderr
        await until_ready(guardian, *WORKERS)
