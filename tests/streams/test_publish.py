"""Policies from files into the journal, and topics that are read whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from guardian.decisions import ROLLOUT_TYPE
from guardian.journal import PolicyEntry, decode
from guardian.policy import Policy, policy_hash
from streams.admin import ensure_topics
from streams.cloudevents import to_event
from streams.flag_state import FLAG_STATE_TYPE, Records, read_record, rewrite, write_record
from streams.outlet import NotDelivered, Outlet, open_outlet
from streams.partitioning import partition_of
from streams.policies import load_policies
from streams.publish import publish_policies
from streams.reading import Follower, newest_values
from streams.settings import Settings
from streams.status import Status
from tests.support.cluster import Cluster
from tests.support.movers import until, view
from tests.support.processes import reader


@asynccontextmanager
async def outlet_of(cluster: Cluster) -> AsyncIterator[tuple[Settings, Outlet]]:
    settings = cluster.settings()
    await ensure_topics(settings)
    async with open_outlet(settings, "test", Status("test")) as outlet:
        yield settings, outlet


@pytest.fixture
def policy() -> Policy:
    return load_policies([Path("config/policies/checkout-v2.yaml")])[0]


async def show(settings: Settings, outlet: Outlet, policy: Policy, hashed: str) -> None:
    """What judge writes once it has taken a policy."""
    shown = view("2026-11-21T01:00:00.000Z").model_copy(update={"key": policy.key, "policy_hash": hashed})
    event = to_event(ROLLOUT_TYPE, shown, id="1", time=shown.at, source="/guardian/judge")
    await outlet.send(settings.topics.rollouts, policy.key, event)


async def test_new_policy_is_written_where_its_rollout_lives(kafka, policy):
    """A policy that judge has never shown becomes an entry in the journal partition of its rollout."""
    async with outlet_of(kafka) as (settings, outlet), reader(settings, settings.topics.journal) as journal:
        written = await publish_policies(settings, outlet, [policy], by="files")
        [value] = await journal.until(lambda values: values, 10, "an entry")
        entry = decode(value)
        partition = journal.partitions[0]
        partitions = await outlet.partitions(settings.topics.journal)

    assert (1, partition_of(policy.key, partitions)) == (written, partition)
    assert isinstance(entry, PolicyEntry)
    assert (policy.key, policy_hash(policy), "files") == (entry.key, entry.hash, entry.by)
    assert policy == Policy.from_document(entry.document)


@pytest.mark.parametrize(("standing", "written"), [("same", 0), ("other", 1), ("unreadable", 1)])
async def test_policy_is_written_again_only_if_it_says_something_new(embedded_kafka, policy, standing, written):
    """What stands under the same hash is left alone; another hash, or none that can be read, is written over."""
    async with outlet_of(Cluster(embedded_kafka, embedded=True)) as (settings, outlet):
        await show(settings, outlet, policy, "sha256:before")
        if standing == "unreadable":
            await outlet.send(settings.topics.rollouts, policy.key, b"nonsense")
        else:
            await show(settings, outlet, policy, policy_hash(policy) if standing == "same" else "sha256:other")

        assert written == await publish_policies(settings, outlet, [policy], by="files")


async def test_newest_value_of_each_key_is_read(kafka):
    """A compacted topic is read to its end, also where nothing stands in it; deleted keys are not there."""
    async with outlet_of(kafka) as (settings, outlet):
        topic = settings.topics.rollouts
        assert {} == await newest_values(settings, topic)
        for key, value in (("a", b"1"), ("b", b"1"), ("a", b"2"), ("b", None)):
            await outlet.send(topic, key, value)

        assert {"a": b"2"} == await newest_values(settings, topic)


async def test_follower_reads_on(embedded_kafka):
    """What another worker writes later is known, too; an older record that comes late changes nothing."""
    records = Records()
    async with outlet_of(Cluster(embedded_kafka, embedded=True)) as (settings, outlet):
        follower = Follower(settings, settings.topics.flag_state, records.take)
        following = asyncio.ensure_future(follower.run())
        await asyncio.wait_for(follower.caught_up.wait(), 10)
        for version in (1, 3, 2):
            record: dict[str, Any] = {"flag_key": "checkout", "environment": "production", "version": version}
            await write_record(outlet, settings.topics, record)
        await outlet.send(settings.topics.flag_state, "production|checkout", b"nonsense")
        last = to_event(FLAG_STATE_TYPE, {"version": 1}, id="1", time="", source="/test")
        partition = partition_of("production|checkout", await outlet.partitions(settings.topics.flag_state))
        await outlet.send(settings.topics.flag_state, "last", last, partition=partition)
        await until(lambda: records.get("last"), what="all is read")
        following.cancel()
        await asyncio.wait({following})

    assert 3 == (records.get("production|checkout") or {})["version"]


async def test_what_came_too_late_does_not_stay_the_last(kafka):
    """After a late record the one in force is written once more, and only once: compaction keeps the last of a flag."""
    async with outlet_of(kafka) as (settings, outlet):
        topic = settings.topics.flag_state
        for flag, version in (("checkout", 1), ("checkout", 3), ("search", 1), ("checkout", 2)):
            await write_record(outlet, settings.topics, {"flag_key": flag, "environment": "production", "version": version})
        found = []
        for _ in range(2):
            records = Records()
            await Follower(settings, topic, records.take).read_to_end()
            found.append([one["version"] for one in records.overwritten()])
            await rewrite(outlet, settings.topics, records.overwritten())
        last = {key: read_record(value)["version"] for key, value in (await newest_values(settings, topic)).items()}

    assert [[3], []] == found
    assert {"production|checkout": 3, "production|search": 1} == last


async def test_record_that_no_broker_takes_is_said(embedded_kafka):
    """What is not kept raises, with the topic, the key and the reason; nothing is lost in silence."""
    async with outlet_of(Cluster(embedded_kafka, embedded=True)) as (settings, outlet):
        with pytest.raises(NotDelivered, match=r"production\|checkout: MessageSizeTooLargeError"):
            await outlet.send(settings.topics.receipts, "production|checkout", b"x" * 2_000_000)
