"""What is logged: readable, and without what nobody may read."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from streams.telemetry import EVERY_S, TEXTS_MAX, _SaidOften

FAILING = """
import structlog
from streams import telemetry

def connect(password):
    raise OSError("refused")

telemetry.configure("test", as_json={as_json})
try:
    connect("hush" + "-" + "hush")
except OSError:
    structlog.get_logger().exception("failed")
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_names_places_and_no_values(as_json: bool) -> None:
    """A defect is logged with where it happened, and without the variables there: they hold secrets."""
    done = subprocess.run([sys.executable, "-c", FAILING.format(as_json=as_json)], capture_output=True, text=True, check=True)

    assert "connect" in done.stderr
    assert "refused" in done.stderr
    assert "hush-hush" not in done.stderr


def test_a_library_says_the_same_once_in_a_while() -> None:
    """
    A flood of one complaint, whatever its arguments, is one line in ten seconds, which tells how many there were; other texts,
    and our own events, are not held back, and of texts that are ever new no more are remembered than may be.
    """
    now_s = [0.0]
    said = _SaidOften(lambda: now_s[0])

    def tells(text: object, *args: object, name: str = "aiokafka") -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, text, args, None)
        return record.getMessage() if said.filter(record) else None

    first = [tells("no node %s", number) for number in range(100)]
    others = [tells("no group"), tells("no node %s", 1, name="kafka"), tells({"event": "ours"}), tells({"event": "ours"})]
    now_s[0] = EVERY_S
    later = tells("no node %s", 7)
    for number in range(3 * TEXTS_MAX):
        tells(f"{number}")

    assert ["no node 0", *[None] * 99] == first
    assert ["no group", "no node 1", "{'event': 'ours'}", "{'event': 'ours'}"] == others
    assert "no node 7 (and 99 times more in 10 s)" == later
    assert len(said._said) <= TEXTS_MAX
