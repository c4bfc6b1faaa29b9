"""What is logged: readable, and without what nobody may read."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
