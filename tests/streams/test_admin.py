"""Topics are made with their settings, and unsuitable ones are told of instead of used."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from demo.ports import free_ports
from streams.admin import TopicsError, ensure_topics
from streams.broker.embedded import EmbeddedBroker
from streams.changelog import KEPT, changelog_topic
from streams.topics import STAMPS
from tests.support.cluster import Cluster

DEADLINE_S = 30.0


async def settings_of(bootstrap: str, topics: list[str], name: str) -> dict[str, str]:
    """One setting of each topic, as the broker has it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: None}) for topic in topics]
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


async def forwarded(port: int, upstream: int) -> asyncio.Server:
    """Listen on *port* and pass everything to and from *upstream*."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
        sink.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", upstream)
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    return await asyncio.start_server(connected, "127.0.0.1", port)


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


async def test_topics_are_kept_as_the_table_says(real_cluster):
    """
    Each own topic, and the changelog, has the retention or compaction that ``Topics.own`` names.
    """
    settings = real_cluster.settings()
    await ensure_topics(settings)

    own = settings.topics.own | {changelog_topic(settings): KEPT}
    for name in ("cleanup.policy", "retention.ms", "min.compaction.lag.ms", STAMPS):
        expected = {topic: kept[name] for topic, kept in own.items() if name in kept}
        assert expected == await settings_of(real_cluster.bootstrap, list(expected), name)


async def test_topics_of_one_rollout_need_the_same_partitions(real_cluster):
    """
    A topic that somebody made with another number of partitions is named, with its number and the journal's.
    """
    settings = real_cluster.settings()
    await make(real_cluster.bootstrap, NewTopic(settings.topics.decisions, 3, 1))

    with pytest.raises(TopicsError, match=f"4 partitions, but {settings.topics.decisions} has 3; give all the same"):
        await ensure_topics(settings)


async def test_state_must_not_be_deleted_when_it_is_old(real_cluster):
    """
    A topic of newest state that is not compacted is refused: Kafka would forget its kills.
    """
    settings = real_cluster.settings()
    await make(real_cluster.bootstrap, NewTopic(settings.topics.flag_state, 4, 1))

    with pytest.raises(TopicsError, match=f"{settings.topics.flag_state}: has cleanup.policy=delete; set it to comp"):
        await ensure_topics(settings)


async def test_a_topic_that_cannot_be_made_is_named_with_the_reason(real_cluster):
    """
    More copies than there are brokers is the brokers' refusal, told in their words.
    """
    settings = real_cluster.settings(replication=5)

    with pytest.raises(TopicsError, match=rf"{settings.topics.journal}: cannot be made: .*only 1 broker"):
        await ensure_topics(settings)


async def test_kafka_is_waited_for():
    """
    While nobody listens at the address it goes on trying; once a broker does, it makes the topics.
    """
    (port,) = free_ports(1)
    settings = Cluster(f"127.0.0.1:{port}", embedded=True).settings()
    making = asyncio.ensure_future(ensure_topics(settings))
    with capture_logs() as logs:
        while not any(line["event"] == "kafka_not_reached" for line in logs):
            await asyncio.sleep(0.05)

    assert not making.done()
    with EmbeddedBroker() as broker:
        upstream = int(broker.bootstrap.rpartition(":")[2])
        async with await forwarded(port, upstream):
            assert 4 == await asyncio.wait_for(making, DEADLINE_S)
