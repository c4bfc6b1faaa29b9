"""Events handled side by side, and acknowledged in the order of their partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


class InOrder:
    """
    Handles events side by side and acknowledges each partition's in order.

    Faust commits past a gap when a partition has no offset committed yet, so an event may be acknowledged
    only after those before it.
    """

    def __init__(self, most: int) -> None:
        self._room = asyncio.Semaphore(most)
        self._last: dict[Any, asyncio.Task[None]] = {}
        self._tasks: dict[asyncio.Task[None], Any] = {}

    async def handle(self, stream: Any, event: Any, work: Coroutine[Any, Any, None]) -> None:
        """Start *work* on an event; wait while too many are at work."""
        await self._room.acquire()
        partition = event.message.tp
        task = asyncio.create_task(self._handle(stream, event, work, self._last.get(partition)))
        self._last[partition] = task
        self._tasks[task] = partition
        task.add_done_callback(self._ended)
        task.add_done_callback(lambda _: work.close())  # left before it began

    def leave(self, numbers: Collection[int]) -> None:
        """Partitions of these numbers are somebody else's now, who reads again what was not acknowledged: leave off."""
        for task, partition in list(self._tasks.items()):
            if partition.partition in numbers:
                task.cancel()
        # What was left must not stand before what is read when a partition is back.
        self._last = {
            partition: task
            for partition, task in self._last.items()
            if partition.partition not in numbers and not task.cancelled()
        }

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task)
        self._room.release()

    @staticmethod
    async def _handle(
        stream: Any, event: Any, work: Coroutine[Any, Any, None], before: asyncio.Task[None] | None
    ) -> None:
        try:
            await work
        except Exception:
            log.exception("report_failed")
        if before is not None:
            await asyncio.wait({before})
            if before.cancelled():
                raise asyncio.CancelledError
        await stream.ack(event)
