"""Outcomes as a busy service writes them: CloudEvents of some 400 bytes, each under two flags."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from guardian.decisions import ROLLOUT_TYPE, RolloutView
from guardian.plan import Plan
from streams.cloudevents import to_event

UNITS = 50_000
EVENTS_PER_S = 20_000
ERROR_RATE = 0.01
FLAGS = ("checkout-v2", "new-cart")
START = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)


def outcomes(count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield the values of so many outcomes: 20,000 a second, 1 % of them failed, from 50,000 units."""
    rng = random.Random(seed)
    for number in range(count):
        at = START + timedelta(microseconds=number * 1_000_000 // EVENTS_PER_S)
        unit = rng.randrange(UNITS)
        failed = rng.random() < ERROR_RATE
        ended = '"outcome":"error","error_type":"TimeoutError"' if failed else '"outcome":"ok"'
        yield (
            f'{{"specversion":"1.0","id":"01JD5W{number:020d}","source":"/production/checkout-api/pod-{unit % 20}",'
            f'"type":"dev.rolloutguardian.outcome.v1","time":"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",'
            f'"data":{{"flags":{{"checkout-v2":"{"treatment" if unit % 10 == 0 else "control"}",'
            f'"new-cart":"{"on" if unit % 2 else "off"}"}},"environment":"production","service_name":"checkout-api",'
            f'"operation":"POST /checkout",{ended},"latency_ms":{rng.lognormvariate(4.0, 0.8):.1f},'
            f'"context_id":"u-{unit}","attributes":{{"country":"DE","plan":"pro"}}}}}}'
        ).encode()


def make_topics(bootstrap: str, partitions: int, *names: str, **kept: str) -> None:
    """Make topics, with topic settings where some are given, and wait until they are there."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = {name.replace("_", "."): value for name, value in kept.items()}
    for made in admin.create_topics([NewTopic(name, partitions, 1, config=config) for name in names]).values():
        made.result(30)


def want_latencies(bootstrap: str, topic: str) -> None:
    """Write, as judge would, rollouts of both flags whose plans want the histogram of latencies, and each other."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for flag in FLAGS:
        view = RolloutView(
            key=f"production|{flag}", flag_key=flag, environment="production", control="control", status="running",
            at=START.isoformat(), plan=msgspec.to_builtins(Plan(latency=True, company=True)),
        )  # fmt: skip
        event = to_event(ROLLOUT_TYPE, view, id=view.key, time=view.at, source="/bench")
        producer.produce(topic, event, key=view.key.encode())
    producer.flush()


def produce(bootstrap: str, topic: str, count: int) -> int:
    """Write so many outcomes evenly over the partitions of a topic; return their mean size in bytes."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 200_000, "queue.buffering.max.messages": 500_000}
    )
    partitions = len(producer.list_topics(topic).topics[topic].partitions)
    size = 0
    for number, value in enumerate(outcomes(count)):
        producer.produce(topic, value, partition=number // 100 % partitions)
        size += len(value)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()
    return size // count
