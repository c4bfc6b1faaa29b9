"""Faust as it is set up here: it never hangs in silence, and ends loudly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, NodeNotReadyError
from aiokafka.protocol.fetch import FetchRequest
from faust.exceptions import ConsumerNotStarted

from streams.admin import ensure_topics
from streams.environment import WORKER_VARIABLE
from streams.faust_app import GROUP_ERRORS_MOST, FaustCrashed, build_app, raw_topic, run_app, run_beside
from streams.settings import Settings
from tests.support.cluster import Cluster
from tests.support.movers import until
from tests.support.processes import producer


@pytest.fixture
def settings(embedded_kafka: str) -> Settings:
    return Cluster(embedded_kafka, embedded=True).settings()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Any, list[bytes], asyncio.Future[None]]]:
    """An app that notes what it reads from the decisions topic, what it read, and the run of it."""
    await ensure_topics(settings)
    app, read = build_app(settings, "test"), []

    async def note(stream: Any) -> None:
        async for value in stream:
            read.append(value)  # noqa: PERF401 - each is seen as it comes

    app.agent(raw_topic(app, settings.topics.decisions), name="note")(note)
    run = asyncio.ensure_future(run_app(app))
    try:
        await until(lambda: app.started and _assigned(app) and not app.rebalancing, within_s=30, what="it reads")
        yield app, read, run
    finally:
        run.cancel()
        await asyncio.wait({run})


def _assigned(app: Any) -> Any:
    try:
        return app.consumer.assignment()
    except ConsumerNotStarted:  # its thread is just beginning
        return set()


@pytest.fixture
def refuse_joins(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, KafkaError], None]:
    """The first so many times that a worker joins its group, the broker answers with an error."""

    def refuse(times: int, error: KafkaError) -> None:
        join, left = GroupCoordinator._do_rejoin_group, iter(range(times))

        async def joining(self: Any, subscription: Any) -> Any:
            if next(left, None) is not None:
                raise error
            return await join(self, subscription)

        monkeypatch.setattr(GroupCoordinator, "_do_rejoin_group", joining)

    return refuse


async def test_failing_to_join_once_is_not_the_end(settings, refuse_joins):
    """A new worker that the group refuses once tries again: aiokafka would wait for ever, and Faust with it."""
    refuse_joins(1, KafkaError("join failed"))
    async with running(settings) as (_, read, _), producer(settings) as producing:
        await producing.send_and_wait(settings.topics.decisions, b"one", partition=0)

        await until(lambda: read == [b"one"], within_s=20, what="the record is read")


async def test_partitions_are_read_only_after_they_are_set_back(settings):
    """
    What Faust resumes before it seeks stays unread till that is done, and its buffers were emptied: a later record first, or
    one that is thrown away, would be a loss.
    """
    async with running(settings) as (app, _, _):
        mine = app.consumer.assignment()
        app.consumer.pause_partitions(mine)

        app.consumer.resume_partitions(mine)
        before = set(app.consumer._get_active_partitions())
        await app.consumer.perform_seek()
        between = set(app.consumer._get_active_partitions())
        app.consumer.resume_flow()

        assert set() == before == between
        assert mine == app.consumer._get_active_partitions()


async def test_what_is_paused_anew_is_not_resumed(settings):
    """A rebalance pauses what an unfinished recovery was about to resume: it is for the next one to do so."""
    async with running(settings) as (app, _, _):
        mine = app.consumer.assignment()
        app.consumer.resume_partitions(mine)
        await app.consumer.perform_seek()

        app.consumer.pause_partitions(mine)
        app.consumer.resume_flow()

        assert set() == app.consumer._get_active_partitions()


class Dropping:
    """A stream that drops the first record of this content, as Faust may in a rebalance."""

    def __init__(self, stream: Any, value: bytes) -> None:
        self._stream, self._left = stream, [value]

    async def events(self) -> AsyncIterator[Any]:
        async for event in self._stream.events():
            if event.value in self._left:
                self._left.remove(event.value)
            else:
                yield event


async def test_what_is_dropped_on_the_way_is_read_again(settings):
    """A record that Faust drops is read after all, before those that stand behind it; what is committed is not read again."""
    await ensure_topics(settings)
    app, read = build_app(settings, "test"), list[bytes]()

    async def note(stream: Any) -> None:
        async for event in app.in_sequence.events(Dropping(stream.noack(), b"three")):
            read.append(event.value)
            event.ack()

    app.agent(raw_topic(app, settings.topics.decisions), name="note")(note)
    run = asyncio.ensure_future(run_app(app))
    try:
        async with producer(settings) as producing:
            for value in (b"one", b"two"):
                await producing.send_and_wait(settings.topics.decisions, value, partition=0)
            await until(lambda: read == [b"one", b"two"], within_s=30, what="two records are read")
            await app.consumer.commit()
            for value in (b"three", b"four", b"five"):
                await producing.send_and_wait(settings.topics.decisions, value, partition=0)

            await until(lambda: read[2:] == [b"three", b"four", b"five"], within_s=20, what="the others are read in order")
    finally:
        run.cancel()
        await asyncio.wait({run})


async def test_looking_whether_partitions_move_crashes_nobody(settings, monkeypatch):
    """In a rebalance a partition may have no position yet, on which Faust's look at whether partitions move fails."""

    def fail(*_: object) -> None:
        raise AssertionError

    async with running(settings) as (app, _, _):
        monkeypatch.setattr(app.consumer._thread, "verify_event_path", fail)
        assert app.consumer.assignment()
        await app.consumer.verify_all_partitions_active()


async def test_what_comes_while_partitions_are_paused_is_read_later(settings):
    """A record that a fetch already under way brings for a partition paused meanwhile is kept for when it goes on."""
    async with running(settings) as (app, read, _), producer(settings) as producing:
        mine = app.consumer.assignment()
        await producing.send_and_wait(settings.topics.decisions, b"one", partition=0)
        await until(lambda: read == [b"one"], within_s=20, what="the record is read, and the next fetch under way")
        app.consumer.pause_partitions(mine)
        await producing.send_and_wait(settings.topics.decisions, b"two", partition=0)
        [at] = [at for at in mine if at.partition == 0]
        await until(lambda: app.consumer.highwater(at) == 2, within_s=20, what="the fetch under way has brought it")

        app.consumer._active_partitions.update(mine)

        await until(lambda: read == [b"one", b"two"], within_s=20, what="the second one is read")


async def test_without_commits_a_group_begins_again(settings):
    """Set back before anything was committed, a worker reads from the beginning: what it had in hand is not lost."""
    async with running(settings) as (app, read, _), producer(settings) as producing:
        await producing.send_and_wait(settings.topics.decisions, b"one", partition=0)
        await until(lambda: read == [b"one"], within_s=20, what="the record is read")
        app.consumer._committed_offset.clear()

        await app.consumer.perform_seek()

        await until(lambda: read[1:] == [b"one"], within_s=20, what="the record is read again")


async def test_stopping_while_a_broker_is_away_is_no_crash(settings, monkeypatch):
    """Fetches that fail when a worker is stopped do not end its thread with an error, nor the log with a traceback."""
    crashed: list[threading.ExceptHookArgs] = []
    refused: list[int] = []
    monkeypatch.setattr(threading, "excepthook", crashed.append)
    async with running(settings) as (app, _, _):
        client = app.consumer._thread._consumer._client
        send = client.send

        async def sending(node: int, request: Any, **options: Any) -> Any:
            if isinstance(request, FetchRequest):
                refused.append(node)
                raise NodeNotReadyError
            return await send(node, request, **options)

        monkeypatch.setattr(client, "send", sending)
        await until(lambda: refused, within_s=20, what="a fetch has failed")

    assert [] == crashed


async def test_failing_to_join_again_and_again_ends_the_app(settings, refuse_joins):
    """Where the group cannot be joined at all, the process ends, so that people see it fail."""
    refuse_joins(10 * GROUP_ERRORS_MOST, GroupAuthorizationFailedError("no rights"))
    await ensure_topics(settings)
    app = build_app(settings, "test")
    app.agent(raw_topic(app, settings.topics.decisions), name="note")(_ignore)

    with pytest.raises(FaustCrashed, match="no rights"):
        await asyncio.wait_for(run_app(app), 30)


async def _ignore(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_crash_inside_faust_ends_the_run(settings):
    """When anything in Faust crashes, so does the run, with the reason."""
    async with running(settings) as (app, _, run):
        await app.crash(ValueError("Offset must be a positive integer"))

        with pytest.raises(FaustCrashed, match="Offset must be a positive integer"):
            await asyncio.wait_for(asyncio.shield(run), 5)


async def test_loop_beside_the_app_that_fails_ends_both(settings):
    """A loop that raises takes the app down with it: half a processor would look alive."""
    await ensure_topics(settings)
    app = build_app(settings, "test")
    app.agent(raw_topic(app, settings.topics.decisions), name="note")(_ignore)

    async def fails() -> None:
        await until(lambda: app.started, within_s=30)
        raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(run_beside(app, [fails()]), 40)


async def test_app_opens_no_port_and_makes_no_directory(settings, tmp_path, monkeypatch):
    """A processor leaves nothing behind where it was started, and listens on nothing."""
    monkeypatch.chdir(tmp_path)
    async with running(settings) as (app, _, _):
        services = [type(service).__name__ for service in app._children]

    assert [] == list(tmp_path.iterdir())
    assert "Web" not in services


async def test_worker_that_is_told_to_end_leaves_its_group(real_kafka, monkeypatch):
    """A static member says so when it ends: else whoever comes next would get no partition until it times out."""
    monkeypatch.setenv(WORKER_VARIABLE, "one")
    settings = Cluster(real_kafka, embedded=False).settings()
    async with running(settings) as (app, _, _):
        group = app.conf.id
    admin = AIOKafkaAdminClient(**settings.kafka.client_options())
    await admin.start()
    try:
        [described] = (await admin.describe_consumer_groups([group]))[0].groups
    finally:
        await admin.close()

    assert ("Empty", []) == (described[2], described[5])
