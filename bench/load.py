"""Background load: outcomes of many flags as CloudEvents, at a rate, or as fast as it goes."""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime

from confluent_kafka import KafkaException, Producer

FLAGS = 40
USERS = 5_000
STEP_S = 0.02


def event(number: int, source: str, time_text: str) -> bytes:
    """Return an outcome of about 400 bytes: two flags, one failure in a hundred."""
    user = number * 7919 % USERS
    arm = "treatment" if user % 10 == 0 else "control"
    outcome = "error" if number % 100 == 0 else "ok"
    return (
        f'{{"specversion":"1.0","id":"{number}","source":"{source}","type":"dev.rolloutguardian.outcome.v1",'
        f'"time":"{time_text}","data":{{'
        f'"flags":{{"load-{number % FLAGS}":"{arm}","load-{(number + 1) % FLAGS}":"{arm}"}},'
        f'"environment":"production","service_name":"checkout-api","operation":"POST /checkout","outcome":"{outcome}",'
        f'"latency_ms":{20 + number % 80}.5,"context_id":"user-{user}","attributes":{{"country":"DE","plan":"pro"}}}}}}'
    ).encode()


def produce(bootstrap: str, topic: str, rate: float, seconds: float) -> int:
    """Produce for so long at so many events a second (0: as fast as the broker takes them); return how many."""
    producer = Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 10, "queue.buffering.max.messages": 200_000,
        "compression.type": "none", "acks": "1",
    })  # fmt: skip
    source, sent, began_s = f"/load/{os.getpid()}", 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - began_s) < seconds:
        due = int((elapsed_s + STEP_S) * rate) if rate else sent + 2_000
        time_text = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        while sent < due:
            try:
                producer.produce(topic, event(sent, source, time_text))
            except (BufferError, KafkaException):
                producer.poll(0.01)
                continue
            sent += 1
        producer.poll(0)
        if rate:
            time.sleep(STEP_S / 2)
    producer.flush(10)
    return sent


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("--topic", default="flag.outcomes.v1")
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    print(produce(given.bootstrap, given.topic, given.rate, given.seconds), flush=True)
