"""What some tests need beside Python: each tier runs where that can be had, fails without it in CI, and is named elsewhere."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.clients.installed import why_none
from tests.kafka import NoKafkaError, can_own, find_way
from tests.kafka.server import prepare
from tests.support.alerts.installed import NoAlertmanagerError, alertmanager
from tests.support.stores import togglz, unleash

OWN_BROKERS = {"kafka_server", "own_kafka", "three_brokers"}
"""Fixtures that need brokers of one's own."""


class Tier(NamedTuple):
    """*what* its tests need, and *why_not* this machine has it for one of them; empty where it does."""

    what: str
    why_not: Callable[[pytest.Item], str]


@functools.cache
def _why_no_kafka(*, own: bool) -> str:
    try:
        way = find_way()
    except NoKafkaError as error:
        return str(error)
    return "" if not own or can_own() else f"it needs a broker of its own, with Java and Maven; there is {way.value}"


@functools.cache
def _why_no_alertmanager() -> str:
    try:
        alertmanager()
    except NoAlertmanagerError as error:
        return str(error)
    return ""


_why_no_clients = functools.cache(why_none)

TIERS: dict[str, Tier] = {
    "alertmanager": Tier("real Alertmanager", lambda _: _why_no_alertmanager()),
    "clients": Tier("clients in other languages", lambda _: _why_no_clients()),
    "kafka": Tier("real Kafka", lambda item: _why_no_kafka(own=bool(OWN_BROKERS & set(getattr(item, "fixturenames", ()))))),
    "togglz": Tier("real Togglz", lambda _: togglz.why_not()),
    "unleash": Tier("real Unleash", lambda _: unleash.why_not()),
}
"""By the mark of their tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that ask for a real Kafka are of its tier, whether they say so or not."""
    for item in items:
        if {"real_kafka", *OWN_BROKERS} & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get Unleash and Kafka before the first test begins: that takes longer than a test may."""
    if can_own() and any(item.get_closest_marker("kafka") for item in session.items):
        with contextlib.suppress(RuntimeError):  # the tests say why
            prepare()
    if any(item.get_closest_marker("unleash") for item in session.items) and not unleash.why_not():
        unleash.installed()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run a tier where what it needs can be had: else it fails in CI, and elsewhere that is said at the end."""
    for mark, tier in TIERS.items():
        if item.get_closest_marker(mark) is None or not (reason := tier.why_not(item)):
            continue
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {tier.what}: {reason}", pytrace=False)
        pytest.skip(f"no {tier.what}: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last lines of a run say what it left out, whichever worker it was left out by."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for tier in TIERS.values():
        not_tested = f"no {tier.what}: "
        left_out = [why.partition(not_tested)[2].rstrip("')") for why in skipped if not_tested in why]
        if left_out:
            said = f"NOT tested, for want of {tier.what}: {len(left_out)} tests left out."
            terminalreporter.write_line(said, red=True, bold=True)
            for reason in dict.fromkeys(left_out):
                terminalreporter.write_line(f"  {reason}", red=True)
