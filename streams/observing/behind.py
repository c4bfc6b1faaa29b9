"""
How late reading is: for how long what is read now has been there to be read.

By offsets and our own clock. The time that records carry is that of whoever wrote them, and may be anything.
"""

from __future__ import annotations

from collections import deque

EVERY_S = 0.25
REMEMBERED = 2_400
"""Ten minutes; who is later than that is said to be as late as this reaches."""


class Behind:
    """
    Remembers when the end of a partition was where.

    What stood there before the first look is as old as that look, at least.
    """

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)

    def saw(self, end: int, now_s: float) -> None:
        """The partition could be read up to this offset."""
        if not self._ends or (end > self._ends[-1][1] and now_s - self._ends[-1][0] >= EVERY_S):
            self._ends.append((now_s, end))

    def seconds(self, next_offset: int, now_s: float) -> float:
        """Return for how long the record at ``next_offset`` has waited, 0 where it is not there yet."""
        while self._ends and self._ends[0][1] <= next_offset:
            self._ends.popleft()
        return now_s - self._ends[0][0] if self._ends else 0.0
