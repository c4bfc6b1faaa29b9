"""Which partition a rollout lives in: the same for every topic, processor and client."""

from __future__ import annotations

from functools import lru_cache

from aiokafka.partitioner import murmur2

REMEMBERED = 65_536


@lru_cache(maxsize=REMEMBERED)
def partition_of(key: str, partitions: int) -> int:
    """
    Return the partition of *key* out of *partitions*, as Kafka's own default partitioner chooses it.

    So a record that any client writes with the key ``environment|flag_key`` and no explicit partition lies where the
    guardian's own records of that rollout lie.

    Raises:
        ValueError: there is no partition to choose from.
    """
    if partitions < 1:
        raise ValueError(f"a topic has 1 partition or more, not {partitions}")
    hashed: int = murmur2(key.encode())
    return (hashed & 0x7FFFFFFF) % partitions
