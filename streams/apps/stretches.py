"""
Recorded events by flush.

A flush comes every 100 ms of event time, wherever anything has come since; many flushes are taken together, as what is
done with a few events costs hardly less than with thousands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import numpy.typing as npt

from streams.apps.recordings import Recorded

Int64s = npt.NDArray[np.int64]

FLUSH_MS = 100
STRETCH_EVENTS = 4_096


@dataclass(frozen=True, slots=True)
class Stretch:
    """
    The events of some flushes, whole, in the order in which they come.

    ``time_ms`` is when each happened, ``at_ms`` when the flush is that it came before; neither is empty, and ``at_ms``
    never falls.
    """

    events: list[Recorded]
    time_ms: Int64s
    at_ms: Int64s

    @property
    def arrival_ms(self) -> Int64s:
        """When each event arrives: when it happened, or what came further out of order than could be mended then."""
        return np.maximum(self.time_ms, self.at_ms - FLUSH_MS)

    def flushes(self) -> tuple[Int64s, Int64s, Int64s]:
        """Return when each flush is, the number of events up to its end, and by event the number of its flush."""
        at_ms, flush, count = np.unique(self.at_ms, return_inverse=True, return_counts=True)
        return at_ms, np.cumsum(count), flush


def stretches(events: Iterable[Recorded]) -> Iterator[Stretch]:
    """Yield all events, some 4,096 at a time; where a stretch ends depends on their sequence alone."""
    source, held = iter(events), _Held()
    while more := list(islice(source, STRETCH_EVENTS)):
        time_ms = np.fromiter((event.time_ms for event in more), np.int64, len(more))
        at_ms = np.maximum.accumulate(np.maximum(time_ms // FLUSH_MS * FLUSH_MS + FLUSH_MS, held.at_ms))
        # More may come for the last flush.
        whole = 0
        if at_ms[-1] > held.at_ms:
            whole = int(np.searchsorted(at_ms, at_ms[-1]))
            held.add(more[:whole], time_ms[:whole], at_ms[:whole])
            yield from held.release()
        held.add(more[whole:], time_ms[whole:], at_ms[whole:])
    yield from held.release()


class _Held:
    """Events of flushes that are not known to be whole, in pieces; ``at_ms`` is when the last flush is."""

    def __init__(self) -> None:
        self.at_ms = np.iinfo(np.int64).min
        self._pieces: list[Stretch] = []

    def add(self, events: list[Recorded], time_ms: Int64s, at_ms: Int64s) -> None:
        if events:
            self._pieces.append(Stretch(events, time_ms, at_ms))
            self.at_ms = int(at_ms[-1])

    def release(self) -> Iterator[Stretch]:
        if self._pieces:
            events = list(chain.from_iterable(piece.events for piece in self._pieces))
            time_ms, at_ms = (np.concatenate([getattr(p, name) for p in self._pieces]) for name in ("time_ms", "at_ms"))
            yield Stretch(events, time_ms, at_ms)
            self._pieces = []
