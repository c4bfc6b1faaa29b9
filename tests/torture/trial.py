"""One trial: the same events read by an installation that nobody disturbs, and by one that is struck again and again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer

from guardian.bank import Bank
from streams.admin import ensure_topics
from streams.changelog import changelog_topic
from streams.reading import newest_values
from streams.settings import Settings
from streams.snapshots import split_table_key, unpacked
from tests.kafka.brokers import Brokers
from tests.support.cluster import Cluster
from tests.torture.faults import STEADY, Fault, Terms, schedule
from tests.torture.findings import Found, compared
from tests.torture.hosts import Host
from tests.torture.ledger import Ledger
from tests.torture.story import Story, Written
from tests.torture.striking import Striker
from tests.torture.watching import Watching

HOSTS, BROKERS = 2, 3
GIVEN = {"partitions": 2, "observe": {"flush_ms": 500}, "judge": {"snapshot_s": 1.0}}
"""
Brokers, three guardians and the events share a machine: hundreds of transactions a second would be all it does. And
judge of a partition in which nothing happens is heard of by its snapshots alone.
"""
READY_S, SETTLE_S = 120.0, 180.0
BROKER_S = 8.0
"""About how long a broker's fault holds up the next one."""
REST_S = 6.0
TURN_S = 20.0
"""About so long after one flag the next one begins to do harm."""
Say = Callable[[str], None]


def run_trial(
    brokers: Brokers, calm: str, folder: Path, seed: int, kills: int, say: Say = print, terms: Terms = STEADY
) -> Found:
    """
    Strike until so many kills, and count; takes about 16 s a kill, or six in a storm, and a minute more.

    Whoever is not disturbed reads the same events from the broker at *calm*, which nobody kills.
    """
    faults = list(schedule(seed, kills, HOSTS, BROKERS, terms))
    seconds = sum(f.after_s + (BROKER_S if f.kind == "broker" else 0.0) for f in faults) + REST_S
    story = Story(seed, seconds, flags=2 * max(round(seconds / TURN_S), 2))
    say(f"{len(faults)} faults over {seconds:.0f} s, {story.flags} flags, on {brokers.bootstrap}")
    trial = Trial(folder, brokers, calm, story, say)
    try:
        trial.begin()
        trial.go(faults)
        return trial.end(seed, terms)
    finally:
        trial.stop()


class Trial:
    """The two installations, and what happens to them."""

    def __init__(self, folder: Path, brokers: Brokers, calm: str, story: Story, say: Say) -> None:
        self.calm, self.struck = (Cluster(at, embedded=False).settings(**GIVEN) for at in (calm, brokers.bootstrap))
        self._say, self._story = say, story
        places = {name: folder / name for name in ("calm", "struck")}
        for place in places.values():
            place.mkdir()
        self._witness = Host(self.calm, places["calm"], "calm", story.names)
        hosts = [Host(self.struck, places["struck"], f"host-{number}", story.names) for number in range(HOSTS)]
        self._striker = Striker(brokers, hosts)
        self._watching = Watching()

    @property
    def _all(self) -> list[Host]:
        return [self._witness, *self._striker.hosts]

    def begin(self) -> None:
        """Make the topics and start the hosts; return once all are ready."""
        for settings in (self.calm, self.struck):
            asyncio.run(ensure_topics(settings, inputs=True))
        for host in self._all:
            host.start()
        self._wait(READY_S)

    def stop(self) -> None:
        """End every host."""
        for host in self._all:
            host.stop()

    def go(self, faults: list[Fault]) -> None:
        """Tell the story while the faults happen; return once both are over, and what was broken is mended."""
        telling = threading.Thread(target=self._tell, name="story")
        with self._watching.of(self.struck):
            telling.start()
            self._striker.strike_all(faults, self._say)
            telling.join()
            self._striker.mend()
            self._wait(SETTLE_S)

    def end(self, seed: int, terms: Terms) -> Found:
        """Wait until everything written was read and judged; count."""
        asyncio.run(self._settled())
        calm, struck = (asyncio.run(Ledger.read(settings)) for settings in (self.calm, self.struck))
        return compared(self._story, calm, struck, self._watching.heard_s, self._striker, seed, terms)

    def _wait(self, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while waiting := [host for host in self._all if not host.is_ready()]:
            if time.monotonic() > deadline_s:
                said = {host.name: host.children() for host in waiting}
                raise AssertionError(f"not ready within {within_s:.0f} s: {said}\n{waiting[0].said.read_text()[-6000:]}")
            time.sleep(0.2)

    def _tell(self) -> None:
        options = {"linger.ms": 100, "enable.idempotence": True, "delivery.timeout.ms": 600_000, "log_level": 0}
        both = [(Producer({"bootstrap.servers": to.kafka.bootstrap, **options}), to.topics) for to in (self.calm, self.struck)]
        began_s, refused = time.time(), []

        def told(error: object, _: object) -> None:
            if error is not None:
                refused.append(error)

        for record in self._story.tell():
            while (wait_s := began_s + record.at_s - time.time()) > 0:
                time.sleep(min(wait_s, 0.02))
            value = _at(record)
            for producer, topics in both:
                [topic] = topics.outcomes if record.is_outcome else topics.exposures
                producer.produce(topic, value, record.key, on_delivery=told)
                producer.poll(0)
        for producer, _ in both:
            producer.flush()
        assert not refused, f"the brokers refused events: {refused[:3]}"
        self._say(f"the story is told: {sum(self._story.totals.values())} events and failures")

    async def _settled(self) -> None:
        async with asyncio.timeout(SETTLE_S):
            for settings in (self.calm, self.struck):
                while not await _is_summed(settings):
                    await asyncio.sleep(0.3)
                ends = await _ends(settings, settings.topics.journal)
                while not await _is_judged(settings, ends):
                    await asyncio.sleep(0.3)


def _at(record: Written) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
    return record.value.replace(b"TIME", now, 1)


async def _ends(settings: Settings, *topics: str, group: str | None = None) -> dict[TopicPartition, int]:
    """Where the topics end now; with a group, what it has committed of them."""
    consumer = AIOKafkaConsumer(*topics, **settings.kafka.client_options(), group_id=None)
    await consumer.start()
    try:
        return dict(await consumer.end_offsets(consumer.assignment()))
    finally:
        await consumer.stop()


async def _is_summed(settings: Settings) -> bool:
    """Whether observe has committed all that stands in the inputs."""
    ends = await _ends(settings, *settings.topics.inputs)
    consumer = AIOKafkaConsumer(**settings.kafka.client_options(), group_id=f"{settings.kafka.group_prefix}-observe")
    await consumer.start()
    try:
        return all([end == 0 or (await consumer.committed(at) or 0) >= end for at, end in ends.items()])
    finally:
        await consumer.stop()


async def _is_judged(settings: Settings, ends: dict[TopicPartition, int]) -> bool:
    """Whether judge's snapshots have seen the journal up to these ends; its last offsets are markers."""
    values = await newest_values(settings, changelog_topic(settings))
    seen = {}
    for key, value in values.items():
        partition, part = split_table_key(key.encode())
        if part == Bank.SOURCES:
            seen[partition] = Bank.offset_of(unpacked(value))
    return all(seen.get(at.partition, -1) >= end - 2 for at, end in ends.items() if end)
