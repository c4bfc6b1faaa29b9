"""The embedded broker does what the guardian asks of it; what it does not do is pinned down as well."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.broker.embedded import PARTITIONS, BrokerFailed, EmbeddedBroker

DEADLINE_S = 20.0


@pytest.fixture
def broker():
    with EmbeddedBroker() as broker:
        yield broker


async def read(bootstrap: str, topic: str, count: int, **options: object) -> list[tuple[int, int, bytes]]:
    """The first *count* records of a topic, as (partition, offset, value)."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", **options)
    async with asyncio.timeout(DEADLINE_S), consumer:
        found: list[tuple[int, int, bytes]] = []
        while len(found) < count:
            for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                found += [(partition.partition, record.offset, record.value) for record in records]
        return found


async def test_what_is_sent_is_read_in_the_order_of_its_partition(broker):
    """
    Records come back whole, each partition's in the order in which they were sent.
    """
    sent = [(number % PARTITIONS, str(number).encode()) for number in range(100)]
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for partition, value in sent:
            await producer.send_and_wait("events", value, partition=partition)

    found = await read(broker.bootstrap, "events", len(sent))

    for partition in range(PARTITIONS):
        assert [v for p, v in sent if p == partition] == [v for p, _, v in found if p == partition]


async def test_a_topic_has_the_partitions_that_it_was_made_with(broker):
    """
    ``create_topic`` gives a topic its number of partitions; another topic has ``PARTITIONS``.
    """
    broker.create_topic("seven", 7)

    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        assert set(range(7)) == await producer.partitions_for("seven")
        assert set(range(PARTITIONS)) == await producer.partitions_for("other")


def test_a_topic_is_not_made_twice(broker):
    """
    A topic that is there cannot be made again: its number of partitions may be another.
    """
    broker.create_topic("seven", 7)

    with pytest.raises(BrokerFailed, match="topic 'seven' with 8 partitions: .*already"):
        broker.create_topic("seven", 8)


async def test_committed_transactions_are_read_with_checksums_on(broker):
    """
    Records of transactions are read by consumers that check each batch: no marker with a wrong checksum lies between.
    """
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="guardian-in-0") as producer:
        for number in range(3):
            async with producer.transaction():
                await producer.send("out", str(number).encode(), partition=0)

    found = await read(broker.bootstrap, "out", 3, isolation_level="read_committed", check_crcs=True)
    assert [b"0", b"1", b"2"] == [value for _, _, value in found]


async def test_a_group_finds_its_offset_again(broker):
    """
    What a consumer commits is what the next one of its group begins with.
    """
    broker.create_topic("in", 1)
    source = TopicPartition("in", 0)
    options = {"bootstrap_servers": broker.bootstrap, "group_id": "group", "enable_auto_commit": False}
    async with AIOKafkaConsumer("in", **options) as consumer:
        await consumer.commit({source: OffsetAndMetadata(7, "a note")})

    async with AIOKafkaConsumer(**options) as consumer:
        assert 7 == await consumer.committed(source)


async def test_offsets_of_transactions_are_forgotten(broker):
    """
    An offset committed in a transaction is taken and dropped: see ``test_aborted_records_are_seen_by_all``.
    """
    broker.create_topic("in", 1)
    source = TopicPartition("in", 0)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="t")
    async with producer, producer.transaction():
        await producer.send_offsets_to_transaction({source: OffsetAndMetadata(7, "")}, "group")

    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="group") as consumer:
        assert await consumer.committed(source) is None


async def test_the_first_member_of_a_group_is_let_in_at_once(broker):
    """
    A consumer alone in its group has its partitions within a second, without a real broker's wait for others.
    """
    broker.create_topic("events", 4)
    consumer = AIOKafkaConsumer("events", bootstrap_servers=broker.bootstrap, group_id="group")
    async with asyncio.timeout(2.0), consumer:
        while not consumer.assignment():
            await asyncio.sleep(0.01)

        assert 4 == len(consumer.assignment())


async def test_aborted_records_are_seen_by_all(broker):
    """
    Isolation is not to be had here (docs/decisions says so): should this ever fail, that page can be mended.
    """
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="t") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait("out", b"aborted", partition=0)
        await producer.abort_transaction()

    assert [(0, 0, b"aborted")] == await read(broker.bootstrap, "out", 1, isolation_level="read_committed")


def test_it_runs_as_a_process_until_told_to_end():
    """
    ``python -m streams.broker`` says its address in one line, serves, and ends with 0 on SIGTERM.
    """
    command = [sys.executable, "-m", "streams.broker", "--topic", "journal:3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        bootstrap = json.loads(process.stdout.readline())["bootstrap"]

        async def partitions() -> set[int]:
            async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
                return await producer.partitions_for("journal")

        assert {0, 1, 2} == asyncio.run(partitions())
        os.kill(process.pid, signal.SIGTERM)
        assert 0 == process.wait(DEADLINE_S)


def test_it_ends_with_its_parent_if_told_so():
    """
    With ``--end-with-stdin`` the broker ends when its stdin does, however the parent died.
    """
    command = [sys.executable, "-m", "streams.broker", "--end-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.close()

        assert 0 == process.wait(DEADLINE_S)


@pytest.mark.parametrize("topic", ["journal", "journal:", "journal:0", ":3", "journal:x"])
def test_a_topic_needs_a_name_and_a_number(topic):
    """
    A topic that is not NAME:PARTITIONS is refused with what would be right.
    """
    done = subprocess.run([sys.executable, "-m", "streams.broker", "--topic", topic], capture_output=True, text=True)

    assert 2 == done.returncode
    assert "write NAME:PARTITIONS" in done.stderr
