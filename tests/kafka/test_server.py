"""The brokers that other tests lean on hold what they promise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.kafka import running_kafka
from tests.kafka.server import takes_requests

COMMAND = [sys.executable, "-m", "tests.kafka"]


@pytest.mark.timeout(180)
async def test_a_killed_broker_comes_back_with_its_data(kafka_server):
    """
    What a killed broker had acknowledged can be read from the same address once it was started again.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka_server.bootstrap, acks="all") as producer:
        await producer.send_and_wait("kept", b"acknowledged", partition=0)

    kafka_server.kill()
    assert not takes_requests(kafka_server.bootstrap)
    kafka_server.restart()

    async with AIOKafkaConsumer(bootstrap_servers=kafka_server.bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition("kept", 0)])
        assert b"acknowledged" == (await consumer.getone()).value


@pytest.mark.kafka
@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_the_command_takes_its_broker_along(how):
    """
    ``python -m tests.kafka`` says its address, and whichever way it ends, no broker stays behind.
    """
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        bootstrap = json.loads(process.stdout.readline())["bootstrap"]
        assert takes_requests(bootstrap)
        os.kill(process.pid, how)
        process.wait()

    if "KAFKA_BOOTSTRAP" not in os.environ:
        assert not takes_requests(bootstrap)


def test_a_given_broker_must_answer(tmp_path, monkeypatch):
    """
    ``KAFKA_BOOTSTRAP`` is taken at its word: where nobody answers, that is an error, and no other way is tried.
    """
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:1")

    with pytest.raises(RuntimeError, match="KAFKA_BOOTSTRAP=127.0.0.1:1: no Kafka answers"), running_kafka(tmp_path):
        pass
