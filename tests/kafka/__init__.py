"""A real Kafka for the tests, the benchmarks and people: ``python -m tests.kafka`` starts one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kafka.docker import container
from tests.kafka.server import KafkaServer
from tests.kafka.ways import NoKafkaError, Way, can_own, find_way

__all__ = ["KafkaServer", "NoKafkaError", "Way", "can_own", "find_way", "running_kafka"]


@contextmanager
def running_kafka(workdir: Path) -> Iterator[str]:
    """
    A real Kafka, had in the first way there is; yields its address. Its data is kept in *workdir*, if it is ours.

    Raises:
        NoKafkaError: there is no way.
        RuntimeError: there is one, but the broker does not start.
    """
    way = find_way()
    if way is Way.GIVEN:
        yield os.environ["KAFKA_BOOTSTRAP"]
    elif way is Way.JAVA:
        with KafkaServer.start(workdir) as server:
            yield server.bootstrap
    else:
        with container() as bootstrap:
            yield bootstrap
