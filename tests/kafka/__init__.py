"""A real Kafka for the tests, the benchmarks and people: ``python -m tests.kafka`` starts one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kafka.brokers import Brokers
from tests.kafka.docker import container
from tests.kafka.server import KafkaServer, takes_requests
from tests.kafka.ways import NoKafkaError, Way, can_own, find_way

__all__ = ["Brokers", "KafkaServer", "NoKafkaError", "Way", "can_own", "find_way", "running_kafka"]

ASKED = 5
"""Times that a given broker is asked, for a second each, before it counts as away."""


@contextmanager
def running_kafka(workdir: Path) -> Iterator[str]:
    """
    A real Kafka, had in the first way there is; yields its address. Its data is kept in *workdir*, if it is ours.

    Raises:
        NoKafkaError: there is no way.
        RuntimeError: there is one, but the broker does not start, or does not answer.
    """
    way = find_way()
    if way is Way.GIVEN:
        given = os.environ["KAFKA_BOOTSTRAP"]
        if not any(takes_requests(given) for _ in range(ASKED)):
            raise RuntimeError(f"KAFKA_BOOTSTRAP={given}: no Kafka answers there")
        yield given
    elif way is Way.JAVA:
        with KafkaServer.start(workdir) as server:
            yield server.bootstrap
    else:
        with container() as bootstrap:
            yield bootstrap
