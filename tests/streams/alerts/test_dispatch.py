from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from streams.alerts.base import Refused, Report, Unreachable
from streams.alerts.dispatch import Dispatch, Patience
from streams.alerts.pagerduty import PagerDuty
from streams.alerts.webhook import Webhook
from tests.streams.alerts.notices import answered, decided, resolved
from tests.support.page import until

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
QUICK = Patience(deadline_s=2.0, first_s=0.01, longest_s=0.05)


class Memory:
    """A channel that keeps what it is told, and fails as often as it is asked to."""

    def __init__(self, name: str = "memory", *, fails: int = 0, max_age_s: float = 3600.0) -> None:
        self.name = name
        self.fails = fails
        self.max_age_s = max_age_s
        self.error: Exception = Unreachable("HTTP 503 from memory")
        self.attempts: list[str] = []
        self.told: list[str] = []

    def wants(self, notice: Report) -> bool:  # noqa: ARG002 - everything
        return True

    async def notify(self, notice: Report) -> None:
        self.attempts.append(notice.notice_id)
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise self.error
        self.told.append(notice.notice_id)


def counted(channel: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("guardian_report_notices_total", {"channel": channel, "outcome": outcome}) or 0.0


async def test_a_channel_that_is_ill_is_told_when_it_is_well(session, api):
    """
    Throttling, errors and a dropped connection are outlasted; the page arrives once.
    """
    api.fail(429, retry_after="0")
    api.fail(500, 0, 503)
    await Dispatch([PagerDuty(session, routing_key=KEY, url=api.url)], QUICK).tell(decided())

    assert (5, 1) == (api.requests, len(api.accepted))


async def test_the_least_pause_is_what_was_asked_for(session, api):
    """
    An asked-for pause is kept, though the own one would be shorter.
    """
    api.fail(429, retry_after="1")
    began = time.monotonic()
    await Dispatch([PagerDuty(session, routing_key=KEY, url=api.url)], QUICK).tell(decided())

    assert time.monotonic() - began >= 1.0
    assert 1 == len(api.accepted)


async def test_what_cannot_be_told_is_not_lost_in_silence():
    """
    After the deadline the whole notice is in the log as an error, and it is counted.
    """
    channel, notice, before = Memory("down", fails=10**6), decided(), counted("down", "gave_up")
    with capture_logs() as logs:
        await Dispatch([channel], Patience(deadline_s=0.2, first_s=0.01, longest_s=0.05)).tell(notice)
    (lost,) = [line for line in logs if line["event"] == "notice_not_delivered"]

    assert ("error", "down", "gave_up", notice.text) == (
        lost["log_level"], lost["channel"], lost["outcome"], lost["text"],
    )  # fmt: skip
    assert notice.data.model_dump(mode="json") == lost["data"]
    assert len(channel.attempts) >= 3
    assert before + 1 == counted("down", "gave_up")


@pytest.mark.parametrize("error", [Refused("HTTP 400"), RuntimeError("a mistake of the channel's own")])
async def test_what_would_fail_again_is_tried_once(error):
    """
    A refusal, or a channel's own mistake, is tried once, logged and counted, and raises nothing.
    """
    channel = Memory("refusing", fails=1)
    channel.error = error
    before = counted("refusing", "refused")
    await Dispatch([channel], QUICK).tell(decided())

    assert 1 == len(channel.attempts)
    assert before + 1 == counted("refusing", "refused")


async def test_a_failing_channel_delays_no_other():
    """
    While one channel fails for seconds, the other has been told at once.
    """
    ill, well = Memory("ill", fails=10**6), Memory("well")
    telling = asyncio.create_task(Dispatch([ill, well], Patience(deadline_s=30.0)).tell(decided()))
    await until(lambda: well.told, "the well one is told", deadline_s=5.0)
    telling.cancel()

    assert [] == ill.told


async def test_a_resolve_never_overtakes_its_trigger(session, api):
    """
    Notices of one rollout arrive in order though the first is retried; other rollouts do not wait for it.
    """
    api.fail(500, 500, 500)
    dispatch = Dispatch([PagerDuty(session, routing_key=KEY, url=api.url)], QUICK)
    await asyncio.gather(
        dispatch.tell(decided()),
        dispatch.tell(resolved(decided())),
        dispatch.tell(decided(flag="new-cart")),
    )
    ours = [event["event_action"] for event in api.accepted if "checkout-v2" in event["dedup_key"]]

    assert ["trigger", "resolve"] == ours
    assert ["guardian:production:new-cart:treatment"] == list(api.open)


async def test_whoever_waited_past_the_deadline_is_tried_all_the_same():
    """
    A notice that waited past its deadline behind another one gets its attempt.
    """
    channel = Memory("late", fails=10**6)
    dispatch = Dispatch([channel], Patience(deadline_s=0.1, first_s=0.02, longest_s=0.02))
    first, second = decided(number=1), decided(number=2)
    await asyncio.gather(dispatch.tell(first), dispatch.tell(second))

    assert {first.notice_id, second.notice_id} == set(channel.attempts)


async def test_old_news_wakes_nobody():
    """
    What happened longer ago than a channel tells is logged and counted instead of told.
    """
    channel = Memory("pager", max_age_s=3600.0)
    before = counted("pager", "stale")
    await Dispatch([channel], QUICK, now=lambda: time.time() + 7200.0).tell(decided())

    assert [] == channel.attempts
    assert before + 1 == counted("pager", "stale")


async def test_an_end_is_told_however_old_it_is():
    """A channel that was away for long hears that an incident is over: else what it has opened would stay open."""
    channel, end = Memory("pager", max_age_s=3600.0), resolved(decided())
    await Dispatch([channel], QUICK, now=lambda: time.time() + 7200.0).tell(end)

    assert [end.notice_id] == channel.attempts


async def test_no_secret_is_ever_logged(session, api):
    """
    Neither keys nor the secret parts of addresses are in any log line, whatever fails.
    """
    api.fail(500, 400, 0, 500)
    hook = api.url.replace("/v2/enqueue", "/s3cr3t-path")
    dispatch = Dispatch(
        [PagerDuty(session, routing_key=KEY, url=api.url), Webhook(session, url=hook, secret=SECRET)],
        Patience(deadline_s=0.3, first_s=0.01, longest_s=0.02),
    )
    with capture_logs() as logs:
        for notice in (decided(), answered("failed"), decided(flag="new-cart")):
            await dispatch.tell(notice)
    shown = str(logs)

    assert "notice_retried" in shown
    assert "notice_not_delivered" in shown
    for secret in (KEY, SECRET, SECRET.removeprefix("whsec_"), "s3cr3t"):
        assert secret not in shown


def test_pauses_grow_and_are_drawn():
    """
    Pauses are drawn from 0 to a bound that doubles up to the longest, on top of what was asked for.
    """
    patience = Patience(first_s=0.5, longest_s=60.0)

    assert [0.5, 1.0, 2.0, 60.0] == [patience.pause_s(n, None, lambda: 1.0) for n in (0, 1, 2, 5000)]
    assert [0.0, 7.25] == [patience.pause_s(0, None, lambda: 0.0), patience.pause_s(0, 7.0, lambda: 0.5)]
