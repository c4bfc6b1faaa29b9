"""What is due of incidents by the clock: their status while they are open, their end, their report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import partial

import structlog

from guardian.incidents import Due, Incident, Schedule, done, due, end, ends_by_itself, heard, is_forgotten
from streams.alerts.dispatch import Dispatch
from streams.alerts.messages import Messages
from streams.telling.book import Book

log = structlog.get_logger()

LOOK_S = 1.0
SETTLE_S = 2.0
"""A partition whose records are being read may be about to end what is open: so long nothing is told by the clock."""
SCHEDULE = Schedule(900.0, 3600.0)


class Timers:
    """
    Tells what is due, for the incidents of the partitions that the book holds.

    *stakeholders* are the channels of statuses and reports, beside those that have heard of the incident already; none:
    those that want them. An end goes through the channels that have heard of the incident, quiet hours or not: it wakes
    nobody, and what it closes would stand open for good.
    """

    def __init__(
        self,
        book: Book,
        dispatch: Dispatch,
        messages: Messages | None = None,
        *,
        schedule: Schedule = SCHEDULE,
        stakeholders: tuple[str, ...] = (),
        settle_s: float = SETTLE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._dispatch = dispatch
        self._messages = messages or Messages()
        self._schedule = schedule
        self._stakeholders = stakeholders
        self._settle_s = settle_s
        self._now = now
        self._telling: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at once: something is over."""
        self._wake.set()

    async def run(self) -> None:
        """Tell what is due until cancelled; then leave what is being told: it is due again."""
        try:
            while True:
                self._wake.clear()
                await self.look()
                try:
                    await asyncio.wait_for(self._wake.wait(), LOOK_S)
                except TimeoutError:
                    pass
        finally:
            for _, task in list(self._telling.values()):
                task.cancel()

    async def look(self) -> None:
        """Begin to tell what is due now, and forget what is long over."""
        now_s = self._now()
        for partition, known in self._book.all():
            if ends_by_itself(known, now_s):
                at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                self.end(partition, known, at, "Nothing more of it came for a day.")
            elif is_forgotten(known, now_s):
                await self._book.forget(partition, known.incident)
            elif known.incident not in self._telling:
                self._begin(partition, known, now_s)

    def end(self, partition: int, known: Incident, at: str, by: str) -> None:
        """End an incident; that it is over is told next, and is durable with that."""
        self._book.put(partition, end(known, at, by))
        self.wake()

    def leave(self, partitions: Collection[int]) -> None:
        """These partitions are somebody else's now: leave what is being told of them."""
        for partition, task in list(self._telling.values()):
            if partition in partitions:
                task.cancel()

    def _begin(self, partition: int, known: Incident, now_s: float) -> None:
        found = due(known, self._schedule, now_s)
        if found is None or (found.kind == "status" and self._book.quiet_s(partition) < self._settle_s):
            return
        name = known.incident
        task = asyncio.create_task(self._tell(partition, known, found))
        self._telling[name] = (partition, task)
        task.add_done_callback(lambda ended: self._told(name, ended))

    def _told(self, name: str, task: asyncio.Task[None]) -> None:
        del self._telling[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("due_not_told", incident=name, exc_info=error)
        else:
            self.wake()  # its report follows its end

    async def _tell(self, partition: int, known: Incident, found: Due) -> None:
        name = known.incident
        to = self._to(known, found)
        if to or found.kind != "resolved":
            notice = self._messages.due(found, known, to, self._now())
            log.info("incident", incident=name, kind=found.kind, text=notice.text)
            took = partial(self._heard, partition, name, found.notice_id)
            told = known.told.get(found.notice_id, ())
            await asyncio.gather(self._book.save(partition, name), self._dispatch.tell(notice, told=told, heard=took))
        self._book.change(partition, name, lambda now_known: done(now_known, found, to))
        await self._book.save(partition, name)

    def _to(self, known: Incident, found: Due) -> tuple[str, ...]:
        if found.kind == "resolved":
            return known.channels
        return tuple(dict.fromkeys((*self._stakeholders, *known.channels))) if self._stakeholders else ()

    async def _heard(self, partition: int, name: str, notice_id: str, channel: str) -> None:
        self._book.change(partition, name, lambda known: heard(known, notice_id, channel))
        await self._book.save(partition, name)

