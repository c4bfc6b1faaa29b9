"""The tier of tests that need clients in other languages: fails in CI where they cannot be had, and elsewhere says so."""

from __future__ import annotations

import functools
import os

import pytest

from tests.clients.installed import why_none

_NOT_TESTED = "no clients in other languages: "


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run tests marked ``clients`` where Node and Java are."""
    if item.get_closest_marker("clients") is None:
        return
    reason = _why_none()
    if reason and os.environ.get("CI"):
        pytest.fail(f"CI must run the tier of clients: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"{_NOT_TESTED}{reason}")


@functools.cache
def _why_none() -> str:
    return why_none()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last lines of a run say what it left out, whichever worker it was left out by."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    left_out = [why.partition(_NOT_TESTED)[2].rstrip("')") for why in skipped if _NOT_TESTED in why]
    if left_out:
        said = f"Clients in other languages were NOT tested: {len(left_out)} tests left out."
        terminalreporter.write_line(said, red=True, bold=True)
        for reason in dict.fromkeys(left_out):
            terminalreporter.write_line(f"  {reason}", red=True)
