from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from streams.alerts.base import Refused, Report, Unreachable
from streams.alerts.dispatch import Dispatch, Patience
from tests.streams.alerts.notices import decided
from tests.support.page import until

QUICK = Patience(deadline_s=5.0, first_s=0.01, longest_s=0.05)


class Failing:
    """A channel that raises *error* until it is mended; without one it takes all."""

    max_age_s = 3600.0

    def __init__(self, name: str, error: Exception | None = None, *, least: str = "log") -> None:
        self.name, self.error, self.least = name, error, least
        self.told: list[Report] = []

    def wants(self, notice: Report) -> bool:
        return self.least == "log" or notice.level == "page" or (self.least == "chat" and notice.level == "chat")

    async def notify(self, notice: Report) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(notice)


def to(*names: str, **more) -> Report:
    return replace(decided(), to=names, **more)


def failing(channel: str) -> float | None:
    return REGISTRY.get_sample_value("guardian_report_channel_failing", {"channel": channel})


async def test_what_is_refused_comes_another_way_and_the_failure_is_told_there():
    """
    A page that PagerDuty refuses comes by e-mail, with one notice that says so and why; readiness and metrics show it.
    """
    pager, email = Failing("pagerduty", Refused("HTTP 401 from events.pagerduty.com")), Failing("email")
    dispatch = Dispatch([pager, email], QUICK, fallback=["email"])
    heard: list[str] = []

    async def hear(name: str) -> None:
        heard.append(name)

    with capture_logs():
        await dispatch.tell(to("pagerduty"), heard=hear)
        await dispatch.tell(to("pagerduty", notice_id="decision:2"), heard=hear)

    failure = next(notice for notice in email.told if notice.notice_id.startswith("channel:pagerduty:"))
    assert 3 == len(email.told), "two pages, and once in the hour that it fails"
    assert ["email", "email"] == heard
    assert failure.text.startswith(
        "pagerduty refuses: HTTP 401 from events.pagerduty.com; this page came by email instead: Killed checkout-v2"
    )
    assert ("chat", "", ()) == (failure.level, failure.incident, failure.links)
    assert {"pagerduty": "refuses: HTTP 401 from events.pagerduty.com"} == dispatch.failing.channels
    assert (1.0, 0.0) == (failing("pagerduty"), failing("email"))


async def test_it_is_said_again_the_next_hour_and_not_after_it_is_mended():
    """
    A channel that goes on failing is told of once an hour; one that takes a notice is well.
    """
    hour_s = time.time() // 3600 * 3600
    pager, email, now = Failing("pagerduty", Refused("HTTP 403")), Failing("email"), [hour_s]
    pager.max_age_s = email.max_age_s = float("inf")
    dispatch = Dispatch([pager, email], QUICK, fallback=["email"], now=lambda: now[0])
    with capture_logs():
        for after_s in (0, 60, 3_600, 3_660, 7_200):
            now[0] = hour_s + after_s
            pager.error = None if after_s == 7_200 else pager.error
            await dispatch.tell(to("pagerduty"))

    said = [notice.notice_id for notice in email.told if notice.notice_id.startswith("channel:")]
    assert (2, 2) == (len(said), len(set(said)))
    assert 1 == len(pager.told)
    assert {} == dispatch.failing.channels


async def test_what_is_not_reached_comes_another_way_meanwhile():
    """
    A channel that answers nothing for long is tried on, and the fallback is told without waiting for the end of that.
    """
    pager, email = Failing("pagerduty", Unreachable("no answer from pager")), Failing("email")
    dispatch = Dispatch([pager, email], QUICK, fallback=["email"], unreachable_after_s=0.1)
    with capture_logs():
        telling = asyncio.create_task(dispatch.tell(to("pagerduty")))
        await until(lambda: 2 == len(email.told), "told by e-mail", deadline_s=3.0)
        assert not telling.done()
        pager.error = None
        await telling

    assert 1 == len(pager.told)
    assert any("cannot be reached: no answer from pager" in notice.text for notice in email.told)


async def test_the_next_one_that_is_not_told_already_is_taken():
    """
    Where the first fallback fails as well the next one is told; a channel that is told anyway is not told twice.
    """
    pager, email = Failing("pagerduty", Refused("HTTP 401")), Failing("email", Refused("550"))
    chat, hook = Failing("slack"), Failing("webhook")
    dispatch = Dispatch([pager, email, chat, hook], QUICK, fallback=["email", "slack"])
    with capture_logs():
        await dispatch.tell(to("pagerduty"))
        await dispatch.tell(to("pagerduty", "slack", notice_id="decision:2"))

    ids = [notice.notice_id for notice in chat.told if not notice.notice_id.startswith("channel:")]
    assert sorted({decided().notice_id, "decision:2"}) == sorted(ids)
    assert [] == hook.told


@pytest.mark.parametrize("more", [{"level": "log", "urgent": False}, {}])
async def test_what_is_for_machines_floods_nobody(more):
    """
    What is only logged falls back to nobody, nor does a notice go to a channel that does not want it.
    """
    hook, pager = Failing("webhook", Refused("HTTP 410")), Failing("pagerduty", least="page")
    dispatch = Dispatch([hook, pager], QUICK, fallback=["pagerduty"])
    with capture_logs():
        await dispatch.tell(to("webhook", **more))

    assert [] == [notice for notice in pager.told if notice.level != "page"]
    assert (0 if more else 1) == len(pager.told)


async def test_a_hanging_channel_delays_no_other():
    """
    While one channel hangs, others and the fallback are told.
    """

    class Hanging(Failing):
        async def notify(self, notice: Report) -> None:  # noqa: ARG002 - it takes none
            await asyncio.Event().wait()

    hanging, well, email = Hanging("pagerduty"), Failing("slack"), Failing("email")
    dispatch = Dispatch([hanging, well, email], QUICK, fallback=["email"], unreachable_after_s=0.05)
    with capture_logs():
        telling = asyncio.create_task(dispatch.tell(to("pagerduty", "slack")))
        await until(lambda: well.told and email.told, "the others are told", deadline_s=3.0)
        telling.cancel()
        await asyncio.wait({telling})

    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_who_was_told_before_is_left_out():
    """
    After a crash only those channels are told that had not taken it.
    """
    first, second = Failing("pagerduty"), Failing("slack")
    await Dispatch([first, second], QUICK).tell(to("pagerduty", "slack"), told=("pagerduty",))

    assert (0, 1) == (len(first.told), len(second.told))
