"""When judge was heard of: read as it writes, since compaction forgets what newer snapshots and views replace."""

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
    """The times, in seconds, at which the state of each journal partition was kept, or one of its rollouts shown."""

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
            for times in self.heard_s.values():
                times.sort()

    def _read(self, settings: Settings) -> None:
        options = {"group.id": uuid.uuid4().hex, "log_level": 0, "enable.auto.commit": False}
        consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, **options})
        changelog, views = changelog_topic(settings), settings.topics.rollouts
        # All three are partitioned by the rollout's key, alike.
        numbers = range(settings.partitions)
        consumer.assign([TopicPartition(topic, at, OFFSET_END) for topic in (changelog, views) for at in numbers])
        while not self._is_over.is_set():
            message = consumer.poll(POLL_S)
            if message is None or message.error():
                continue
            if message.topic() == views or split_table_key(message.key())[1] == Bank.SOURCES:
                self.heard_s.setdefault(str(message.partition()), []).append(message.timestamp()[1] / 1_000)
        consumer.close()
