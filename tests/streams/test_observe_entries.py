"""Promises about what observe writes, and about how it reads."""

from __future__ import annotations

import gc
import json
import time
import weakref
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.journal import Beat, Summary, decode, encode
from guardian.summaries import Arm, Company, FlagSums, MixedUnit, Sight, Tick
from streams.admin import ensure_topics
from streams.observing import light
from streams.observing.entries import BEAT_MS, Journalist, split
from streams.partitioning import partition_of
from tests.support.cluster import Cluster
from tests.support.events import NOON_MS, outcome
from tests.support.folds import content
from tests.support.movers import until

hashes = st.tuples(st.integers(0, 2**48), st.integers(0, 40)).map(lambda drawn: [drawn[0] + n for n in range(drawn[1])])
arms = st.builds(
    lambda failed, fine, anonymous, latency, reporters, fresh: Arm(
        outcomes=len(failed) + fine + anonymous, errors=len(failed) + anonymous, anonymous=anonymous,
        units=failed, latency=latency, reporters=reporters, fresh=fresh, fresh_shift=3 if fresh else 0,
        timed=fine, over={5: fine} if fine else {}, scores={"measure:n": {7: 0.5}} if fine else {},
    ),
    hashes, st.integers(0, 5), st.integers(0, 3), st.dictionaries(st.integers(-5, 900), st.integers(1, 9), max_size=5),
    hashes, hashes,
)  # fmt: skip
cells = st.dictionaries(st.sampled_from("abc"), arms, min_size=1, max_size=2)
ticks = st.dictionaries(
    st.integers(0, 20), st.tuples(cells, st.dictionaries(st.sampled_from(["country=DE", "x"]), cells, max_size=1)), max_size=3
)
units = st.integers(0, 2**52)
mixed = st.builds(
    MixedUnit, unit=units, from_ms=st.just(0), variations=st.just(["a", "b"]), services=st.just(["api"])
)
flags = st.builds(
    lambda starts, delays, mixed, cohort: (starts, delays, mixed, cohort),
    ticks,
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.integers(0, 60), st.integers(1, 9), min_size=1)),
    st.lists(mixed, max_size=10),
    st.lists(st.builds(Sight, units, st.just(0), st.just("a"), st.just("api")), max_size=10),
)


def sums(key: str, starts: dict[int, Any], delays: Any, mixed: Any, cohort: Any) -> FlagSums:
    made = [
        Tick(start_ms=NOON_MS + 200 * start, arms=arms, segments=segments, company=company(arms))
        for start, (arms, segments) in sorted(starts.items())
    ]
    return FlagSums(key=key, ticks=made, delays=delays, mixed=mixed, cohort=cohort)


def company(arms: dict[str, Arm]) -> Company:
    """All of them ran under another flag, too."""
    return {"other": {name: {"on": (arm.outcomes, arm.errors)} for name, arm in arms.items()}}


@given(st.lists(flags, min_size=1, max_size=3), st.integers(700, 3_000))
@settings(max_examples=100, deadline=None)
def test_a_large_summary_is_written_in_parts(drawn: list[Any], most: int):
    """
    Parts of a summary fit the limit and add up to it; in none of them more units failed than requests ran.
    """
    made = [sums(f"e|{number}", *parts) for number, parts in enumerate(drawn)]
    whole = Summary(source="t/0", at_ms=1, passed_ms=1, offsets=[0, 9], flags=made)

    parts = list(split(whole, most))

    assert all(len(encode(part)) <= most for part in parts)
    together = [flag for part in parts for flag in part.flags]
    assert content(whole.flags) == content(together)
    for name in ("mixed", "cohort"):
        assert [x for f in whole.flags for x in getattr(f, name)] == [x for f in together for x in getattr(f, name)]
    for flag in together:
        for tick in flag.ticks:
            summed = [arm for arms in (tick.arms, *tick.segments.values()) for arm in arms.values()]
            assert all(len(arm.units) + arm.anonymous <= arm.errors <= arm.outcomes for arm in summed)


def test_summaries_go_where_their_flags_live():
    """
    Each journal partition gets one summary with its flags, or a beat if it has heard nothing for a second.
    """
    journalist = Journalist("t/0", "journal", 4)
    keys = [f"production|flag-{number}" for number in range(3)]
    owners = {partition_of(key, 4) for key in keys}

    told = journalist.entries([FlagSums(key=key) for key in keys], [0, 5], 9_000, 8_900)
    first = {message.partition: decode(message.value or b"") for message in told}
    soon = list(journalist.entries([], [], 9_000 + BEAT_MS - 1, 9_900))
    later = [decode(m.value or b"") for m in journalist.entries([], [], 9_000 + BEAT_MS, 9_950)]

    assert {0, 1, 2, 3} == set(first)
    for partition, entry in first.items():
        assert isinstance(entry, Summary if partition in owners else Beat)
        assert (9_000, 8_900) == (entry.at_ms, entry.passed_ms)
    assert [] == soon
    assert [9_950] * 4 == [entry.passed_ms for entry in later if isinstance(entry, Beat)]


def test_progress_never_runs_back_and_waits_for_the_last_part():
    """
    What a summary's first parts promise to have passed is what was promised before: the rest is still to come.
    """
    journalist = Journalist("t/0", "journal", 1)
    many = [
        FlagSums(key=f"e|{n}", ticks=[Tick(start_ms=0, arms={"a": Arm(latency=dict.fromkeys(range(2_000), 1))})])
        for n in range(60)
    ]
    [*_] = journalist.entries([], [], 5_000, 4_000)

    parts = [decode(m.value or b"") for m in journalist.entries(many, [0, 1], 6_000, 5_500)]
    (beat,) = journalist.entries([], [], 7_000, 3_000)

    assert len(parts) > 1
    assert [4_000] * (len(parts) - 1) + [5_500] == [part.passed_ms for part in parts if isinstance(part, Summary)]
    assert 5_500 == decode(beat.value or b"").passed_ms  # type: ignore[union-attr]


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_light_records_are_those_of_aiokafka(kafka, compression):
    """
    Light records are the committed ones, with the same offsets, keys, values and headers, also from within a batch.
    """
    settings = kafka.settings()
    await ensure_topics(settings, inputs=True)
    at = TopicPartition(settings.topics.outcomes[0], 1)
    options = settings.kafka.client_options()
    async with AIOKafkaProducer(**options, linger_ms=100, compression_type=compression) as producing:
        value = json.dumps(outcome(time=time.time_ns() // 1_000_000)).encode()
        sent = [
            await producing.send(at.topic, value, partition=at.partition, key=b"%d" % n, headers=[("n", b"%d" % n)])
            for n in range(50)
        ]
        await producing.flush()
        last = max([(await one).offset for one in sent])

    found = []
    for lighten in (False, True):
        consumer = AIOKafkaConsumer(**options, auto_offset_reset="earliest", check_crcs=False)
        await consumer.start()
        try:
            if lighten:
                light.lighten(consumer)
                assert isinstance(consumer._fetcher._records, light._LightResults)
            consumer.assign([at])
            consumer.seek(at, 7)
            found.append(await read_to(consumer, at, last))
        finally:
            await consumer.stop()

    assert 43 == len(found[0])
    assert found[0] == found[1]


async def test_answers_that_were_read_are_freed_at_once(embedded_kafka, monkeypatch):
    """
    Nothing of an answer waits for the collector, which looks so seldom that a busy worker would hold hundreds of megabytes.
    """
    settings = Cluster(embedded_kafka, embedded=True).settings()
    await ensure_topics(settings, inputs=True)
    at, options = TopicPartition(settings.topics.outcomes[0], 0), settings.kafka.client_options()
    made: list[weakref.ref[Any]] = []
    begin = PartitionRecords.__init__

    def begin_and_note(self: Any, *args: Any, **more: Any) -> None:
        begin(self, *args, **more)
        made.append(weakref.ref(self))

    monkeypatch.setattr(PartitionRecords, "__init__", begin_and_note)
    consumer = AIOKafkaConsumer(**options, auto_offset_reset="earliest", check_crcs=False)
    await consumer.start()
    gc.disable()
    try:
        light.lighten(consumer)
        consumer.assign([at])
        async with AIOKafkaProducer(**options) as producing:
            for number in range(5):
                sent = await producing.send_and_wait(at.topic, b"%d" % number, partition=at.partition)
                await read_to(consumer, at, sent.offset)
        await until(lambda: len(made) >= 5 and not any(one() for one in made), within_s=10, what="all are freed")
    finally:
        gc.enable()
        await consumer.stop()


@pytest.mark.kafka
async def test_light_records_are_committed_ones(real_kafka):
    """
    What aborted transactions wrote, and the marks of their ends, are not among light records.
    """
    settings = Cluster(real_kafka, embedded=False).settings()
    await ensure_topics(settings, inputs=True)
    at = TopicPartition(settings.topics.outcomes[0], 0)
    options = settings.kafka.client_options()
    async with AIOKafkaProducer(**options, transactional_id=at.topic) as producing:
        for number in range(6):
            await producing.begin_transaction()
            await producing.send_and_wait(at.topic, b"%d" % number, partition=at.partition)
            await (producing.abort_transaction() if number % 2 else producing.commit_transaction())
    consumer = AIOKafkaConsumer(**options, auto_offset_reset="earliest", isolation_level="read_committed")
    await consumer.start()
    try:
        light.lighten(consumer)
        consumer.assign([at])
        found = await read_to(consumer, at, 8)
        position = await consumer.position(at)
    finally:
        await consumer.stop()

    assert [b"0", b"2", b"4"] == [value for _, _, value, _ in found]
    assert 12 >= position > 8


def test_what_light_records_reach_into_is_there():
    """
    The version of aiokafka in use has the parts that light records need; without them reading is slower, not wrong.
    """
    assert all(hasattr(kind, name) for kind, names in light._NEEDED.items() for name in names)
    assert FetchResult in light._NEEDED


async def read_to(consumer: AIOKafkaConsumer, at: TopicPartition, last: int) -> list[tuple[int, bytes, bytes, Any]]:
    """Read until the record at offset ``last``."""
    found: list[tuple[int, bytes, bytes, Any]] = []
    deadline_s = time.monotonic() + 20
    while not found or found[-1][0] < last:
        assert time.monotonic() < deadline_s
        records = (await consumer.getmany(timeout_ms=200)).get(at, [])
        found += [(record.offset, record.key, record.value, tuple(record.headers)) for record in records]
    return found

