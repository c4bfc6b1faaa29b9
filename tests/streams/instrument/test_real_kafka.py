"""The emitter against a real Kafka, which refuses what it should, and is killed."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streams.instrument import GuardianEmitter
from tests.kafka import KafkaServer
from tests.streams.instrument.kafka import data_of, eventually, read

TOPIC = "flag.outcomes.v1"


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_refusals_and_a_power_cut(kafka_server: KafkaServer):
    """
    A missing topic is waited for, an event too large is dropped alone, a killed broker costs nothing.

    ::

        no topic ── made ── too large ── killed ── emitted ── restarted ──▶ all but the large one, once each
    """
    emitter = GuardianEmitter(kafka_server.bootstrap, "production", "shop", kafka={"request_timeout_ms": 2_000})
    await emitter.start()
    emitter.emit_outcome({"f": "on"}, "ok", context_id="before the topic")
    await eventually(lambda: emitter._outcomes._trouble)
    admin = AdminClient({"bootstrap.servers": kafka_server.bootstrap})
    admin.create_topics([NewTopic(TOPIC, 4, 1)])[TOPIC].result()
    await eventually(lambda: emitter.stats() == (0, 1, 0))

    emitter.emit_outcome({"f": "on"}, "ok", attributes={"huge": "x" * 2_000_000}, context_id="u-0")
    emitter.emit_outcome({"f": "on"}, "ok", context_id="u-0")
    await eventually(lambda: emitter.stats() == (0, 2, 1))

    kafka_server.kill()
    for number in range(1, 100):
        emitter.emit_outcome({"f": "on"}, "ok", context_id=f"u-{number}")
    kafka_server.restart()
    await eventually(lambda: emitter.stats() == (0, 101, 1), 30)
    await emitter.stop()

    assert sorted(["before the topic", *(f"u-{number}" for number in range(100))]) == sorted(
        data_of(record)["context_id"] for record in await read(kafka_server.bootstrap, TOPIC, 101)
    )
