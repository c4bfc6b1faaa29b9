"""Clocks that are wrong: whose entries of the journal are dated ahead of time, told in the log and as a number."""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog

from guardian.dating import AHEAD_MS
from guardian.journal import Beat, Entry, Summary
from guardian.names import Millis
from streams.clock import now_ms
from streams.telemetry import CLOCK_AHEAD

log = structlog.get_logger()

TOLD_EVERY_S = 60.0
"""Of one writer."""
COUNTS_S = 2.0 * TOLD_EVERY_S
"""So long the number stands: whoever is ahead all the time is told of again within it."""
WRITERS_MAX = 100


class Clocks:
    """Who writes the journal with a clock that is ahead, and by how much."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, float]] = {}

    def hear(self, read: Entry, taken: Entry) -> None:
        """An entry as it was *read*, and as it is *taken*: where these are not the same, it was dated back."""
        if taken is read:
            return
        ahead_s = (read.at_ms - taken.at_ms) / 1_000
        writer = read.source if isinstance(read, Summary | Beat) else type(read).__name__.lower()
        now_s = time.monotonic()
        said_s, _ = self._told.get(writer, (-TOLD_EVERY_S, 0.0))
        if now_s - said_s < TOLD_EVERY_S or (writer not in self._told and len(self._told) >= WRITERS_MAX):
            return
        self._told[writer] = now_s, ahead_s
        log.warning(
            "clock_ahead", writer=writer, ahead_s=round(ahead_s, 1),
            reason="it writes later times than Kafka's: set the clock of its host, or the broker's; Kafka's time counts",
        )  # fmt: skip

    def ahead_s(self, journals_ms: Iterable[Millis]) -> float:
        """
        Return how far ahead the furthest clock is, of those told of in ``COUNTS_S`` and those of the journal; else 0.

        ``journals_ms`` are the clocks of partitions: where brokers do not stamp them, one worker pulls them ahead of ours.
        """
        now_s = time.monotonic()
        told = [ahead_s for said_s, ahead_s in self._told.values() if now_s - said_s < COUNTS_S]
        own_ms = now_ms()
        pulled = [(at_ms - own_ms) / 1_000 for at_ms in journals_ms if at_ms - own_ms > AHEAD_MS]
        furthest_s = max([*told, *pulled], default=0.0)
        CLOCK_AHEAD.set(furthest_s)
        return round(furthest_s, 1)
