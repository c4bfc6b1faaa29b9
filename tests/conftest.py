"""The brokers that tests run on, and an honest word when there is no real one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from streams.broker.embedded import EmbeddedBroker
from streams.settings import Settings
from streams.topics import Topics
from tests.kafka import KafkaServer, NoKafkaError, Way, find_way, running_kafka

_without_kafka = pytest.StashKey[str]()


@dataclass(frozen=True, slots=True)
class Cluster:
    """A broker to test on."""

    bootstrap: str
    embedded: bool


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[str]:
    """The address of an embedded broker, for all tests of the run: use topic names of your own (``kafka_settings``)."""
    with embedded_broker_process() as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def real_kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Kafka, for all tests of the run; it makes no topics by itself."""
    _need_kafka(request)
    with running_kafka(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap


@pytest.fixture
def kafka_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KafkaServer]:
    """A real Kafka of this test's own, which it may stop, kill and start again."""
    _need_kafka(request, own=True)
    with KafkaServer.start(tmp_path / "kafka") as server:
        yield server


@pytest.fixture(scope="session", params=["embedded", pytest.param("real", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> Cluster:
    """Runs the test on the embedded broker, and again on a real Kafka."""
    bootstrap: str = request.getfixturevalue(f"{request.param}_kafka")
    return Cluster(bootstrap, embedded=request.param == "embedded")
