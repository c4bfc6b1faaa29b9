"""
Healthy traffic of very many rollouts: ``python -m bench._rollouts BOOTSTRAP --flags N --rate R --seconds S``.

Each request evaluates one flag: an exposure when it begins, an outcome when it
ends. So every flag has its say several times a second, under two variations.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

from confluent_kafka import KafkaException, Producer

USERS = 50_000
TREATED_OF = 10
"""One user in so many gets the treatment."""
ERROR_RATE = 0.01
LATENCY_MS = 60
STEP_S = 0.02

Record = tuple[str, bytes, bytes]


def flag_name(number: int) -> str:
    """Return the name of a flag."""
    return f"rollout-{number:04}"


def requests(flags: int, seed: int = 1) -> Iterator[tuple[Record, Record]]:
    """Yield, for ever, what each request writes when it begins and when it ends; the time is still to be put in."""
    rng, number = random.Random(seed), 0
    while True:
        number += 1
        user, flag = rng.randrange(USERS), flag_name(rng.randrange(flags))
        arm = "treatment" if user % TREATED_OF == 0 else "control"
        ended = '"outcome":"error","error_type":"TimeoutError"' if rng.random() < ERROR_RATE else '"outcome":"ok"'
        who = f'"environment":"production","service_name":"checkout-api","context_id":"user-{user}"'
        began = f'"flag_key":"{flag}","variant":"{arm}",{who}'
        done = f'"flags":{{"{flag}":"{arm}"}},{ended},"latency_ms":{LATENCY_MS}.5,"operation":"POST /",{who}'
        key = f"user-{user}".encode()
        yield (
            ("flag.exposures.v1", _event("exposure", number, began), key),
            ("flag.outcomes.v1", _event("outcome", number, done), key),
        )


def _event(kind: str, number: int, data: str) -> bytes:
    return (
        f'{{"specversion":"1.0","id":"{kind}-{number}","source":"/bench","type":"dev.rolloutguardian.{kind}.v1",'
        f'"time":"TIME","data":{{{data}}}}}'
    ).encode()


def produce(bootstrap: str, flags: int, rate: float, seconds: float) -> int:
    """Write so many requests a second for so long; return how many were written."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 10, "acks": "1", "log_level": 0})
    coming, ending, sent = requests(flags), deque[tuple[float, Record]](), 0
    began_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - began_s) < seconds:
        while sent < elapsed_s * rate:
            start, end = next(coming)
            _send(producer, start)
            ending.append((elapsed_s + LATENCY_MS / 1_000, end))
            sent += 1
        while ending and ending[0][0] <= elapsed_s:
            _send(producer, ending.popleft()[1])
        producer.poll(STEP_S)
    producer.flush(10)
    return sent


def _send(producer: Producer, record: Record) -> None:
    topic, value, key = record
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
    try:
        producer.produce(topic, value.replace(b"TIME", now, 1), key)
    except (BufferError, KafkaException):
        producer.poll(0.1)  # the broker takes no more: what is late is left out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("--flags", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    given = parser.parse_args()
    print(produce(given.bootstrap, given.flags, given.rate, given.seconds), flush=True)
