"""
How often a flag's sums go out: every flush, unless its source carries very many flags.

Chosen from the numbers of past events alone, never from outcomes: to send bad
news early and good news late would be peeking. Within a cycle of 25 flushes
the choice is fixed, and it is written beside the committed offset, so that
whoever reads on after a crash knows which sums had been sent.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

CYCLE = 25
"""Flushes in a cycle; at its end all flags go out and the next cycle's choice is made."""
FLUSHES = np.array([1, 5, CYCLE])
"""A flag's sums go out every so many flushes, by class; its ticks are as many times longer."""
EVENTS_PER_FLUSH = (20, 4)
"""Least events a flush, in the past cycle, of a flag of class 0 and of class 1."""
NAMED_MAX = 600
"""Flags of class 0 and 1 together; what is written beside an offset may have 4 KiB."""
_HASH_SHIFT = np.uint64(48)


@dataclass(frozen=True, slots=True)
class Cadence:
    """
    The classes of one cycle and how far into it we are.

    ``fast`` and ``middling`` hold 16-bit hashes of flags; two flags with the
    same hash share a class. ``sent`` is, by class, the input offset before
    which all has been sent. ``crowded`` is False where all flags go out every time.
    """

    crowded: bool = False
    fast: tuple[int, ...] = ()
    middling: tuple[int, ...] = ()
    flush: int = 0
    sent: tuple[int, int, int] = (0, 0, 0)

    def classes(self, flag_hash: Keys) -> Int64s:
        """Return the class of each flag, by its hash: an index into ``FLUSHES``."""
        if not self.crowded:
            return np.zeros(flag_hash.size, dtype=np.int64)
        short = (flag_hash >> _HASH_SHIFT).astype(np.int64)
        return np.where(np.isin(short, self.fast), 0, np.where(np.isin(short, self.middling), 1, 2))

    def due(self) -> npt.NDArray[np.bool_]:
        """Return, by class, whether its sums go out in this flush."""
        due: npt.NDArray[np.bool_] = (self.flush + 1) % FLUSHES == 0
        return due

    def after(self, position: int, counts: Int64s, flag_hash: Keys, rows_max: int) -> Cadence:
        """Return the cadence of the next flush; ``counts`` are the cycle's events by flag."""
        _, middling, slow = self.due() | (not self.crowded)
        sent = (position, position if middling else self.sent[1], position if slow else self.sent[2])
        then = replace(self, flush=self.flush + 1, sent=sent)
        return then if then.flush < CYCLE else then._next_cycle(counts, flag_hash, rows_max)

    def _next_cycle(self, counts: Int64s, flag_hash: Keys, rows_max: int) -> Cadence:
        if np.count_nonzero(counts) <= rows_max:
            return Cadence(sent=self.sent)
        # Ties are broken by hash: the choice does not depend on the order in which flags were first seen.
        order = np.lexsort((flag_hash, -counts))[:NAMED_MAX]
        short = (flag_hash[order] >> _HASH_SHIFT).astype(np.int64)
        least = [events * CYCLE for events in EVENTS_PER_FLUSH]
        fast = counts[order] >= least[0]
        middling = ~fast & (counts[order] >= least[1])
        return Cadence(True, tuple(short[fast].tolist()), tuple(short[middling].tolist()), 0, self.sent)

    def note(self) -> str:
        """Return what must be written beside the committed offset: nothing where all has been sent before it."""
        if not self.crowded or self.flush == 0:
            return ""
        return json.dumps(
            {"sent": self.sent[1:], "fast": _packed(self.fast), "middling": _packed(self.middling)},
            separators=(",", ":"),
        )


def resumed(position: int, note: str) -> Cadence:
    """
    Return the cadence with which to read on from a committed offset and the note beside it.

    Read from ``min(cadence.sent)``. A note of another writer counts as none.
    """
    found: dict[str, Any] = {}
    try:
        found = json.loads(note)
        middling_sent, slow_sent = (int(offset) for offset in found["sent"])
        fast, middling = _unpacked(found["fast"]), _unpacked(found["middling"])
    except (ValueError, KeyError, TypeError):
        return Cadence(sent=(position, position, position))
    return Cadence(True, fast, middling, 0, (position, min(middling_sent, position), min(slow_sent, position)))


def _packed(hashes: tuple[int, ...]) -> str:
    return b64encode(np.array(hashes, dtype="<u2").tobytes()).decode()


def _unpacked(text: str) -> tuple[int, ...]:
    return tuple(np.frombuffer(b64decode(text, validate=True), dtype="<u2").tolist())
