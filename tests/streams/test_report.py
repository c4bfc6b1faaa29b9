from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from standardwebhooks import Webhook as Oracle
from structlog.testing import capture_logs

from streams.alerts.base import Report
from streams.alerts.dispatch import Dispatch
from streams.report import channels, run_report
from streams.settings import Settings
from streams.status import Status
from streams.telling.book import Memory as BookMemory
from streams.telling.lines import InOrder
from streams.telling.reporter import Reporter
from tests.support.cluster import Cluster
from tests.support.incidents import book
from tests.support.page import Hand, hand, until
from tests.support.pagerduty import EventsApi, events_api
from tests.support.published import decision, receipt

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Memory:
    """A channel that keeps what it is told."""

    max_age_s = 3600.0

    def __init__(self) -> None:
        self.name = "memory"
        self.told: list[Report] = []
        self.holding: asyncio.Event | None = None

    def wants(self, notice: Report) -> bool:  # noqa: ARG002 - everything
        return True

    async def notify(self, notice: Report) -> None:
        if self.holding:
            await self.holding.wait()
        self.told.append(notice)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def reporter() -> tuple[Reporter, Memory]:
    channel = Memory()
    return Reporter(Dispatch([channel]), book()), channel


async def test_decisions_and_receipts_are_logged_and_told():
    """
    Each decision and receipt is one log line and one notice, with the sentence that everybody reads.
    """
    report, channel = reporter()
    of = decision(at_ms=now_ms())
    with capture_logs() as logs:
        await report.handle_decision(of, 0)
        await report.handle_receipt(receipt(of, "applied"), 0)

    sentence = "The kill of checkout-v2/treatment in production was applied by flagd as version 17, 41 ms after"
    assert [of.explanation, f"{sentence} it was decided."] == [notice.text for notice in channel.told]
    assert ["decision", "receipt"] == [line["event"] for line in logs if line["log_level"] == "info"]
    assert ("production|checkout-v2", "treatment", "kill", "enforce") == tuple(
        logs[0][name] for name in ("rollout", "variation", "action", "mode")
    )


@pytest.mark.parametrize(
    ("more", "urgent"),
    [
        ({}, True),
        ({"environment": "canary-eu"}, True),
        ({"environment": "staging"}, False),
        ({"action": "kill_flag"}, True),
        ({"owner": ""}, False),
        ({"mode": "shadow"}, False),
        ({"action": "pause"}, False),
        ({"action": "step_back"}, False),
        ({"action": "advance"}, False),
    ],
)
async def test_which_decisions_wake_somebody(more, urgent):
    """
    A kill that is meant and has an owner wakes somebody, but for where things are tried; nothing else does.
    """
    report, channel = reporter()
    await report.handle_decision(decision(at_ms=now_ms(), **more), 0)

    assert [urgent] == [notice.urgent for notice in channel.told]


@pytest.mark.parametrize(
    ("action", "status", "urgent"),
    [
        ("kill", "applied", False),
        ("kill", "effective", False),
        ("kill", "shadow", False),
        ("kill", "failed", True),
        ("kill", "not_effective", True),
        ("kill", "expired", True),
        ("kill", "conflict", True),
        ("kill", "waiting", True),
        ("kill", "superseded", False),
        ("pause", "waiting", False),
        ("pause", "failed", False),
        ("pause", "conflict", False),
        ("advance", "expired", False),
    ],
)
async def test_which_receipts_wake_somebody(action, status, urgent):
    """
    A kill that was not carried out for whatever reason, or did not help, wakes somebody; nothing else does.
    """
    report, channel = reporter()
    of = decision(at_ms=now_ms(), action=action)
    await report.handle_decision(of, 0)
    await report.handle_receipt(receipt(of, status), 0)

    assert (urgent, "team-checkout") == (channel.told[1].urgent, channel.told[1].owner)


@pytest.mark.parametrize(("action", "urgent"), [("kill", True), ("resume", False)])
async def test_on_call_is_told_once_that_a_kill_waits_and_that_it_arrived(action, urgent):
    """
    A kill that waits wakes somebody once, however often it is said, and once more when it arrived; a resume nobody.
    """
    report, channel = reporter()
    of = decision(at_ms=now_ms(), action=action)
    waiting = receipt(of, "waiting", detail="connection refused")
    for one in (waiting, waiting, receipt(of, "applied").model_copy(update={"waited_s": 301.2})):
        await report.handle_receipt(one, 0)

    assert [urgent, urgent] == [notice.urgent for notice in channel.told]
    assert channel.told[0].text.endswith("and is tried until it is done: connection refused.")


async def test_a_receipt_whose_decision_is_unknown_is_told():
    """
    A receipt that comes before its decision, or long after it, is told all the same.
    """
    report, channel = reporter()
    await report.handle_receipt(receipt(decision(at_ms=now_ms()), "failed", detail="no such flag"), 0)

    assert ["The kill of checkout-v2/treatment in production failed in flagd after 1 attempt: no such flag."] == [
        notice.text for notice in channel.told
    ]


async def test_a_repeat_is_told_once_and_not_before_the_first():
    """
    The same decision twice is one notice; the repeat is not done before somebody was told.
    """
    report, channel = reporter()
    channel.holding = asyncio.Event()
    of = decision(at_ms=now_ms())
    first = asyncio.create_task(report.handle_decision(of, 0))
    second = asyncio.create_task(report.handle_decision(of, 0))
    done, _ = await asyncio.wait({first, second}, timeout=0.05)
    channel.holding.set()
    await asyncio.gather(first, second)
    await report.handle_decision(of, 0)

    assert set() == done
    assert 1 == len(channel.told)


async def test_what_is_remembered_is_bounded():
    """
    Ids and decisions are remembered up to a number; memory does not grow with time.
    """
    channel = Memory()
    report = Reporter(Dispatch([channel]), book(), remembered=10)
    for number in range(50):
        await report.handle_decision(decision(number, at_ms=now_ms(), evidence=None), 0)

    assert (10, 10) == (len(report._told), len(report._decisions))
    assert 50 == len(channel.told)


class Stream:
    """What Faust hands to an agent, as far as acknowledging goes."""

    def __init__(self) -> None:
        self.acknowledged: list[tuple[str, int]] = []

    async def ack(self, event: Any) -> None:
        self.acknowledged.append((event.message.tp, event.message.offset))


def event(partition: str, offset: int) -> Any:
    return SimpleNamespace(message=SimpleNamespace(tp=partition, offset=offset))


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.booleans()), max_size=20))
def test_acknowledged_in_order(works):
    """
    However long each takes and whether it fails or not, a partition's events are acknowledged in their order, all.
    """

    async def work(turns: int, fails: bool) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        if fails:
            raise RuntimeError("a defect")

    async def run() -> list[tuple[str, int]]:
        stream, in_order = Stream(), InOrder(5)
        with capture_logs():
            for offset, (partition, turns, fails) in enumerate(works):
                await in_order.handle(stream, event(partition, offset), work(turns, fails))
            await until(lambda: len(stream.acknowledged) == len(works), "all are acknowledged")
        return stream.acknowledged

    acknowledged = asyncio.run(run())

    for one in "ab":
        expected = [offset for offset, (partition, _, _) in enumerate(works) if partition == one]
        assert expected == [offset for partition, offset in acknowledged if partition == one]


async def test_nothing_is_acknowledged_past_what_was_not_told():
    """
    When it ends before somebody was told, neither that event nor any after it is acknowledged: they come again.
    """
    report, channel = reporter()
    channel.holding = asyncio.Event()
    stream, in_order = Stream(), InOrder(5)
    told = asyncio.Event()
    told.set()
    await in_order.handle(stream, event("a", 1), report.handle_decision(decision(1, at_ms=now_ms()), 0))
    await in_order.handle(stream, event("a", 2), told.wait())  # type: ignore[arg-type]
    await in_order.handle(stream, event("b", 7), told.wait())  # type: ignore[arg-type]
    await until(lambda: stream.acknowledged, "the other partition goes on")
    await report.drain(0.05)
    await asyncio.sleep(0)

    assert [("b", 7)] == stream.acknowledged


async def test_what_is_told_while_it_ends_is_acknowledged(kafka: Cluster):
    """
    What is being told when it is told to end, and gets through, is committed: the next start does not repeat it.
    """
    async with events_api() as api, hooks() as (hook, got):
        given = kafka.settings(**alerts(api, hook))
        async with hand(given) as publish:
            api.delay_s = 0.2
            async with reporting(given):
                await publish.decision(decision(at_ms=now_ms()))
                await until(lambda: api.requests == 1, "the page is on its way")
            await until_committed(given, {given.topics.decisions: 1})

    assert (1, 1) == (len(api.accepted), len(got))


async def test_settings_choose_the_channels():
    """
    Without keys and addresses nobody is told but the log; a key of a wrong form is an error at the start.
    """
    async with aiohttp.ClientSession() as session:
        memory = BookMemory(book())
        assert [] == channels(Settings(), session, memory)
        both = alerts(EventsApi(url="http://127.0.0.1:1/v2/enqueue"), "https://hooks.example.com/x")
        assert ["pagerduty", "webhook"] == [one.name for one in channels(Settings.model_validate(both), session, memory)]
        with pytest.raises(ValueError, match=r"alerts\.pagerduty\.routing_key"):
            channels(Settings.model_validate({"alerts": {"pagerduty": {"routing_key": "short"}}}), session, memory)


def alerts(api: EventsApi, hook: str) -> dict[str, Any]:
    return {
        "alerts": {
            "pagerduty": {"url": api.url, "routing_key": KEY},
            "webhook": {"url": hook, "secret": SECRET},
        }
    }


@asynccontextmanager
async def hooks() -> AsyncIterator[tuple[str, list[Any]]]:
    """A receiver that verifies each call as its own library does."""
    got: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        headers = {key.lower(): value for key, value in request.headers.items()}
        got.append((headers["webhook-id"], Oracle(SECRET).verify(await request.read(), headers)))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", got
    finally:
        await runner.cleanup()


@asynccontextmanager
async def reporting(given: Settings) -> AsyncIterator[Status]:
    status = Status("report")
    running = asyncio.create_task(run_report(given, status))
    try:
        await until(lambda: status.is_ready or running.done(), "report is ready")
        yield status
    finally:
        ended = running.done()
        running.cancel()
        await asyncio.wait({running})
        if ended:
            running.result()  # whoever waits in vain is told why


async def test_from_kafka_to_the_pager(kafka: Cluster):
    """
    What is published in Kafka pages and calls the webhook, though PagerDuty is ill at first; a resume resolves.
    """
    async with events_api() as api, hooks() as (hook, got):
        api.fail(503, 0)
        given = kafka.settings(**alerts(api, hook))
        async with hand(given) as publish, reporting(given):
            of = await tell(publish)
            await until(lambda: len(api.open) == 1 and len(got) == 3, "page and calls")
            assert ["trigger"] == [one["event_action"] for one in api.accepted]
            await publish.decision(decision(18, at_ms=now_ms(), action="resume"))
            await until(lambda: not api.open and len(got) == 6, "resolved, and reported")

    assert of.explanation in {said["text"] for _, said in got}
    assert 6 == len({named for named, _ in got})
    assert [] == api.refused


async def tell(publish: Hand) -> Any:
    """A kill with two receipts; the kill and one receipt come twice, and something unreadable between them."""
    of = decision(at_ms=now_ms())
    await publish.decision(of)
    await publish.raw(publish.topics.decisions, "production|checkout-v2", b"no JSON")
    await publish.decision(of)
    await publish.receipt(receipt(of, "applied"))
    await publish.receipt(receipt(of, "applied"))
    await publish.receipt(receipt(of, "effective", after_ms=5000))
    return of


async def until_committed(given: Settings, offsets: dict[str, int]) -> None:
    """Wait until the group of report has so many records of each topic behind it."""
    asking = AIOKafkaConsumer(
        **given.kafka.client_options(), group_id=f"{given.kafka.group_prefix}-report", enable_auto_commit=False
    )
    await asking.start()
    try:
        async with asyncio.timeout(20.0):
            for topic, offset in offsets.items():
                partitions = [TopicPartition(topic, number) for number in range(given.partitions)]
                asking.assign(partitions)
                while offset != sum([await asking.committed(one) or 0 for one in partitions]):
                    await asyncio.sleep(0.05)
    finally:
        await asking.stop()


async def test_what_was_told_is_not_told_again_after_a_restart(kafka: Cluster):
    """
    What was told is acknowledged: a restart goes on after it, and tells what came meanwhile.
    """
    async with events_api() as api, hooks() as (hook, got):
        given = kafka.settings(**alerts(api, hook))
        async with hand(given) as publish:
            async with reporting(given):
                await tell(publish)
                await until(lambda: len(got) == 3 and len(api.accepted) == 1, "the first round")
                await until_committed(given, {given.topics.decisions: 3, given.topics.receipts: 3})
            await publish.decision(decision(19, flag="new-cart", at_ms=now_ms()))
            async with reporting(given):
                await until(lambda: len(api.open) == 2, "what came meanwhile")

    assert (4, 2) == (len(got), len(api.accepted))


async def test_a_channel_that_is_down_holds_up_nothing_but_itself(embedded_kafka: str):
    """
    While PagerDuty cannot be reached the webhook goes on, and it ends in time when it is told to.
    """
    async with hooks() as (hook, got):
        nobody = EventsApi(url="http://127.0.0.1:9/v2/enqueue")
        given = Cluster(embedded_kafka, embedded=True).settings(**alerts(nobody, hook))
        async with hand(given) as publish, reporting(given):
            for number in range(20):
                await publish.decision(decision(number, flag=f"flag-{number % 3}", at_ms=now_ms()))
            await until(lambda: len(got) == 20, "all calls of the webhook")
            began = time.monotonic()
        took_s = time.monotonic() - began

    assert took_s < 3.0
