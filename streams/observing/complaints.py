"""What a source could not read, told in the log: a few in full, of a flood only how many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
import structlog

from streams.deadletters import DeadLetter

log = structlog.get_logger()

LINES_MAX, WITHIN_S = 10, 10.0
"""So many are told in full, within so long; of the others their number, when that time is over."""


class Complaints:
    """The log lines of one source."""

    def __init__(self, source: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._told = 0
        self._untold = 0

    def tell(self, letters: Sequence[DeadLetter]) -> None:
        """Tell of letters that were just committed, none or many."""
        if self._clock_s() - self._began_s >= WITHIN_S:
            if self._untold:
                right = "guardian dead-letters list"
                log.warning("events_not_readable", source=self._source, more=self._untold, seconds=WITHIN_S, see=right)
            self._began_s, self._told, self._untold = self._clock_s(), 0, 0
        shown = letters[: LINES_MAX - self._told]
        for letter in shown:
            log.warning("event_not_readable", **msgspec.structs.asdict(letter.origin), reason=letter.reason)
        self._told += len(shown)
        self._untold += len(letters) - len(shown)
