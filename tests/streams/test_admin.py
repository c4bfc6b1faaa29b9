"""Topics are made with their settings, and unsuitable ones are told of instead of used."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.admin import TopicsError, ensure_topics
from streams.snapshots import changelog_topic
from tests.kafka.server import free_ports

DEADLINE_S = 30.0


async def settings_of(bootstrap: str, topics: list[str], name: str) -> dict[str, str]:
    """One setting of each topic, as the broker has it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic, configs=[name]) for topic in topics]
        answers = await admin.describe_configs(resources)
    finally:
        await admin.close()
    return {topic: entries[0][1] for answer in answers for _, _, _, topic, entries in answer.resources}


async def make(bootstrap: str, *topics: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answer = (await admin.create_topics(list(topics))).to_object()
    finally:
        await admin.close()
    assert [] == [one for one in answer["topic_errors"] if one["error_code"]]


async def partitions_of(bootstrap: str, topics: list[str]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {one["topic"]: len(one["partitions"]) for one in await admin.describe_topics(topics)}
    finally:
        await admin.close()


async def test_every_topic_is_there_afterwards(kafka):
    """
    All own topics, the changelog and, where asked for, the inputs are there, with as many partitions as was returned.
    """
    settings = kafka.settings()
    wanted = [*settings.topics.own, *settings.topics.inputs, changelog_topic(settings)]

    partitions = await asyncio.wait_for(ensure_topics(settings, inputs=True), DEADLINE_S)

    assert 4 == partitions
    assert dict.fromkeys(wanted, 4) == await partitions_of(kafka.bootstrap, wanted)


async def test_a_second_call_changes_nothing(kafka):
    """
    Topics that are there are left as they are, and their partitions count, not the setting.
    """
    first = kafka.settings()
    await asyncio.wait_for(ensure_topics(first), DEADLINE_S)

    assert 4 == await asyncio.wait_for(ensure_topics(first.model_copy(update={"partitions": 9})), DEADLINE_S)


async def test_two_workers_may_start_at_once(kafka):
    """
    Whoever is second at making a topic takes it as it is.
    """
    settings = kafka.settings()

    assert [4, 4, 4] == await asyncio.gather(*(ensure_topics(settings) for _ in range(3)))


async def test_topics_are_kept_as_the_table_says(real_kafka, cluster):
    """
    Each own topic, and the changelog, has the retention or compaction that ``Topics.own`` names.
    """
    settings = cluster.settings()
    await ensure_topics(settings)

    topics = settings.topics
    for name in ("cleanup.policy", "retention.ms"):
        expected = {topic: kept[name] for topic, kept in topics.own.items() if name in kept}
        assert expected == await settings_of(real_kafka, list(expected), name)
    assert {"compact"} == set((await settings_of(real_kafka, [changelog_topic(settings)], "cleanup.policy")).values())
