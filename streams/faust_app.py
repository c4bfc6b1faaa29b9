"""
Faust, set up the one way that was tried: read_committed, quick to notice a dead worker, loud when it crashes.

The app runs inside our own event loop. It takes over neither signals nor logging, opens no port, makes no
directory, and creates no topic (they are made before any process starts).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import cached_property
from typing import Any

import faust
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from mode import Service
from yarl import URL

from guardian.errors import GuardianError
from streams.environment import WORKER_VARIABLE
from streams.in_sequence import InSequence, Numbered
from streams.loops import new_loop
from streams.reading import FETCH_WAIT_MS, fetch_wait_ms
from streams.settings import Settings

log = structlog.get_logger()

SESSION_TIMEOUT_S = 6.0
"""A killed worker's partitions are read again after this and a rebalance: about 8 s."""
SESSION_TIMEOUT_EMBEDDED_S = 3.0
"""The embedded broker knows no static members: a worker started again waits for its own former life to time out."""
HEARTBEAT_S = 0.5
"""So soon a worker hears that another one is gone, and takes its partitions over."""
REBALANCE_TIMEOUT_S = 10.0
GROUP_CHECK_S = 0.2
GROUP_ERRORS_MOST = 5
GROUP_ERRORS_WITHIN_S = 30.0
COMMIT_INTERVAL_S = 1.0
STOP_S = 2.5
FETCH_WAIT_MOST_MS = 100
"""What partitions a worker has been given is read with its next fetch: the one before may wait so long for changelogs alone."""
TABLE_FETCH = 4 << 20
"""Bytes of a partition in one answer: the more of a changelog comes together, the less of it is handed on (``shortened``)."""
FETCH_PAUSE_S = 0.008
"""From records to the next fetch: on a busy topic answers come fuller, and there are a few dozen instead of hundreds."""


class FaustCrashed(GuardianError):
    """Faust gave up; the process must end, so that its supervisor starts it again."""


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    _rested_s = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.numbered = Numbered()

    async def _fetch_records(self, consumer: AIOKafkaConsumer, active_partitions: Any, *args: Any, **options: Any) -> Any:
        """
        Fetch as Faust does, with a rest after each fetch that brought something; the first record never waits.

        Faust passes a set that it changes meanwhile. When it runs empty, aiokafka returns records of all partitions, and
        Faust drops those that it does not want now: here they are taken back, to be read when it does.
        """
        clock_s = asyncio.get_running_loop().time
        if (rest_s := self._rested_s - clock_s()) > 0.0:
            await asyncio.sleep(rest_s)
        if active_partitions is not None and not (active_partitions := frozenset(active_partitions)):
            return {}
        found = await super()._fetch_records(consumer, active_partitions, *args, **options)
        if active_partitions is not None:
            wanted = self.consumer._active_partitions
            for at in [at for at in found if at not in wanted]:
                consumer.seek(at, found.pop(at)[0].offset)
        if found:
            self._rested_s = clock_s() + FETCH_PAUSE_S
        for at, records in found.items():
            if self.consumer._is_changelog_tp(at):
                found[at] = self.app.shortened(records, self._end_of(at))
            self.numbered.number(at, found[at])
        return found

    def _end_of(self, at: Any) -> int:
        """Where a recovery of a changelog ends: at the first record that is not before there, whatever came with it; else -1."""
        recovery = self.app.tables.recovery
        found = recovery.active_highwaters.get(at)
        return int(recovery.standby_highwaters.get(at, -1) if found is None else found)

    async def _seek_wait(self, consumer: AIOKafkaConsumer, partitions: Any) -> None:
        """Seek as Faust does, to what of changelogs was read last; numbers begin anew, behind that, in the same moment."""
        for at, offset in partitions.items():
            self.numbered.set_back(at, offset + 1 if offset > 0 else 0)
        await super()._seek_wait(consumer, partitions)

    async def seek_to_committed(self) -> Any:
        """Seek as Faust does; a partition without a committed offset begins again, where Faust leaves it."""
        return await self.call_thread(self._seek_to_committed)

    async def _seek_to_committed(self) -> Any:
        consumer, committed = self._ensure_consumer(), {}
        for at in consumer.assignment():
            if self.consumer._is_changelog_tp(at):
                continue
            committed[at] = offset = await consumer.committed(at)
            # Numbers begin anew in the same moment: what is fetched from now on comes from there.
            self.numbered.set_back(at, offset or 0)
            if offset:
                consumer.seek(at, offset)
            else:
                await consumer.seek_to_beginning(at)
        return committed

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust offers neither setting; the attributes are read when the consumer starts.
        for name, value in (("_isolation_level", "read_committed"), ("_fetch_max_wait_ms", self.app.fetch_wait_ms)):
            if not hasattr(consumer, name):
                raise FaustCrashed(f"this version of aiokafka has no {name}: uncommitted records would be read")
            setattr(consumer, name, value)
        return consumer

    async def on_thread_stop(self) -> None:
        """Leave the group for good, unless a crash lets this very worker come back at once."""
        if self._consumer is not None and not self.app.crashed:
            # Static members do not say that they leave, so whoever comes next would wait until they time out.
            self._consumer._coordinator._group_instance_id = None
        await super().on_thread_stop()

    @Service.task
    async def _collect_errors(self) -> None:
        """
        Take the coordinator's errors off it.

        It waits for that before it goes on, for ever, and Faust never does: the worker would say that it is fine, and
        read nothing. One error is worth another try to join the group, many in a row end the process.
        """
        recent: deque[float] = deque(maxlen=GROUP_ERRORS_MOST)
        while not self.should_stop:
            await self.sleep(GROUP_CHECK_S)
            coordinator = self._consumer and self._consumer._coordinator
            if not coordinator:
                continue
            try:
                coordinator.check_errors()
            except KafkaError as error:
                log.warning("group_error", group=self.app.conf.id, reason=repr(error))
                recent.append(time.monotonic())
                in_a_row = len(recent) == GROUP_ERRORS_MOST and recent[-1] - recent[0] < GROUP_ERRORS_WITHIN_S
                if in_a_row or coordinator._coordination_task.done():
                    asyncio.run_coroutine_threadsafe(self.app.crash(error), self.parent_loop)
                    return


class _Consumer(driver.Consumer):
    """
    Reads a partition only after it was set back to what is committed, and commits up to the newest acknowledged event.

    After a recovery Faust resumes partitions first and sets them back then, and empties its buffers at last: records from
    where some earlier fetch had ended could come before those from where the commits end, or be thrown away.

    All that is read here is acknowledged in its order, so whatever comes before that event is done, and gaps (the
    markers of transactions are offsets, too) need no book-keeping: Faust's own took a fifth of a busy judge's time.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._not_set_back: set[Any] = set()
        self._set_back: set[Any] = set()

    @property
    def times_set_back(self) -> int:
        """How often partitions were set back so far."""
        return self._thread.numbered.times if self._thread else 0

    def pause_partitions(self, tps: Iterable[Any]) -> None:
        """Pause; what waited to be resumed waits no more."""
        self._not_set_back -= set(tps)
        self._set_back -= set(tps)
        super().pause_partitions(tps)

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Resume changelogs; let all others wait for ``perform_seek`` and ``resume_flow``, which Faust calls next."""
        others = {tp for tp in tps if not self._is_changelog_tp(tp)}
        self._not_set_back |= others
        super().resume_partitions(set(tps) - others)

    async def perform_seek(self) -> None:
        """Go back to what is committed."""
        waiting = set(self._not_set_back)
        await super().perform_seek()
        self._set_back |= waiting & self._not_set_back
        self._not_set_back -= waiting

    def resume_flow(self) -> None:
        """Let records come, and resume what was set back."""
        super().resume_flow()
        waiting, self._set_back = self._set_back, set()
        super().resume_partitions(waiting & self.assignment())

    async def begin_again(self) -> None:
        """Read every partition again from what is committed; nothing where a rebalance does so anyway."""
        if self.app.rebalancing:
            return
        mine = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        self.pause_partitions(mine)
        self.resume_partitions(mine)
        await self.perform_seek()
        if not self.app.rebalancing:
            self.resume_flow()

    async def verify_all_partitions_active(self) -> None:
        """
        Verify nothing.

        Faust looks whether partitions move only to log it, and crashes on one whose position is not known yet, as in a
        rebalance. Whether a worker still reads is said by its readiness.
        """

    def _new_consumer_thread(self) -> _ConsumerThread:
        thread = _ConsumerThread(self, loop=self.loop, beacon=self.beacon, thread_loop=new_loop())
        thread._close_thread_loop_on_stop = True
        return thread

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Keep nothing."""

    def _new_offset(self, tp: Any) -> int | None:
        acknowledged = self._acked[tp]
        if not acknowledged:
            return None
        behind: int = max(acknowledged) + 1
        acknowledged.clear()
        self._acked_index[tp].clear()
        return behind


class _Transport(driver.Transport):
    Consumer = _Consumer


class _Tables(TableManager):
    async def on_start(self) -> None:
        """
        Start as Faust does, at once.

        It waits a second for tables that are declared late; here all are before the app starts, and whoever takes a killed
        worker's place is waited for.
        """
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class _NoWeb(BootStrategy):
    # The setting `web_enabled=False` alone still binds a port under the worker command.
    enable_web = False


class GuardianApp(faust.App):
    """A Faust app that reads committed records only."""

    BootStrategy = _NoWeb
    fetch_wait_ms = FETCH_WAIT_MS
    shortened: Callable[[Sequence[Any], int], list[Any]] = staticmethod(lambda records, _: list(records))
    """What of a changelog's records, as they were fetched together, its table has to be given; it is to be read to an offset."""

    def _new_transport(self) -> _Transport:
        return _Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing is kept on disk."""

    @cached_property
    def in_sequence(self) -> InSequence:
        """What agents read their streams through: every record in its order, from a rebalance on what is committed."""

        async def revoked(*_: Any, **__: Any) -> None:
            made.restart()

        made = InSequence(lambda: self.consumer.times_set_back, self.consumer.begin_again)
        self.on_partitions_revoked.connect(revoked, weak=False)
        return made


def build_app(settings: Settings, name: str, *, table: type[faust.Table] | None = None) -> GuardianApp:
    """
    Return the app of processor *name*, not started; its consumer group is ``<prefix>-<name>``.

    *table* is the class that ``app.Table(...)`` makes.
    """
    options: dict[str, Any] = {} if table is None else {"Table": table, "consumer_max_fetch_size": TABLE_FETCH}
    if credentials := settings.kafka.faust_credentials():
        options["broker_credentials"] = credentials
    if worker := os.environ.get(WORKER_VARIABLE):
        options["consumer_group_instance_id"] = f"{worker}-{name}"
    app = GuardianApp(
        f"{settings.kafka.group_prefix}-{name}",
        broker=[URL(f"aiokafka://{server.strip()}") for server in settings.kafka.bootstrap.split(",")],
        broker_session_timeout=SESSION_TIMEOUT_EMBEDDED_S if settings.kafka.embedded else SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_request_timeout=30.0,
        consumer_auto_offset_reset="earliest",
        producer_request_timeout=10.0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        store="memory://",
        web_enabled=False,
        TableManager=_Tables,
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        **options,
    )
    app.fetch_wait_ms = min(fetch_wait_ms(settings), FETCH_WAIT_MOST_MS)
    return app


def raw_topic(app: faust.App, name: str) -> Any:
    """A topic whose keys and values are read as the bytes they are."""
    return app.topic(
        name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", allow_empty=True
    )


async def run_app(app: faust.App) -> None:
    """
    Run *app* until cancelled, then stop it within ``STOP_S``.

    Raises:
        FaustCrashed: the app, or anything it runs, crashed.
    """
    starting = asyncio.ensure_future(app.start())
    ended = asyncio.ensure_future(app.wait_until_stopped())
    try:
        await asyncio.wait({starting, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await starting
            await ended
        raise FaustCrashed(f"{app.conf.id}: {app.crash_reason!r}") from app.crash_reason
    finally:
        starting.cancel()
        ended.cancel()
        await asyncio.wait({asyncio.ensure_future(app.stop())}, timeout=STOP_S)


async def run_beside(
    app: faust.App, loops: Sequence[Coroutine[Any, Any, None]], *, last: Callable[[], Awaitable[None]] | None = None
) -> None:
    """
    Run *app* and *loops* until one of them ends or this is cancelled; then *last*, while the app still runs.

    Raises:
        FaustCrashed: the app crashed.
        Exception: what a loop raised. A loop that merely ends is an error, too: none of them should.
    """
    running = [asyncio.ensure_future(one) for one in (run_app(app), *loops)]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
        raise FaustCrashed(f"{app.conf.id}: a loop ended by itself")
    finally:
        for one in running[1:]:
            one.cancel()
        await asyncio.wait(running[1:], timeout=1.0)
        if last is not None and not running[0].done():
            with contextlib.suppress(Exception):
                await asyncio.wait_for(last(), 1.0)
        running[0].cancel()
        await asyncio.wait(running[:1])
