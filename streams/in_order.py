"""Acknowledging events that are handled side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class InOrder:
    """
    Acknowledges the events of a partition in their order.

    Faust commits past an event that is skipped where its group has committed nothing yet, and past a single one
    anywhere: that event would never be read again.
    """

    def __init__(self) -> None:
        self._events: dict[int, deque[tuple[Any, list[bool]]]] = {}

    def begin(self, event: Any) -> Callable[[], None]:
        """Return what is to be called when *event* is done with."""
        partition = event.message.partition
        line = self._events.setdefault(partition, deque())
        done = [False]
        line.append((event, done))

        def finish() -> None:
            done[0] = True
            while line and line[0][1][0]:
                line.popleft()[0].ack()

        return finish

    def forget(self) -> None:
        """Partitions were revoked: what is not done will be read again, by whoever has them then."""
        self._events.clear()

    @property
    def waiting(self) -> int:
        """How many events are not done."""
        return sum(len(line) for line in self._events.values())
