"""
From the decisive event in Kafka to an OpenFeature client that evaluates control: a hundred kills under load.

A real Kafka, ``guardian run`` with all its processes, and a client of the chosen
store in this process (``--store``, see `bench._stores`). Each rollout has healthy traffic first; then a burst
of failures of its treatment is written, and the clock starts when Kafka has
acknowledged the last of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from bench._stages import Kill, figures, stages
from bench._stores import STORES, client_of
from demo.ports import free_ports
from streams.admin import ensure_topics
from streams.settings import load_settings
from tests.kafka import running_kafka

KILLS = int(os.environ.get("BENCH_KILLS", "100"))
LOAD_PART = 0.6
USERS = 400
TREATED = 40
"""Of the users of a rollout, those in treatment; all of them fail in the burst."""
WARM_UP_S = 20.0
KEEPS_UP_S, BEHIND_S, LESS = 10.0, 0.5, 0.85
PATIENCE_S = 20.0


def run(store: str = "flagd") -> dict[str, Any]:
    """``ours`` holds p50 and p99 of the milliseconds; ``limit`` is a push through the store alone."""
    return asyncio.run(_run(store))


async def _run(store: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder) / "kafka") as bootstrap:
        ports = dict(zip(("store", "other", "api", "health"), free_ports(4), strict=True))
        write_settings(Path(folder), bootstrap, ports, store)
        await ensure_topics(load_settings(Path(folder) / "guardian.yaml"), inputs=True)
        with guardian(Path(folder)), client_of(store, Path(folder), ports) as client:
            await ready(ports["health"])
            async with producing(bootstrap) as producer:
                idle = await kills(producer, client, range(KILLS // 5))
                capacity = await asyncio.to_thread(capacity_of, bootstrap, ports["health"])
                with load(bootstrap, LOAD_PART * capacity):
                    await asyncio.sleep(WARM_UP_S)
                    loaded = await kills(producer, client, range(KILLS // 5, KILLS // 5 + KILLS))
                where = {"idle": await stages(bootstrap, idle), "loaded": await stages(bootstrap, loaded)}
    return {
        "ours": figures([kill.took_ms for kill in loaded]),
        "limit": {"p50_ms": 0.0, "p99_ms": 0.0},
        "peers": {},
        "ratio_to_limit": None,
        "unit": "ms",
        "idle": figures([kill.took_ms for kill in idle]),
        "stages": where,
        "load_events_s": LOAD_PART * capacity,
        "capacity_events_s": capacity,
        "missed": KILLS - len(loaded),
    }


def flag_name(number: int) -> str:
    """Return the name of the rollout's flag."""
    return f"bench-{number:03}"


def write_settings(folder: Path, bootstrap: str, ports: dict[str, int], store: str) -> None:
    """Write flags, policies and settings for all rollouts."""
    names = [flag_name(number) for number in range(KILLS + KILLS // 5)]
    split = {"fractional": [{"var": "targetingKey"}, ["control", 90], ["treatment", 10]]}
    flag = {"state": "ENABLED", "variants": {"control": "old", "treatment": "new"}, "defaultVariant": "control"}
    flags = {name: flag | {"targeting": split} for name in names}
    (folder / "flags.json").write_text(json.dumps({"flags": flags}))
    guardrails = [{"when": "error_rate > 1.2x control", "then": "kill"}]
    policies = [
        {"flag": name, "environment": "production", "guardrails": guardrails}
        for name in [*names, *(f"load-{number}" for number in range(40))]
    ]
    (folder / "policies.yaml").write_text("\n---\n".join(json.dumps(policy) for policy in policies))
    settings = {
        "judge": {"storm_kills": 1_000_000},
        "kafka": {"bootstrap": bootstrap},
        **STORES[store].settings(folder, ports),
        "api": {"port": ports["api"]},
        "health": {"port": ports["health"]},
        "policies": [str(folder / "policies.yaml")],
    }
    (folder / "guardian.yaml").write_text(json.dumps(settings))


@contextmanager
def guardian(folder: Path) -> Iterator[None]:
    """Run the guardian with all its processes."""
    command = [sys.executable, "-m", "streams.apps.cli", "run", "--config", str(folder / "guardian.yaml")]
    with (folder / "guardian.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


async def ready(port: int, patience_s: float = 60.0) -> None:
    """Wait until the guardian says that it is ready."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            status = await asyncio.to_thread(_get, port, "/readyz")
            if status:
                return
        await asyncio.sleep(0.2)
    raise TimeoutError(f"the guardian was not ready within {patience_s:.0f} s")


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
        content: bytes = answer.read()
        return content


@asynccontextmanager
async def producing(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """Return a producer that waits for acknowledgement."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=0)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def kills(producer: AIOKafkaProducer, client: Any, numbers: range) -> list[Kill]:
    """Harm one rollout after another; return the kills that came."""
    done, rng = [], random.Random(numbers.start)
    for first in range(numbers.start, numbers.stop, 10):
        group = range(first, min(first + 10, numbers.stop))
        for _ in range(4):
            for number in group:
                await send(producer, number, failing=False)
            await asyncio.sleep(1.0)
        for number in group:
            await asyncio.sleep(rng.uniform(0.05, 0.25))
            if (one := await kill(producer, client, number)) is not None:
                done.append(one)
    return done


async def send(producer: AIOKafkaProducer, number: int, *, failing: bool) -> None:
    """Write a round of requests of one rollout: every fourth user, or all of them where treatment fails."""
    flag, pending = flag_name(number), []
    for user in range(0, USERS, 1 if failing else 4):
        arm = "treatment" if user < TREATED else "control"
        for topic, kind, data in (
            ("flag.exposures.v1", "exposure", {"flag_key": flag, "variant": arm}),
            ("flag.outcomes.v1", "outcome", {
                "flags": {flag: arm}, "outcome": "error" if failing and arm == "treatment" else "ok", "latency_ms": 3.0,
            }),
        ):  # fmt: skip
            now_ms = time.time_ns() // 1_000_000
            event = {
                "specversion": "1.0", "id": f"{kind}-{user}-{now_ms}", "source": f"/bench/{flag}",
                "type": f"dev.rolloutguardian.{kind}.v1", "time": now_ms,
                "data": {"environment": "production", "context_id": f"user-{user}", **data},
            }  # fmt: skip
            value, key = json.dumps(event).encode(), f"user-{user}".encode()
            pending.append(await producer.send(topic, value, key=key))
    await asyncio.gather(*pending)


async def kill(producer: AIOKafkaProducer, client: Any, number: int) -> Kill | None:
    """Harm a rollout; return its kill, from the last acknowledged event to control, or None where it never came."""
    from openfeature.evaluation_context import EvaluationContext

    flag = flag_name(number)
    treated = next(
        context for user in range(10_000)
        if client.get_string_value(flag, "", context := EvaluationContext(f"u{user}")) == "new"
    )  # fmt: skip
    await send(producer, number, failing=True)
    harmed_ms = time.time() * 1_000
    while (now_ms := time.time() * 1_000) - harmed_ms < PATIENCE_S * 1_000:
        if client.get_string_value(flag, "", treated) == "old":
            return Kill(flag, harmed_ms, now_ms)
        await asyncio.sleep(0.001)
    return None


def capacity_of(bootstrap: str, health_port: int) -> float:
    """
    Return the events a second that the installation keeps up with, everything else running beside it.

    Found from above: what observe reads while more comes than it can take is an upper bound, since large batches cost
    less; then less and less is offered until what waits in the end is no more than half a second of it.
    """
    rate, behind = overloaded(bootstrap, health_port), 0.0
    while True:
        with load(bootstrap, rate, KEEPS_UP_S) as process:
            before = consumed(health_port)
            time.sleep(KEEPS_UP_S)
            read, behind = (consumed(health_port) - before) / KEEPS_UP_S, lag(health_port)
            process.wait(30)
        settle(health_port)
        if behind <= BEHIND_S * rate:
            return min(rate, read)
        rate *= LESS


def overloaded(bootstrap: str, health_port: int, seconds: float = 6.0) -> float:
    """Return events a second that observe reads while more come than it can take."""
    before, began_s = consumed(health_port), time.perf_counter()
    with load(bootstrap, 0.0, seconds) as process:
        time.sleep(seconds)
        rate = (consumed(health_port) - before) / (time.perf_counter() - began_s)
        process.wait(30)
    if rate <= 0.0:
        raise RuntimeError("observe counted nothing: is guardian_observe_events_total still its metric?")
    settle(health_port)
    return rate


def settle(health_port: int) -> None:
    """Wait until nothing is read any more."""
    settled, deadline_s = -1.0, time.monotonic() + 120
    while time.monotonic() < deadline_s and (now := consumed(health_port)) != settled:
        settled = now
        time.sleep(2.0)


def lag(port: int) -> float:
    """Return how many events wait to be read, whether or not all is ready."""
    try:
        said = _get(port, "/readyz")
    except urllib.error.HTTPError as not_ready:
        said = not_ready.read()
    return float(json.loads(said)["children"]["observe"]["lag"])


def consumed(port: int) -> float:
    """Return how many events observe has counted so far."""
    lines = _get(port, "/metrics").decode().splitlines()
    found = [line for line in lines if line.startswith("guardian_observe_events_total") and 'kind="outcomes"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@contextmanager
def load(bootstrap: str, rate: float, seconds: float = 600.0) -> Iterator[subprocess.Popen[bytes]]:
    """Run background load in a process of its own."""
    command = [sys.executable, "-m", "bench.load", bootstrap, "--rate", str(rate), "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()
