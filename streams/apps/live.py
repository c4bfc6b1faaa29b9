"""Server-sent events: what changes, to every open page, without one slow page holding up anything."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator

from fastapi.sse import format_sse_event
from prometheus_client import Gauge
from pydantic import BaseModel

from streams.clock import now_ms

PAGES = Gauge("guardian_api_pages", "Open streams of events.", multiprocess_mode="livesum")

REPLAYED = 2_000
"""Events that a page may have missed and still catches up with; else it reads everything anew."""
QUEUED = 1_000
"""Events that wait for one page; of a rollout only its newest."""
PING_S = 10.0
RETRY_MS = 1_000


class Event:
    """One event of the stream; written as text once, however many pages get it."""

    def __init__(self, number: int, id: str, kind: str, subject: str, data: BaseModel | str) -> None:  # noqa: A002
        self.number = number
        self.kind = kind
        self.subject = subject
        self._id = id
        self._data = data
        self._text: bytes | None = None

    def text(self) -> bytes:
        """Return the event as it is sent."""
        if self._text is None:
            data = self._data if isinstance(self._data, str) else self._data.model_dump_json()
            self._text = format_sse_event(event=self.kind, id=self._id, data_str=data)
        return self._text


class Hub:
    """
    Hands each event to all pages.

    Ids are ``boot-number``: after a restart of this process old ids mean nothing, and a page that shows one
    is told to read everything anew.
    """

    def __init__(self) -> None:
        self.boot = str(now_ms())
        self._number = 0
        self._past: deque[Event] = deque(maxlen=REPLAYED)
        self._pages: set[_Page] = set()
        self._closing = asyncio.Event()

    def publish(self, kind: str, subject: str, data: BaseModel | str) -> None:
        """Send an event; *subject* is what it is about. A newer ``rollout`` event replaces one still waiting."""
        self._number += 1
        event = Event(self._number, f"{self.boot}-{self._number}", kind, subject, data)
        self._past.append(event)
        for page in self._pages:
            page.put(event)

    def close(self) -> None:
        """End all streams; pages come back by themselves when the process does."""
        self._closing.set()
        for page in self._pages:
            page.wake.set()

    async def stream(self, last_id: str = "") -> AsyncIterator[bytes]:
        """
        Yield the stream of one page: ``hello``, what it missed since *last_id* (or ``resync``), what comes.

        At least a comment comes every ``PING_S``, so that neither proxies nor people take silence for life.
        """
        page = _Page()
        self._pages.add(page)
        PAGES.inc()
        try:
            for text in self._greeting(last_id):
                yield text
            while not self._closing.is_set():
                for text in page.take():
                    yield text
                try:
                    await asyncio.wait_for(page.wake.wait(), PING_S)
                except TimeoutError:
                    yield b": ping\n\n"
        finally:
            self._pages.discard(page)
            PAGES.dec()

    def _greeting(self, last_id: str) -> list[bytes]:
        hello = f'{{"boot":"{self.boot}","now_ms":{now_ms()}}}'
        greeting = [format_sse_event(event="hello", data_str=hello, retry=RETRY_MS)]
        if last_id:
            missed = self._missed(last_id)
            greeting += [_RESYNC] if missed is None else [event.text() for event in missed]
        return greeting

    def _missed(self, last_id: str) -> list[Event] | None:
        """What came after an id, or ``None`` where that is not known any more."""
        boot, _, number = last_id.rpartition("-")
        if boot != self.boot or not number.isdecimal() or int(number) > self._number:
            return None
        seen = int(number)
        if seen == self._number:
            return []
        if self._past[0].number > seen + 1:
            return None
        return [event for event in self._past if event.number > seen]


_RESYNC = format_sse_event(event="resync", data_str="{}")


class _Page:
    """What waits for one page."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self._waiting: OrderedDict[object, Event] = OrderedDict()
        self._lost = False

    def put(self, event: Event) -> None:
        # A replaced event goes to the end, so that ids only grow and a reconnect misses nothing.
        key: object = event.subject if event.kind == "rollout" else event.number
        self._waiting.pop(key, None)
        self._waiting[key] = event
        if len(self._waiting) > QUEUED:
            self._waiting.clear()
            self._lost = True
        self.wake.set()

    def take(self) -> list[bytes]:
        self.wake.clear()
        events = [event.text() for event in self._waiting.values()]
        self._waiting.clear()
        if self._lost:
            self._lost = False
            events.insert(0, _RESYNC)
        return events
