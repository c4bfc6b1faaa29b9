"""Several Kafka brokers in one cluster, each of which a test may kill and start again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from demo.ports import free_ports
from tests.kafka.server import KafkaServer, new_cluster_id

HEAP_MB = 320
SYNC_S = 60.0
_REPLICATED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    # What was written when a broker dies is on two others, or nowhere: no leader that has missed some of it.
    "unclean.leader.election.enable": "false",
    "replica.lag.time.max.ms": "3000",
}


class Brokers:
    """Three brokers that keep everything three times; ``bootstrap`` names all of them."""

    def __init__(self, servers: Sequence[KafkaServer]) -> None:
        self.servers = list(servers)
        self.bootstrap = ",".join(server.bootstrap for server in self.servers)

    @classmethod
    def start(cls, workdir: Path, count: int = 3) -> Self:
        """
        Start them; return once every partition is kept by all.

        Raises:
            RuntimeError: one does not start; the text holds what it said.
        """
        ports = free_ports(2 * count)
        pairs = list(zip(ports[::2], ports[1::2], strict=True))
        voters = ",".join(f"{number}@127.0.0.1:{controller}" for number, (_, controller) in enumerate(pairs, 1))
        cluster = new_cluster_id()
        brokers = cls([
            KafkaServer(
                workdir / f"broker-{number}", ports=pair, cluster=cluster, heap_mb=HEAP_MB, is_short_lived=True,
                properties={"node.id": str(number), "controller.quorum.voters": voters, **_REPLICATED},
            )
            for number, pair in enumerate(pairs, 1)
        ])  # fmt: skip
        try:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(KafkaServer.format, brokers.servers))
            for server in brokers.servers:
                server.launch()
            for server in brokers.servers:
                server.wait()
            brokers.wait_in_sync()
        except BaseException:
            brokers.stop()
            raise
        return brokers

    def missing(self) -> list[str]:
        """Return what is not kept by all brokers now; everything, where none answers."""
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
        try:
            found = client.list_topics(timeout=5)
        except KafkaException as error:
            return [repr(error)]
        if len(found.brokers) < len(self.servers):
            return [f"{len(found.brokers)} brokers of {len(self.servers)}"]
        return [
            f"{topic.topic}/{number}: kept by {len(one.isrs)} of {len(one.replicas)}"
            for topic in found.topics.values()
            for number, one in topic.partitions.items()
            if len(one.isrs) < len(one.replicas)
        ]

    def wait_in_sync(self, within_s: float = SYNC_S) -> None:
        """
        Return once every partition is kept by all brokers.

        Raises:
            RuntimeError: that is not so in time.
        """
        deadline_s = time.monotonic() + within_s
        while missing := self.missing():
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"not in sync within {within_s:.0f} s: {missing[:5]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End them; those that wait for the others are killed."""
        for server in self.servers:
            # In good order a broker hands its partitions over first; here nobody is left to take them.
            server.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
