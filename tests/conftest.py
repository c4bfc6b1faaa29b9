"""The brokers that tests run on, and chance."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka import Brokers, KafkaServer, running_kafka
from tests.support.cluster import Cluster

pytest_plugins = ["tests.tiers", "tests.support.page"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background: what tests start would inherit that, and not end by Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[str]:
    """The address of an embedded broker, for all tests of the run: use topics of your own (``Cluster.settings``)."""
    command = [sys.executable, "-m", "streams.broker", "--end-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["bootstrap"]
        process.stdin.close()


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Kafka, for all tests of the run; it makes no topics by itself."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def real_cluster(real_kafka: str) -> Cluster:
    """The same, for tests that no embedded broker can pass."""
    return Cluster(real_kafka, embedded=False)


@pytest.fixture
def kafka_server(tmp_path: Path) -> Iterator[KafkaServer]:
    """A real Kafka of this test's own, which it may stop, kill and start again."""
    with KafkaServer.start(tmp_path / "kafka") as server:
        yield server


@pytest.fixture(scope="session")
def own_kafka() -> None:
    """Asked for by fixtures that start brokers in a way of their own."""


@pytest.fixture
def three_brokers(tmp_path: Path) -> Iterator[Brokers]:
    """A cluster of this test's own; each of its brokers it may kill and start again."""
    with Brokers.start(tmp_path / "kafka") as brokers:
        yield brokers


@pytest.fixture(scope="session", params=["embedded", pytest.param("real", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> Cluster:
    """Runs the test on the embedded broker, and again on a real Kafka."""
    bootstrap: str = request.getfixturevalue(f"{request.param}_kafka")
    return Cluster(bootstrap, embedded=request.param == "embedded")


@pytest.fixture
def dice() -> random.Random:
    """Chance; a failing test shows the seed."""
    seed = random.SystemRandom().randrange(10_000)
    print(f"seed {seed}")
    return random.Random(seed)
