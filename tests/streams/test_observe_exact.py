"""Promises of observe on a broker: every event is in the journal once, and what is no event is kept apart."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from streams.admin import ensure_topics
from streams.settings import Settings
from tests.support.cluster import REAL_FIRST
from tests.support.events import exposure, flat, outcome
from tests.support.movers import until
from tests.support.observed import journal, observing, services

FAST = {"flush_ms": 50}


@REAL_FIRST
async def test_restarts_lose_and_double_nothing(kafka):
    """
    The journal's totals are exactly the events sent, while observe is ended and started again in their midst.
    """
    settings = kafka.settings(observe=FAST)
    await ensure_topics(settings, inputs=True)
    async with services(settings) as sending, journal(settings) as written:
        async with sending.busy(events_per_s=600):
            for _ in range(2):
                async with observing(settings) as status:
                    await until(lambda: status.is_ready, within_s=30, what="observe is ready")
                    await asyncio.sleep(0.7)
        async with observing(settings):
            await written.until_summed(sending.sent, within_s=30)


async def test_garbage_is_kept_with_reason_and_origin(kafka):
    """
    What cannot be read goes to the dead letters, byte for byte, with its reason and where it was; its neighbours count.
    """
    settings = kafka.settings(observe=FAST)
    await ensure_topics(settings, inputs=True)
    topic = settings.topics.outcomes[0]
    garbage = [b"\x00\x01not json", json.dumps(outcome(latency_ms=-5)).encode(), b"x" * 600_000]
    async with services(settings) as sending, journal(settings) as written:
        await sending.send(20)
        async with journal(settings, settings.topics.dead_letters) as dead, producer(settings) as producing:
            sent = [
                await producing.send_and_wait(topic, value, partition=1, key=b"k", headers=[("own", b"1")])
                for value in garbage
            ]
            await sending.send(20)
            async with observing(settings) as status:
                await written.until_summed(sending.sent, within_s=30)
                while len(dead.records) < len(garbage):
                    await dead.poll()
                await until(lambda: status.numbers.get("dead_letters") == 3, within_s=10, what="status counts them")
    headers = [dict(record.headers) for record in dead.records]

    assert [*garbage[:2], garbage[2][: 512 * 1024]] == [record.value for record in dead.records]
    assert "data.latency_ms: should be greater than or equal to 0, not -5" == headers[1]["guardian_reason"].decode()
    assert [(topic, "1", str(one.offset)) for one in sent] == [
        tuple(found[f"guardian_{name}"].decode() for name in ("topic", "partition", "offset")) for found in headers
    ]
    assert [(b"1", b"k")] * 3 == [(found["own"], record.key) for found, record in zip(headers, dead.records, strict=True)]
    assert [None, None, b"true"] == [found.get("guardian_truncated") for found in headers]


async def test_late_and_foreign_events(kafka):
    """
    An event that comes an hour late is summed in its own tick; unknown types, fallbacks and bare events where they
    are not configured count for nothing, and bare ones where they are count.
    """
    settings = kafka.settings(observe=FAST)
    settings = settings.model_copy(
        update={"observe": settings.observe.model_copy(update={"bare_topics": settings.topics.exposures})}
    )
    await ensure_topics(settings, inputs=True)
    hour_ms = 3_600_000
    async with services(settings) as sending, journal(settings) as written, producer(settings) as producing:
        await sending.send(10, ago_ms=hour_ms)
        now = time.time_ns() // 1_000_000
        for event in (flat(exposure(time=now)), {"specversion": "1.0", "type": "x"}, exposure(time=now, reason="error")):
            await producing.send_and_wait(settings.topics.exposures[0], json.dumps(event).encode(), partition=0)
        await producing.send_and_wait(settings.topics.outcomes[0], json.dumps(flat(outcome(time=now))).encode())
        exposures, outcomes, errors = sending.sent["production|checkout-v2", "treatment"]
        sending.sent["production|checkout-v2", "treatment"] = exposures + 1, outcomes, errors
        async with observing(settings) as status:
            await written.until_summed(sending.sent, within_s=30)
            await until(lambda: status.numbers.get("unknown") == 1, within_s=10, what="the unknown type is counted")
            await until(lambda: status.numbers.get("dead_letters") == 1, within_s=10, what="the bare outcome is dead")
    starts = {tick.start_ms for summary in written.summaries for flag in summary.flags for tick in flag.ticks}

    assert min(starts) < now - hour_ms
    assert max(starts) <= now


async def test_time_passes_where_nothing_happens(kafka):
    """
    Every source says once a second, in every journal partition, how far it has been read: the clock where it is read
    to its end.
    """
    settings = kafka.settings(observe=FAST)
    partitions = await ensure_topics(settings, inputs=True)
    sources = {f"{topic}/{number}" for topic in settings.topics.inputs for number in range(4)}
    async with journal(settings) as written, observing(settings) as status:
        await until(lambda: status.is_ready, within_s=30, what="observe is ready")
        began_ms = time.time_ns() // 1_000_000

        def heard() -> dict[tuple[int, str], list[int]]:
            found: dict[tuple[int, str], list[int]] = {}
            for record, entry in zip(written.records, written.entries, strict=True):
                found.setdefault((record.partition, entry.source), []).append(entry.passed_ms)
            return found

        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s and not (
            len(heard()) == partitions * len(sources)
            and all(passed[-1] > began_ms + 2_500 for passed in heard().values())
        ):
            await written.poll()
    found = heard()

    assert {(number, source) for number in range(partitions) for source in sources} == set(found)
    for passed in found.values():
        assert sorted(passed) == passed
        assert passed[-1] > began_ms + 2_500
    said: dict[tuple[int, str], int] = {}
    for record, entry in zip(written.records, written.entries, strict=True):
        assert entry.passed_ms <= entry.at_ms
        assert entry.at_ms - said.get((record.partition, entry.source), 0) >= 1_000
        said[record.partition, entry.source] = entry.at_ms


async def test_waits_for_a_broker_that_is_not_there():
    """
    Without a broker observe neither ends nor crashes: it waits, and its status says for what.
    """
    settings = Settings.model_validate({"kafka": {"bootstrap": "127.0.0.1:9"}})
    async with observing(settings) as status:
        await until(lambda: "waiting for Kafka at 127.0.0.1:9" in status.why, within_s=20, what="the status says so")

        assert not status.is_ready


@asynccontextmanager
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(**settings.kafka.client_options(), max_request_size=2_000_000)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
