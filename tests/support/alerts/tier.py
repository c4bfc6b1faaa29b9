"""The tier of tests that need a real Alertmanager: fails in CI where it cannot be had, and elsewhere says so."""

from __future__ import annotations

import functools
import os

import pytest

from tests.support.alerts.installed import NoAlertmanagerError, alertmanager

_NOT_TESTED = "no real Alertmanager: "


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run tests marked ``alertmanager`` where there is one."""
    if item.get_closest_marker("alertmanager") is None:
        return
    reason = _why_none()
    if reason and os.environ.get("CI"):
        pytest.fail(f"CI must run the tests with Alertmanager: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"{_NOT_TESTED}{reason}")


@functools.cache
def _why_none() -> str:
    try:
        alertmanager()
    except NoAlertmanagerError as error:
        return str(error)
    return ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last lines of a run say what it left out, whichever worker it was left out by."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    left_out = [why.partition(_NOT_TESTED)[2].rstrip("')") for why in skipped if _NOT_TESTED in why]
    if left_out:
        said = f"A real Alertmanager was NOT tested: {len(left_out)} tests left out."
        terminalreporter.write_line(said, red=True, bold=True)
        for reason in dict.fromkeys(left_out):
            terminalreporter.write_line(f"  {reason}", red=True)
