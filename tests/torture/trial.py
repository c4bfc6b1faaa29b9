"""One trial: the same events read by an installation that nobody disturbs, and by one that is struck again and again."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
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
from tests.torture.faults import Fault, schedule
from tests.torture.hosts import Host
from tests.torture.ledger import Ledger
from tests.torture.story import Story, Totals, Written
from tests.torture.striking import Striker, Struck

HOSTS, BROKERS = 2, 3
READY_S, SETTLE_S = 120.0, 180.0
BROKER_S = 8.0
"""About how long a broker's fault holds up the next one."""
REST_S = 6.0
LATE_MOST_S, STORE_MOST_S, TAKEOVER_MOST_S = 10.0, 15.0, 10.0
Say = Callable[[str], None]


@dataclass
class Found:
    """What a trial found; nothing in ``wrong``, and it has passed."""

    seed: int
    kills: int
    struck: list[Struck]
    sent: int
    repeated_or_dead: int
    counted: int
    lost: int
    doubled: int
    verdicts: int
    late_s: list[float]
    in_store_s: list[float]
    takeover_s: dict[str, list[float]]
    wrong: list[str] = field(default_factory=list)


def run_trial(folder: Path, seed: int, kills: int, say: Say = print) -> Found:
    """Strike until so many kills, and count; takes about three seconds a kill, and a minute more."""
    faults = list(schedule(seed, kills, HOSTS, BROKERS))
    seconds = sum(f.after_s + (BROKER_S if f.kind == "broker" else 0.0) for f in faults) + REST_S
    story = Story(seed, seconds, flags=2 * max(round(seconds / 12.0), 2))
    with Brokers.start(folder / "kafka") as brokers:
        say(f"three brokers at {brokers.bootstrap}; {len(faults)} faults over {seconds:.0f} s, {story.flags} flags")
        trial = Trial(folder, brokers, story, say)
        try:
            trial.begin()
            trial.go(faults)
            return trial.end(seed, kills)
        finally:
            trial.stop()


class Trial:
    """The two installations, and what happens to them."""

    def __init__(self, folder: Path, brokers: Brokers, story: Story, say: Say) -> None:
        cluster = Cluster(brokers.bootstrap, embedded=False)
        self.calm = cluster.settings()
        names = cluster.settings().topic_names.model_dump()
        inputs = {name: getattr(self.calm.topic_names, name) for name in ("exposures", "outcomes", "feedback")}
        self.struck = cluster.settings(topics=names | inputs)
        self._say, self._story, self._brokers = say, story, brokers
        places = {name: folder / name for name in ("calm", "struck")}
        for place in places.values():
            place.mkdir()
        self._witness = Host(self.calm, places["calm"], "calm", story.names)
        hosts = [Host(self.struck, places["struck"], f"host-{number}", story.names) for number in range(HOSTS)]
        self._striker = Striker(brokers, hosts)

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
        telling.start()
        self._striker.strike_all(faults, self._say)
        telling.join()
        self._striker.mend()
        self._wait(SETTLE_S)

    def end(self, seed: int, kills: int) -> Found:
        """Wait until everything written was read and judged; count."""
        asyncio.run(self._settled())
        calm, struck = (asyncio.run(Ledger.read(settings)) for settings in (self.calm, self.struck))
        return compared(self._story, calm, struck, self._striker.struck, seed, kills)

    def _wait(self, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while waiting := [host for host in self._all if not host.is_ready()]:
            if time.monotonic() > deadline_s:
                said = {host.name: host.children() for host in waiting}
                raise AssertionError(f"not ready within {within_s:.0f} s: {said}\n{waiting[0].said.read_text()[-6000:]}")
            time.sleep(0.2)

    def _tell(self) -> None:
        options = {"linger.ms": 5, "enable.idempotence": True, "delivery.timeout.ms": 600_000, "log_level": 0}
        producer = Producer({"bootstrap.servers": self._brokers.bootstrap, **options})
        topics = self.calm.topics.exposures[0], self.calm.topics.outcomes[0]
        began_s, refused = time.time(), []

        def told(error: object, _: object) -> None:
            if error is not None:
                refused.append(error)

        for record in self._story.tell():
            while (wait_s := began_s + record.at_s - time.time()) > 0:
                producer.poll(min(wait_s, 0.02))
            producer.produce(topics[record.is_outcome], _at(record), record.key, on_delivery=told)
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


# ---------------------------------------------------------------------------- counting


def compared(story: Story, calm: Ledger, struck: Ledger, strikes: list[Struck], seed: int, kills: int) -> Found:
    """Compare what came of the same events with and without faults."""
    wrong: list[str] = []
    lost = doubled = 0
    for name, ledger in (("calm", calm), ("struck", struck)):
        judged, since_ms = ledger.judged()
        for what, expected, totals in (
            ("the journal", story.totals, ledger.summed()), ("judge", ledger.summed(since_ms), judged),
        ):  # fmt: skip
            less, more, texts = differences(expected, totals)
            wrong += [f"{name}: {what}: {text}" for text in texts]
            if name == "struck":
                lost, doubled = lost + less, doubled + more
        dead = ledger.dead()
        if len(dead) != story.malformed or set(dead.values()) - {1}:
            often = {value: times for value, times in dead.items() if times > 1}
            wrong.append(f"{name}: {len(dead)} unreadable records of {story.malformed} as dead letters, several times {often}")
        ledger.check_effects()
        wrong += [f"{name}: {text}" for text in ledger.wrong]
    verdicts, again = calm.verdicts(), struck.verdicts()
    kills_told = {(flag, "treatment", "kill") for flag in story.harm_from_s}
    if set(verdicts) != kills_told:
        wrong.append(f"calm: decided {sorted(set(verdicts) ^ kills_told)} otherwise than the story has it")
    if set(again) != set(verdicts):
        wrong.append(f"struck: decided {sorted(set(verdicts) ^ set(again))} otherwise than undisturbed")
    late_s = [again[verdict] - at_s for verdict, at_s in verdicts.items() if verdict in again]
    wrong += [f"struck: a verdict {late:.1f} s late" for late in late_s if late > LATE_MOST_S]
    in_store_s = struck.in_store_after_s()
    wrong += [f"struck: a kill in the store after {took:.1f} s" for took in in_store_s if took > STORE_MOST_S]
    takeover_s = {worker: takeovers(struck.heard_s(worker), strikes, worker) for worker in ("observe", "judge")}
    wrong += [
        f"struck: {worker} took over after {took:.1f} s"
        for worker, times in takeover_s.items() for took in times if took > TAKEOVER_MOST_S
    ]  # fmt: skip
    sent = sum(times for (*_, kind), times in story.totals.items() if kind != "errors")
    counted = sum(times for (*_, kind), times in struck.summed().items() if kind != "errors")
    return Found(
        seed, sum(one.fault.is_kill for one in strikes), strikes, sent, story.malformed, counted, lost, doubled,
        len(again), late_s, in_store_s, takeover_s, wrong,
    )  # fmt: skip


def differences(expected: Totals, found: Totals) -> tuple[int, int, list[str]]:
    """Return how many are missing, how many too many, and where."""
    texts, less, more = [], 0, 0
    for cell in sorted(set(expected) | set(found)):
        there, wanted = found[cell], expected[cell]
        less, more = less + max(wanted - there, 0), more + max(there - wanted, 0)
        if there != wanted:
            texts.append(f"{' '.join(cell)}: {there} instead of {wanted}")
    return less, more, texts


def takeovers(heard_s: dict[str, list[float]], strikes: list[Struck], worker: str) -> list[float]:
    """
    Return for each kill of the worker, or of a host, how long it took until everything it is in charge of was heard of.

    A kill that is followed by another one, or by a broker's, before that is left out: it cannot be told whose wait it was.
    """
    kills = sorted(one.at_s for one in strikes if one.fault.kind in (worker, "host"))
    others = sorted(one.at_s for one in strikes if one.fault.kind in (worker, "host", "broker", "leave", "sleep"))
    found = []
    for at_s in kills:
        again_s = [times[at] for times in heard_s.values() if (at := bisect_right(times, at_s)) < len(times)]
        if len(again_s) == len(heard_s) and not any(at_s < other <= max(again_s) for other in others):
            found.append(max(again_s) - at_s)
    return found
