from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from guardian.decisions import Decision, Receipt
from guardian.incidents import INCIDENT_TYPE, Incident, Schedule, due
from streams.alerts.base import Refused, Report
from streams.alerts.dispatch import Dispatch, Patience
from streams.alerts.routing import Route, Routing
from streams.cloudevents import from_event
from streams.telling.book import Book, Memory
from streams.telling.lines import InOrder
from streams.telling.reporter import Reporter
from streams.telling.timers import Timers
from tests.support.incidents import IncidentsTopic
from tests.support.page import until
from tests.support.published import decision, receipt

BEGAN_MS = 1_764_000_000_000
SCHEDULE = Schedule(900.0, 3600.0)
INCIDENT = "production|checkout-v2|treatment"
KILL = decision(at_ms=BEGAN_MS)


class Receiver:
    """A channel whose other side keeps what it took, whatever becomes of the worker."""

    max_age_s = float("inf")

    def __init__(self, name: str) -> None:
        self.name = name
        self.took: list[Report] = []
        self.known: set[str] = set()
        """Identities that were known to be told when a worker died."""
        self.again: list[str] = []
        self.refuses = False

    def wants(self, notice: Report) -> bool:  # noqa: ARG002 - everything
        return True

    async def notify(self, notice: Report) -> None:
        if self.refuses:
            raise Refused("HTTP 401")
        await asyncio.sleep(0)
        self.again += [notice.notice_id] if notice.notice_id in self.known else []
        self.took.append(notice)
        await asyncio.sleep(0)

    @property
    def ids(self) -> list[str]:
        return [notice.notice_id for notice in self.took]


class World:
    """What outlives a worker: Kafka's topics, what was acknowledged, the channels' other sides, and the time."""

    def __init__(self) -> None:
        self.topic = IncidentsTopic()
        self.log: list[Decision | Receipt] = []
        self.acknowledged: set[int] = set()
        self.channels = [Receiver("pager"), Receiver("chat")]
        self.now_s = BEGAN_MS / 1_000

    @property
    def incident(self) -> Incident | None:
        found = [value for _, key, value in self.topic.records if key == INCIDENT]
        return from_event(found[-1], Incident, type=INCIDENT_TYPE) if found else None

    @property
    def written(self) -> set[tuple[str, str]]:
        """Which channel is known to have taken which notice."""
        told = self.incident.told if self.incident else {}
        return {(name, notice) for notice, names in told.items() for name in names}

    async def ack(self, event: Any) -> None:
        self.acknowledged.add(event.message.offset)


class Worker:
    """One life of a worker of report, from its start to its death at any moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.book = Book("incidents", world.topic, world.topic.read)
        self.book.hold([0])
        dispatch = Dispatch(world.channels, Patience(deadline_s=0.0), now=lambda: world.now_s)
        self.timers = Timers(self.book, dispatch, schedule=SCHEDULE, settle_s=0.0, now=lambda: world.now_s)
        self.reporter = Reporter(dispatch, self.book, ended=self.timers.wake, now=lambda: world.now_s)
        self.in_order = InOrder(100)
        self.offset = next(number for number in range(len(world.log) + 1) if number not in world.acknowledged)

    async def read(self) -> None:
        for offset in range(self.offset, len(self.world.log)):
            one = self.world.log[offset]
            handle = self.reporter.handle_decision if isinstance(one, Decision) else self.reporter.handle_receipt
            event = SimpleNamespace(message=SimpleNamespace(tp=TopicPartition("decisions", 0), offset=offset))
            await self.in_order.handle(self.world, event, handle(one, 0))  # type: ignore[arg-type]
        self.offset = len(self.world.log)

    async def until_told(self) -> None:
        def is_quiet() -> bool:
            known = self.book.incident(0, INCIDENT)
            owes = known is not None and due(known, SCHEDULE, self.world.now_s) is not None
            return len(self.world.acknowledged) == len(self.world.log) and not owes and not self.timers._telling

        for _ in range(1_000):
            await self.timers.look()
            await asyncio.sleep(0)
            if is_quiet() and len(asyncio.all_tasks()) == 1:
                return
        raise AssertionError("something is never told")

    @staticmethod
    async def die() -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


RESUME = decision(18, at_ms=BEGAN_MS + 3_000_000, action="resume", evidence=None)
RESUMED = receipt(RESUME, "applied")
STORY: list[Decision | Receipt] = [
    KILL,
    receipt(KILL, "applied"),
    receipt(KILL, "not_effective", after_ms=9_000),
    RESUME,
    RESUMED,
]
UNDRAWN = [KILL.model_copy(update={"evidence": None}), *STORY[1:]]
"""Charts are most of the time that a notice takes to make."""
STEPS = st.one_of(
    st.just("event"),
    st.integers(1, 12),
    st.sampled_from([900.0, 1_800.0, 3_600.0]),
    st.just("crash"),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, max_size=30), st.booleans())
def test_no_page_is_lost_and_none_is_repeated(steps, resumed):
    """
    However events, time and crashes fall together: each channel hears all of the news, the end and the report once it
    is over, no status twice; and what is known to be told when a worker dies is told by none that follows.
    """
    asyncio.run(_play(steps, resumed))


async def _play(steps: list[Any], resumed: bool) -> None:
    world, story = World(), list(UNDRAWN if resumed else UNDRAWN[:3])
    worker = Worker(world)
    with capture_logs():
        for step in [*steps, *["event"] * len(story)]:
            if step == "event" and story:
                world.log.append(story.pop(0))
                await worker.read()
            elif isinstance(step, int):
                for _ in range(step):
                    await asyncio.sleep(0)
            elif isinstance(step, float):
                world.now_s += step
                await worker.timers.look()
            elif step == "crash":
                await _crash(world, worker)
                worker = Worker(world)
                await worker.read()
        await worker.until_told()
        before = [len(channel.took) for channel in world.channels]
        await _crash(world, worker)
        worker = Worker(world)
        await worker.until_told()
    assert before == [len(channel.took) for channel in world.channels], "the next life tells it again"
    _check(world, resumed)


async def _crash(world: World, worker: Worker) -> None:
    await worker.die()
    for channel in world.channels:
        channel.known |= {notice for name, notice in world.written if name == channel.name}


def _check(world: World, resumed: bool) -> None:
    for channel in world.channels:
        counted = Counter(channel.ids)
        news = {one.decision_id if isinstance(one, Decision) else one.receipt_id for one in world.log}
        told = {name.partition(":")[2] for name in counted if name.startswith(("decision:", "receipt:"))}
        assert news == told
        assert [] == channel.again, "known to be told, and told again"
        ends = [name for name in counted if name.startswith(("resolved:", "report:"))]
        assert (2 if resumed else 0) == len(ends)
    assert world.incident is not None
    assert world.incident.is_open is not resumed


async def test_one_incident_from_its_page_to_its_report():
    """
    A kill pages, stakeholders hear of it after 15 minutes, its status comes by the hour, a resume ends it with a report.
    """
    world = World()
    worker, pager = Worker(world), world.channels[0]
    for after_s, events in ((0, STORY[:2]), (840, []), (60, []), (2_100, STORY[3:]), (10, [])):
        world.now_s += after_s
        world.log += events
        await worker.read()
        await worker.until_told()

    kinds = [notice.kind for notice in pager.took]
    assert ["news", "news", "status"] == kinds[:3]
    assert {"resolved", "report"} == {kind for kind in kinds if kind not in ("news", "status")}
    page, status, report = pager.took[0], pager.took[2], next(one for one in pager.took if one.kind == "report")
    assert (page.level, page.urgent, page.incident, page.opened_at) == ("page", True, INCIDENT, KILL.decided_at)
    assert page.chart.startswith(b"\x89PNG")
    assert status.text.startswith("Still open after 15 min: checkout-v2/treatment killed in production")
    assert "## Timeline" in report.body
    assert {INCIDENT} == {notice.incident for notice in pager.took if notice.notice_id != f"receipt:{RESUMED.receipt_id}"}


async def test_a_status_goes_to_stakeholders_and_whoever_has_heard():
    """
    Where stakeholders are named, they and the channels that were paged hear of the status; all others do not.
    """
    world = World()
    worker, (pager, chat) = Worker(world), world.channels
    world.channels.append(Receiver("hook"))
    routing = Routing((Route("page", to=("pager",)),))
    dispatch = Dispatch(world.channels, now=lambda: world.now_s)
    worker.timers = Timers(
        worker.book, dispatch, schedule=SCHEDULE, stakeholders=("chat",), settle_s=0.0, now=lambda: world.now_s
    )
    worker.reporter = Reporter(dispatch, worker.book, routing=routing, now=lambda: world.now_s)
    world.log += STORY[:1]
    await worker.read()
    await worker.until_told()
    world.now_s += 900.0
    await worker.until_told()

    assert ["news", "status"] == [notice.kind for notice in pager.took]
    assert ["status"] == [notice.kind for notice in chat.took]
    assert [] == world.channels[2].took


async def test_a_channel_that_refuses_costs_nothing_else():
    """
    Where one channel refuses everything, the other hears all of it, once, and it comes to its end.
    """
    world = World()
    worker = Worker(world)
    world.channels[0].refuses = True
    world.log += STORY
    with capture_logs():
        await worker.read()
        await worker.until_told()

    assert [] == world.channels[0].took
    assert len(world.channels[1].ids) == len(set(world.channels[1].ids)) == len(STORY) + 2


async def test_what_a_channel_keeps_outlives_its_worker():
    """
    What a channel puts away for an incident is there for the next worker; of what is no incident nothing is kept.
    """
    world = World()
    worker = Worker(world)
    world.log += STORY[:1]
    await worker.read()
    await worker.until_told()
    memory = Memory(worker.book)
    await memory.put(INCIDENT, "slack", "1764000000.0001")
    await memory.put("production|other|on", "slack", "1")
    await worker.die()
    later = Worker(world)
    await later.book.ready(0)

    assert "1764000000.0001" == Memory(later.book).get(INCIDENT, "slack")
    assert Memory(later.book).get("production|other|on", "slack") is None


async def test_an_older_record_that_was_written_late_does_not_count():
    """
    What a worker that had lost the partition writes late is passed over, and the newer record is written once more.
    """
    world = World()
    worker = Worker(world)
    world.log += STORY[:1]
    await worker.read()
    await worker.until_told()
    first = next(value for _, key, value in world.topic.records if key == INCIDENT)
    world.topic.records.append((0, INCIDENT, first))
    await worker.die()
    later = Worker(world)
    await later.book.ready(0)
    await until(lambda: world.written, "the newer one is the last again")
    known = later.book.incident(0, INCIDENT)

    assert known is not None
    assert known == world.incident
    assert known.told


async def test_a_partition_that_is_lost_and_comes_back_is_told_of_again():
    """
    What is being told of a partition that is lost is left and not acknowledged, as is what is still read of it then; when
    the partition is back, all of it is told, and acknowledged.
    """
    world = World()
    worker = Worker(world)
    world.log += STORY[:2]
    holding = asyncio.Event()
    taking = world.channels[0].notify

    async def hold(notice: Report) -> None:
        await holding.wait()
        await taking(notice)

    world.channels[0].notify = hold  # type: ignore[method-assign]
    await worker.read()
    await until(lambda: world.channels[1].took, "one channel has heard")
    _leave(worker, worker.book.hold([1]))
    holding.set()
    world.log += STORY[2:3]
    await worker.read()
    await until(lambda: len(asyncio.all_tasks()) == 1, "all of it is left")
    assert set() == world.acknowledged

    _leave(worker, worker.book.hold([0]))
    worker.offset = 0
    await worker.read()
    await worker.until_told()

    assert {0, 1, 2} == world.acknowledged
    assert all(3 == len(set(channel.ids)) for channel in world.channels)


def _leave(worker: Worker, lost: set[int]) -> None:
    for one in (worker.in_order, worker.reporter, worker.timers):
        one.leave(lost)


async def test_whoever_lost_a_partition_tells_nothing_of_it():
    """
    What another worker owns is neither told by the clock here nor written any more.
    """
    world = World()
    worker = Worker(world)
    world.log += STORY[:1]
    await worker.read()
    await worker.until_told()
    written = len(world.topic.records)
    lost = worker.book.hold([1])
    worker.timers.leave(lost)
    world.now_s += 7_200.0
    for _ in range(50):
        await worker.timers.look()
        await asyncio.sleep(0)
    await worker.book.save(0, INCIDENT)

    assert {0} == lost
    assert written == len(world.topic.records)
    assert {"news"} == {notice.kind for notice in world.channels[0].took}
