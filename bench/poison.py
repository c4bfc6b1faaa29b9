"""
How many good outcomes a second one core takes from Kafka to the journal while every tenth message is poison.

The same as ``bench observe`` measures, on one topic without and on one with hostile messages of every kind
(``tests/support/hostile.py``) among the good ones: each of them is refused with a reason, and written to the dead letters
in the same transactions. ``ours`` are the good events alone.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import uuid
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from bench.events import make_topics, outcomes, produce, want_latencies
from bench.observe import JOURNAL_PARTITIONS, PARTITIONS, measure
from tests.kafka import running_kafka
from tests.support.events import outcome
from tests.support.hostile import hostile
from tests.support.pages import table

GOOD = int(os.environ.get("BENCH_EVENTS", "400000"))
EVERY = int(os.environ.get("BENCH_POISON_EVERY", "10"))
"""One message of so many is poison."""
ROUNDS = 3
DIFFERENT = 5_000
DEEP = 2_000
SEED = 1


def run() -> dict[str, Any]:
    """Measure both in turns; ``ours`` is with poison, ``limit`` without, and the medians count."""
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as made, running_kafka(Path(made)) as bootstrap:
        clean, dirty = (_topic(bootstrap) for _ in range(2))
        produce(bootstrap, clean, GOOD)
        poison = produce_both(bootstrap, dirty)
        rounds = [
            {"clean": measure("ours", bootstrap, clean, GOOD), "poisoned": measure("poisoned", bootstrap, dirty, GOOD)}
            for _ in range(ROUNDS)
        ]
    wall = {what: statistics.median(GOOD / found[what]["wall_s"] for found in rounds) for what in ("clean", "poisoned")}
    cpu = {what: statistics.median(GOOD / found[what]["cpu_s"] for found in rounds) for what in ("clean", "poisoned")}
    return {
        "ours": wall["poisoned"],
        "limit": wall["clean"],
        "peers": {},
        "ratio_to_limit": wall["poisoned"] / wall["clean"],
        "unit": "good events/s",
        "good": GOOD,
        "poison": poison,
        "cpu": {"ours": cpu["poisoned"], "limit": cpu["clean"], "ratio_to_limit": cpu["poisoned"] / cpu["clean"]},
    }


def markdown(found: dict[str, Any]) -> str:
    """Return the figures as a table."""
    header = [f"{found['good']:,} good messages", "good events/s on one core, by the clock", "by processor time"]
    rows = [
        ("none is poison", f"{found['limit']:,.0f}", f"{found['cpu']['limit']:,.0f}"),
        (f"every {EVERY}th is ({found['poison']:,})", f"{found['ours']:,.0f}", f"{found['cpu']['ours']:,.0f}"),
        ("the part that is left", f"{found['ratio_to_limit']:.2f}", f"{found['cpu']['ratio_to_limit']:.2f}"),
    ]
    return table(header, rows)


def _topic(bootstrap: str) -> str:
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    make_topics(bootstrap, PARTITIONS, topic, f"{topic}.dead-letters")
    make_topics(bootstrap, JOURNAL_PARTITIONS, f"{topic}.journal")
    make_topics(bootstrap, 1, f"{topic}.rollouts")
    want_latencies(bootstrap, f"{topic}.rollouts")
    return topic


def produce_both(bootstrap: str, topic: str) -> int:
    """Write the good outcomes, and poison among them; return how much of it."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 200_000, "queue.buffering.max.messages": 500_000}
    )
    good = outcome({"checkout-v2": "treatment"}, latency_ms=None, context_id=None, service_name=None, source=None)
    poison = cycle(islice(hostile(good, random.Random(SEED), depth=DEEP), DIFFERENT))
    count = 0
    for number, value in enumerate(outcomes(GOOD)):
        partition = number // 100 % PARTITIONS
        producer.produce(topic, value, partition=partition)
        if number % (EVERY - 1) == 0:
            one = next(poison)
            producer.produce(topic, one.value, one.key, partition=partition, headers=list(one.headers))
            count += 1
        if number % 5_000 == 0:
            producer.poll(0.01)
    producer.flush()
    return count
