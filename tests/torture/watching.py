"""When judge was heard of: read as it writes, since compaction forgets what newer snapshots replace."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from guardian.bank import Bank
from streams.changelog import changelog_topic
from streams.settings import Settings
from streams.snapshots import split_table_key

POLL_S = 0.5


class Watching:
    """The times, in seconds by the brokers' clocks, at which the sources of each journal partition were kept."""

    def __init__(self) -> None:
        self.heard_s: dict[str, list[float]] = {}
        self._is_over = threading.Event()

    @contextmanager
    def of(self, settings: Settings) -> Iterator[None]:
        """Watch for as long as the block runs."""
        reading = threading.Thread(target=self._read, args=(settings,), name="watching")
        reading.start()
        try:
            yield
        finally:
            self._is_over.set()
            reading.join()

    def _read(self, settings: Settings) -> None:
        options = {"group.id": uuid.uuid4().hex, "log_level": 0, "enable.auto.commit": False}
        consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, **options})
        topic = changelog_topic(settings)
        consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in range(settings.partitions)])
        while not self._is_over.is_set():
            message = consumer.poll(POLL_S)
            if message is None or message.error():
                continue
            partition, part = split_table_key(message.key())
            if part == Bank.SOURCES:
                self.heard_s.setdefault(str(partition), []).append(message.timestamp()[1] / 1_000)
        consumer.close()
