"""
Reading every record of a partition in its order, whatever Faust drops on the way.

Between a fetch and an agent Faust drops what it takes for another assignment's: in a rebalance that begins while a worker
still recovers, a record of the new assignment may come though some before it were dropped. Offsets do not show that, as the
markers of transactions are gaps, too. So records are numbered where they are fetched, from each time that their partition is
set back to what is committed; a number that is missing is noticed where they are handled, and the partition is set back again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import structlog

log = structlog.get_logger()

AGAIN_S = 0.5


class Place(NamedTuple):
    """
    Where a record stands: the *number*-th, from 0, since its partition was set back to *start* for the *time*-th time.

    Times are counted over all partitions. *start* is the offset that was committed, 0 where none was.
    """

    time: int
    number: int
    start: int


class Numbered:
    """Numbers records as they are fetched. Of one thread; others may read ``times``."""

    def __init__(self) -> None:
        self.times = 0
        self._next: dict[Any, Place] = {}

    def set_back(self, at: Any, start: int) -> None:
        """The next record of the partition is the first from there on."""
        self.times += 1
        self._next[at] = Place(self.times, 0, start)

    def number(self, at: Any, records: Iterable[Any]) -> None:
        """
        Write its place to each record of a partition that was ever set back: into ``checksum``, which nobody uses.

        What lies before the start, as it is known, has none.
        """
        if (place := self._next.get(at)) is None:
            return
        time, number, start = place
        for record in records:
            if record.offset >= start:
                record.checksum = Place(time, number, start)
                number += 1
        self._next[at] = Place(time, number, start)


class InSequence:
    """
    Lets through what follows on what was let through before, and has a partition *set_back* where something is missing.

    *times* says how often partitions have been set back so far.
    """

    def __init__(self, times: Callable[[], int], set_back: Callable[[], Awaitable[None]]) -> None:
        self._times, self._set_back = times, set_back
        self._since = 0
        self._next: dict[Any, tuple[int, int]] = {}
        """By partition the time and the number of the record that is let through next, or with any later time."""
        self._broken: dict[Any, int] = {}
        """By partition the newest time of which a record is missing; nothing of it is let through any more."""
        self._setting_back: asyncio.Task[None] | None = None

    def restart(self) -> None:
        """Let nothing through that was fetched before its partition is next set back."""
        self._since = self._times()

    async def events(self, stream: Any) -> AsyncIterator[Any]:
        """Yield the events of a stream that follow."""
        async for event in stream.events():
            if self.follows(event.message):
                yield event

    def follows(self, message: Any) -> bool:
        """Say whether this is the next one of its partition; where one before it is missing, the partition is set back."""
        at, place = message.tp, message.checksum
        time, number = self._next.get(at, (0, 0))
        if not isinstance(place, Place) or place.time < time or place.time <= max(self._since, self._broken.get(at, 0)):
            return False
        expected = number if place.time == time else 0
        if place.number != expected:
            self._broken[at] = place.time
            log.warning(
                "records_dropped", topic=message.topic, partition=message.partition, before=message.offset,
                missing=place.number - expected,
            )  # fmt: skip
            if self._setting_back is None or self._setting_back.done():
                self._setting_back = asyncio.ensure_future(self._begin_again())
            return False
        self._next[at] = (place.time, place.number + 1)
        return True

    async def _begin_again(self) -> None:
        while True:
            try:
                return await self._set_back()
            except Exception as error:  # noqa: BLE001 - as in a rebalance, which sets back, too
                log.warning("not_set_back", reason=repr(error))
                await asyncio.sleep(AGAIN_S)
