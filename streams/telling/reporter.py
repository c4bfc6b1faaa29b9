"""
Decisions, receipts and refusals in, notices out.

Each is one log line and one notice. What pages opens an incident, and what follows joins it; the book keeps who was told
what. So what is read again after a crash is told only to those who have not taken it, and a notice that a channel took
just before the crash, and that was not written any more, is known to it by its identity.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog

from guardian.decisions import Decision, Receipt, Refusal
from guardian.incidents import Incident, News, end, heard, take
from streams.alerts.base import Report
from streams.alerts.dispatch import Dispatch
from streams.alerts.messages import Messages, of_decision, of_receipt, of_refusal
from streams.alerts.routing import Routing
from streams.telling.book import Book
from streams.telling.recent import Recent

log = structlog.get_logger()

REMEMBERED = 10_000
"""Ids of notices, and decisions for the receipts that follow them."""


class Reporter:
    """Tells news; the same id is told once, however often it comes. *ended* is called when an incident is over."""

    def __init__(
        self,
        dispatch: Dispatch,
        book: Book,
        *,
        routing: Routing | None = None,
        messages: Messages | None = None,
        ended: Callable[[], None] = lambda: None,
        remembered: int = REMEMBERED,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._dispatch = dispatch
        self._book = book
        self._routing = routing or Routing()
        self._messages = messages or Messages()
        self._ended = ended
        self._now = now
        self._told: Recent[None] = Recent(remembered)
        self._decisions: Recent[Decision] = Recent(remembered)
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._partition: dict[str, int] = {}

    async def handle_decision(self, decision: Decision, partition: int) -> None:
        """Log it and tell it, once; return when every channel is done with it."""
        self._decisions.put(decision.decision_id, decision)
        await self._once(of_decision(decision), partition)

    async def handle_receipt(self, receipt: Receipt, partition: int) -> None:
        """Log it and tell it, once; return when every channel is done with it."""
        await self._book.ready(partition)
        news = of_receipt(receipt, self._decisions.get(receipt.decision_id))
        known = self._book.incident(partition, news.incident)
        if news.owner == "" and known is not None:
            is_its = known.decision is not None and known.decision.decision_id == receipt.decision_id
            news = of_receipt(receipt, known.decision if is_its else None, known.owner)
        await self._once(news, partition)

    async def handle_refused(self, refusal: Refusal, at: str) -> None:
        """
        Log it, and wake somebody: who else writes decisions? Once an hour and topic, however many there are.

        *at* is when the record was written (RFC 3339).
        """
        await self._once(of_refusal(refusal, at), refusal.partition)

    async def drain(self, for_s: float) -> None:
        """Give what is being told *for_s* to end, then leave it: what was not acknowledged comes again."""
        if not self._telling:
            return
        _, late = await asyncio.wait(self._telling.values(), timeout=for_s)
        for task in late:
            task.cancel()

    def leave(self, partitions: Collection[int]) -> None:
        """These partitions are somebody else's now, who tells what of them was not acknowledged: leave off."""
        for news_id, partition in self._partition.items():
            if partition in partitions:
                self._telling[news_id].cancel()

    async def _once(self, news: News, partition: int) -> None:
        if news.id in self._told:
            return
        telling = self._telling.get(news.id)
        if telling is None:
            telling = self._telling[news.id] = asyncio.create_task(self._tell(news, partition))
            self._partition[news.id] = partition
            telling.add_done_callback(lambda _: self._ended_telling(news.id))
        # A repeat waits for the first: it must not be acknowledged before anybody was told.
        await asyncio.shield(telling)

    async def _tell(self, news: News, partition: int) -> None:
        await self._book.ready(partition)
        self._book.touch(partition)
        now_s = self._now()
        level, to = self._routing.of(news, datetime.fromtimestamp(now_s, UTC))
        changed = self._take(news, partition, now_s, pages=level == "page")
        incident = changed[0] if changed else None
        if incident is not None and not incident.is_open and level == "page":
            level = "chat"  # read again after it was over: nobody is woken for that
        notice = self._messages.news(news, level, to, incident)
        _log(notice)
        if incident is None:
            await self._dispatch.tell(notice)
        else:
            await self._tell_joined(notice, partition, changed)
        self._told.put(news.id, None)

    def _ended_telling(self, news_id: str) -> None:
        del self._telling[news_id], self._partition[news_id]

    def _take(self, news: News, partition: int, now_s: float, *, pages: bool) -> list[Incident]:
        """Let the news join the incidents that they belong to, open one, or end some; return these."""
        if news.ends:
            ended = [end(_joined(one, news, now_s), news.at, news.text) for one in self._book.concerned(partition, news)]
            for one in ended:
                self._book.put(partition, one)
            if ended:
                self._ended()
                return ended
        known = self._book.incident(partition, news.incident)
        found = take(known, replace(news, pages=pages), now_s)
        if found is None:
            return []
        if found is not known:
            self._book.put(partition, found)
        return [found]

    async def _tell_joined(self, notice: Report, partition: int, incidents: list[Incident]) -> None:
        """Tell what is part of incidents; whoever has taken it is written down in the first one."""
        first = incidents[0]
        known = self._book.incident(partition, first.incident) or first
        saving = [self._book.save(partition, one.incident) for one in incidents]
        told = known.told.get(notice.notice_id, ())
        took = partial(self._heard, partition, first.incident, notice.notice_id)
        await asyncio.gather(*saving, self._dispatch.tell(notice, told=told, heard=took))

    async def _heard(self, partition: int, name: str, notice_id: str, channel: str) -> None:
        self._book.change(partition, name, lambda known: heard(known, notice_id, channel))
        await self._book.save(partition, name)


def _joined(known: Incident, news: News, now_s: float) -> Incident:
    found = take(known, news, now_s)
    assert found is not None
    return found


def _log(notice: Report) -> None:
    event = notice.data
    if isinstance(event, Refusal):
        log.error("refused", text=notice.text, at=notice.at, **event.model_dump())
        return
    fields = {
        "rollout": notice.order,
        "variation": notice.variation,
        "action": event.action,
        "decision_id": event.decision_id,
        "text": notice.text,
        "at": notice.at,
    }
    if isinstance(event, Decision):
        log.info("decision", mode=event.mode, guardrail=event.guardrail, owner=event.owner, **fields)
    else:
        log.info("receipt", status=event.status, store=event.store, attempts=event.attempts, **fields)
