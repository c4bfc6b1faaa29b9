"""Any client's default partitioner agrees with the guardian's."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from guardian.names import rollout_key
from streams.broker.embedded import EmbeddedBroker
from streams.partitioning import partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # From Kafka's own UtilsTest.testMurmur2, as signed 32-bit numbers.
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
@pytest.mark.parametrize("partitions", [1, 3, 8, 64])
def test_keys_lie_where_kafkas_own_partitioner_puts_them(key, hashed, partitions):
    """
    The partition is Kafka's murmur2 of the key, its sign bit dropped, modulo the partitions.
    """
    assert (hashed & 0x7FFFFFFF) % partitions == partition_of(key, partitions)


@given(st.text(max_size=60), st.integers(1, 256))
def test_aiokafka_agrees(key, partitions):
    """
    aiokafka, which sends most of our records, would have chosen the same partition.
    """
    everything = list(range(partitions))

    assert DefaultPartitioner()(key.encode(), everything, everything) == partition_of(key, partitions)


def test_librdkafka_agrees():
    """
    A librdkafka client set to ``murmur2_random`` (every language has one) writes a key to the same partition.
    """
    keys = [rollout_key(where, f"flag-{number}") for where in ("production", "größer") for number in range(40)]
    found: dict[str, int] = {}
    with EmbeddedBroker() as broker:
        broker.create_topic("keys", 7)
        producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random"})
        for key in keys:
            producer.produce("keys", b"", key, on_delivery=lambda _, m: found.update({m.key().decode(): m.partition()}))
        assert 0 == producer.flush(10.0)

    assert {key: partition_of(key, 7) for key in keys} == found


@pytest.mark.parametrize("partitions", [0, -1])
def test_a_topic_without_partitions_is_refused(partitions):
    """
    There is no partition to choose from in a topic that has none.
    """
    with pytest.raises(ValueError, match=f"not {partitions}"):
        partition_of("production|checkout", partitions)
