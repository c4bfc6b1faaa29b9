"""The emitter: what leaves is what the contract says, and nothing that happens to Kafka is felt by the service."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

from streams.instrument import GuardianEmitter
from tests.streams.instrument.kafka import Broker, Proxy, data_of, eventually, read

UNREACHABLE = "127.0.0.1:1"


def emitter_to(bootstrap: str, topic: str = "unused", **options: Any) -> GuardianEmitter:
    options = {"exposures_topic": topic, "outcomes_topic": topic, "feedback_topic": topic, **options}
    return GuardianEmitter(bootstrap, "production", "checkout-api", **options)


async def test_exposure_is_the_contracts_event(broker: Broker):
    """An exposure arrives as a structured CloudEvent with the contract's fields, keyed by its unit."""
    emitter = emitter_to(broker.bootstrap, "exposure-form")
    await emitter.start()
    emitter.emit_exposure(
        "checkout-v2", "treatment", context_id="u-5157", reason="split", flag_version="17", at_ms=1_795_222_800_100
    )
    await emitter.stop()

    (record,) = await read(broker.bootstrap, "exposure-form", 1)
    event = json.loads(record.value)

    assert b"u-5157" == record.key
    assert (("content-type", b"application/cloudevents+json"),) == record.headers
    assert 1_795_222_800_100 == record.timestamp
    assert {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"/checkout-api/{socket.gethostname()}/{os.getpid()}",
        "type": "dev.rolloutguardian.exposure.v1",
        "time": "2026-11-21T01:00:00.100Z",
        "data": {
            "flag_key": "checkout-v2",
            "variant": "treatment",
            "environment": "production",
            "service_name": "checkout-api",
            "context_id": "u-5157",
            "reason": "split",
            "flag_version": "17",
        },
    } == event


async def test_outcome_and_feedback_are_the_contracts_events(broker: Broker):
    """Outcomes and feedback carry the contract's fields; what is not known is left out, not null."""
    emitter = emitter_to(broker.bootstrap, outcomes_topic="outcome-form", feedback_topic="feedback-form")
    await emitter.start()
    emitter.emit_outcome(
        {"checkout-v2": "treatment", "new-cart": "control"},
        "error",
        latency_ms=812.4,
        operation="POST /checkout",
        error_type="TimeoutError",
        context_id="u-5157",
        attributes={"country": "DE", "plan": "pro"},
        measures={"search_quality_score": 0.91},
    )
    emitter.emit_feedback({"checkout-v2": "treatment"}, "rating", score=2, scale=(1, 5))
    await emitter.stop()

    (outcome,) = await read(broker.bootstrap, "outcome-form", 1)
    (feedback,) = await read(broker.bootstrap, "feedback-form", 1)

    assert {
        "flags": {"checkout-v2": "treatment", "new-cart": "control"},
        "environment": "production",
        "service_name": "checkout-api",
        "operation": "POST /checkout",
        "outcome": "error",
        "error_type": "TimeoutError",
        "latency_ms": 812.4,
        "context_id": "u-5157",
        "attributes": {"country": "DE", "plan": "pro"},
        "measures": {"search_quality_score": 0.91},
    } == data_of(outcome)
    assert {
        "flags": {"checkout-v2": "treatment"},
        "environment": "production",
        "service_name": "checkout-api",
        "kind": "rating",
        "score": 2,
        "scale": [1, 5],
    } == data_of(feedback)
    assert feedback.key is None


async def test_cloudevents_library_reads_them(broker: Broker):
    """The official CloudEvents library reads what was sent, and its time is the event's own."""
    emitter = emitter_to(broker.bootstrap, "oracle")
    await emitter.start()
    emitter.emit_exposure("f", "on", context_id="ünit", at_ms=1_795_222_800_007)
    await emitter.stop()
    (record,) = await read(broker.bootstrap, "oracle", 1)

    event = from_structured_event(
        KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value), JSONFormat()
    )
    when, data = event.get_time(), event.get_data()

    assert "dev.rolloutguardian.exposure.v1" == event.get_type()
    assert when is not None
    assert 1_795_222_800_007 == round(when.timestamp() * 1000)
    assert isinstance(data, dict)
    assert "ünit" == data["context_id"]


async def test_events_of_a_unit_share_a_partition_and_ids_are_unique(broker: Broker):
    """All events of one unit are in one partition, the same in both topics; no two events share an id."""
    emitter = emitter_to(broker.bootstrap, exposures_topic="keyed-exposures", outcomes_topic="keyed-outcomes")
    await emitter.start()
    for number in range(400):
        emitter.emit_exposure("f", "on", context_id=f"u-{number % 40}")
        emitter.emit_outcome({"f": "on"}, "ok", context_id=f"u-{number % 40}")
    await emitter.stop()
    records = [
        *await read(broker.bootstrap, "keyed-exposures", 400),
        *await read(broker.bootstrap, "keyed-outcomes", 400),
    ]

    partitions: dict[bytes, set[int]] = {}
    for record in records:
        partitions.setdefault(record.key, set()).add(record.partition)

    assert 800 == len({json.loads(record.value)["id"] for record in records})
    assert [1] * 40 == [len(found) for found in partitions.values()]
    assert 1 < len(set.union(*partitions.values()))


async def test_threads_may_emit(broker: Broker):
    """Events of many threads, none of which has a loop, all arrive once."""
    emitter = emitter_to(broker.bootstrap, "threads")
    await emitter.start()

    def emit(thread: int) -> None:
        for number in range(300):
            emitter.emit_exposure("f", "on", context_id=f"{thread}-{number}")

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    await eventually(lambda: not any(thread.is_alive() for thread in threads))
    await emitter.stop()
    records = await read(broker.bootstrap, "threads", 2400)

    assert {f"{thread}-{number}" for thread in range(8) for number in range(300)} == {
        data_of(record)["context_id"] for record in records
    }
    assert (0, 2400, 0) == emitter.stats()


async def test_full_queue_keeps_the_newest(broker: Broker):
    """With the queue full the oldest events make room, counted; the newest leave once there is a way."""
    emitter = emitter_to(broker.bootstrap, "overflow", queue_size=100)
    for number in range(250):
        emitter.emit_exposure("f", "on", context_id=f"u-{number}")
    waiting = emitter.stats()
    await emitter.start()
    await emitter.stop()
    records = await read(broker.bootstrap, "overflow", 100)

    assert (100, 0, 150) == waiting
    assert (0, 100, 150) == emitter.stats()
    assert {f"u-{number}" for number in range(150, 250)} == {data_of(record)["context_id"] for record in records}


async def test_unreachable_kafka_is_not_felt(caplog: pytest.LogCaptureFixture):
    """Without Kafka starting, emitting and stopping are quick; drops are counted, and said once, not once each."""
    emitter = emitter_to(UNREACHABLE, queue_size=100)
    with caplog.at_level(logging.WARNING, logger="streams.instrument"):
        began_s = time.perf_counter()
        await emitter.start()
        for _ in range(5_000):
            emitter.emit_exposure("f", "on")
        emitted_s = time.perf_counter() - began_s
        await eventually(lambda: any("no Kafka at" in text for text in caplog.messages))
        for _ in range(5_000):
            emitter.emit_exposure("f", "on")
        began_s = time.perf_counter()
        await emitter.stop(deadline_s=0.2)
        stopped_s = time.perf_counter() - began_s

    assert emitted_s < 0.5
    assert stopped_s < 2
    assert (0, 0, 10_000) == emitter.stats()
    assert 1 == sum("no Kafka at" in text for text in caplog.messages)
    assert 1 == sum("dropped" in text for text in caplog.messages)


async def test_kafka_that_comes_late_gets_what_waited(broker: Broker, proxy: Proxy):
    """A service started before its Kafka sends what waited as soon as Kafka answers."""
    await proxy.cut()  # its port is known, nobody answers on it
    emitter = emitter_to(proxy.bootstrap, "late")
    await emitter.start()
    emitter.emit_exposure("f", "on", context_id="early")
    await eventually(lambda: emitter._link.trouble not in ("", "not started"))
    await proxy.open()
    await eventually(lambda: emitter.stats().sent == 1)
    await emitter.stop()

    assert ["early"] == [data_of(record)["context_id"] for record in await read(broker.bootstrap, "late", 1)]


async def test_outage_loses_nothing_that_fits_the_queue(broker: Broker, proxy: Proxy, monkeypatch: pytest.MonkeyPatch):
    """
    Events emitted while Kafka is away arrive afterwards, whether the producer came back or a new one was made.

    ::

        sent ──┤ cut ├── emitted ── given up, new producer ── mended ──▶ all there
    """
    monkeypatch.setattr("streams.instrument.lane.DELIVERY_S", 0.5)
    emitter = emitter_to(proxy.bootstrap, "outage")
    await emitter.start()
    emitter.emit_exposure("f", "on", context_id="before")
    await eventually(lambda: emitter.stats().sent == 1)
    await proxy.cut()
    for number in range(200):
        emitter.emit_exposure("f", "on", context_id=f"during-{number}")
    await eventually(lambda: emitter._link.trouble)
    await proxy.open()
    await eventually(lambda: emitter.stats().queued == 0)
    await emitter.stop()
    records = await read(broker.bootstrap, "outage", 201)

    assert (0, 201, 0) == emitter.stats()
    assert {"before", *(f"during-{number}" for number in range(200))} == {
        data_of(record)["context_id"] for record in records
    }


async def test_missing_topic_does_not_hold_up_the_others(broker: Broker, proxy: Proxy):
    """Events of a topic that is not there wait, the other topics go on; they leave when the topic was made."""
    proxy.hidden = b"missing"
    emitter = emitter_to(
        proxy.bootstrap,
        exposures_topic="missing",
        outcomes_topic="present",
        kafka={"request_timeout_ms": 200, "retry_backoff_ms": 50},
    )
    await emitter.start()
    emitter.emit_exposure("f", "on")
    await eventually(lambda: emitter._exposures._trouble)
    emitter.emit_outcome({"f": "on"}, "ok")
    await eventually(lambda: emitter.stats() == (1, 1, 0))
    proxy.hidden = b""
    await eventually(lambda: emitter.stats() == (0, 2, 0))
    await emitter.stop()

    assert 1 == len(await read(broker.bootstrap, "missing", 1))


async def test_pseudonyms_replace_every_unit(broker: Broker):
    """With ``pseudonymise`` no raw unit leaves: it is replaced alike everywhere, or the event is dropped."""

    def pseudonymise(unit: str) -> str:
        return {"anna": "p1"}[unit]

    emitter = emitter_to(broker.bootstrap, "pseudonyms", pseudonymise=pseudonymise)
    await emitter.start()
    emitter.emit_exposure("f", "on", context_id="anna")
    emitter.emit_outcome({"f": "on"}, "ok", context_id="anna")
    emitter.emit_feedback({"f": "on"}, "report", context_id="anna")
    emitter.emit_exposure("f", "on", context_id="bert")
    await emitter.stop()
    records = await read(broker.bootstrap, "pseudonyms", 3)

    assert [(b"p1", "p1")] * 3 == [(record.key, data_of(record)["context_id"]) for record in records]
    assert (0, 3, 1) == emitter.stats()


async def test_a_flush_of_many_batches(broker: Broker):
    """More than one batch holds, and one event more than a whole batch holds, arrive all the same."""
    emitter = emitter_to(broker.bootstrap, "batches")
    for number in range(300):
        emitter.emit_outcome({"f": "on"}, "ok", attributes={"number": f"{number:0500}"}, context_id="u-1")
    emitter.emit_outcome({"f": "on"}, "ok", attributes={"number": "x" * 100_000}, context_id="u-1")
    await emitter.start()
    await emitter.stop()
    records = await read(broker.bootstrap, "batches", 301)

    assert [*(f"{number:0500}" for number in range(300)), "x" * 100_000] == [
        data_of(record)["attributes"]["number"] for record in records
    ]
    assert (0, 301, 0) == emitter.stats()


async def test_what_cannot_be_encoded_is_dropped_alone(broker: Broker):
    """An event that holds what JSON cannot is dropped and counted; the events around it arrive."""
    emitter = emitter_to(broker.bootstrap, "encodable")
    await emitter.start()
    emitter.emit_outcome({"f": "on"}, "ok", attributes={"first": "1"})
    emitter.emit_outcome({"f": "on"}, "ok", attributes={"odd": object()})  # type: ignore[dict-item]
    emitter.emit_outcome({"f": "on"}, "ok", attributes={"last": "2"})
    await emitter.stop()
    records = await read(broker.bootstrap, "encodable", 2)

    assert {"first", "last"} == {key for record in records for key in data_of(record)["attributes"]}
    assert (0, 2, 1) == emitter.stats()


async def test_stop_gives_up_at_its_deadline_and_start_begins_anew(broker: Broker, proxy: Proxy):
    """An emitter stopped without Kafka drops what waits; started again with Kafka it sends what comes."""
    await proxy.cut()
    emitter = emitter_to(proxy.bootstrap, "again")
    await emitter.start()
    emitter.emit_exposure("f", "on", context_id="lost")
    await emitter.stop(deadline_s=0.1)
    await proxy.open()
    await emitter.start()
    emitter.emit_exposure("f", "on", context_id="kept")
    await emitter.stop()

    assert (0, 1, 1) == emitter.stats()
    assert ["kept"] == [data_of(record)["context_id"] for record in await read(broker.bootstrap, "again", 1)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"environment": ""}, "environment: must not be empty"),
        ({"service_name": ""}, "service_name: must not be empty"),
        ({"queue_size": 0}, "queue_size: must be 1 or more, is 0"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], said: str):
    """A wrong argument is named when the emitter is made, not when the first event is lost."""
    with pytest.raises(ValueError, match=said):
        GuardianEmitter(**{"bootstrap_servers": "b:1", "environment": "e", "service_name": "s", **options})


def test_a_service_pays_for_nothing_else():
    """Importing the instrumentation brings in neither Faust nor any other part of this project."""
    code = (
        "import sys, streams.instrument; print(*sorted(m for m in sys.modules if '.' not in m or m[:8] == 'streams.'))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"faust", "mode", "guardian", "structlog", "pydantic", "numpy"} & set(loaded)
    assert {"streams.instrument"} == {".".join(name.split(".")[:2]) for name in loaded if "." in name}
