"""The brokers that tests run on, and an honest word when there is no real one."""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kafka import Brokers, KafkaServer, NoKafkaError, can_own, find_way, running_kafka
from tests.support.cluster import Cluster
from tests.support.stores import togglz, unleash

pytest_plugins = ["tests.clients.tier", "tests.support.alerts.tier", "tests.support.page"]

_OWN = {"kafka_server", "own_kafka", "three_brokers"}
"""Fixtures that need brokers of one's own."""


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


# ---------------------------------------------------------------------------- without what tests need


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that ask for a real Kafka are the Kafka tier, whether they say so or not."""
    for item in items:
        if {"real_kafka", *_OWN} & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get Unleash before the first test begins: that takes longer than a test may."""
    if any(item.get_closest_marker("unleash") for item in session.items) and not unleash.why_not():
        unleash.installed()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run a tier where what it needs can be had: else it fails in CI, and elsewhere that is said at the end."""
    for tier, why_not in _TIERS.items():
        if item.get_closest_marker(tier) is None or not (reason := why_not(item)):
            continue
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the {tier.capitalize()} tier: {reason}", pytrace=False)
        pytest.skip(f"no real {tier.capitalize()}: {reason}")


@functools.cache
def _why_no_kafka(*, own: bool) -> str:
    try:
        way = find_way()
    except NoKafkaError as error:
        return str(error)
    return "" if not own or can_own() else f"it needs a broker of its own, with Java and Maven; there is {way.value}"


_TIERS: dict[str, Callable[[pytest.Item], str]] = {
    "kafka": lambda item: _why_no_kafka(own=bool(_OWN & set(getattr(item, "fixturenames", ())))),
    "togglz": lambda _: togglz.why_not(),
    "unleash": lambda _: unleash.why_not(),
}
"""Marks of tests that need a real server, each with why this machine cannot run it; empty where it can."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last lines of a run say what it left out, whichever worker it was left out by."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for tier in map(str.capitalize, _TIERS):
        not_tested = f"no real {tier}: "
        left_out = [why.partition(not_tested)[2].rstrip("')") for why in skipped if not_tested in why]
        if left_out:
            terminalreporter.write_line(f"The {tier} tier was NOT tested: {len(left_out)} tests left out.", red=True, bold=True)
            for reason in dict.fromkeys(left_out):
                terminalreporter.write_line(f"  {reason}", red=True)
