"""What waits for a flush to be summed: for the next one, for one to come, or until its flag's sums go out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.folding.ahead import Ahead
from streams.folding.cadence import FLUSHES, Cadence, resumed
from streams.folding.chunk import Chunk, Int64s, joined
from streams.folding.names import Names
from streams.folding.sights import Told

Bools = npt.NDArray[np.bool_]


class Mark(NamedTuple):
    """What waited right after a flush."""

    cadence: Cadence
    held: Chunk | None
    cycle: Int64s


class Due(NamedTuple):
    """
    What a flush sums and tells; ``chunk`` is None where there is nothing to sum.

    ``ticks_of_flag`` says, by the flag's number, how many ticks are summed into one; all ones if it is None.
    """

    chunk: Chunk | None
    ticks_of_flag: Int64s | None
    told: list[Told]


class Waiting:
    """
    Chunks by their flush, and which flags' sums go out in it (``cadence``).

    ``position`` and ``note`` are the committed offset and what was written beside it. More than ``rows_max`` active flags do
    not all go out each flush.
    """

    def __init__(self, position: int, note: str, rows_max: int) -> None:
        self._cadence, self._rows_max = resumed(position, note), rows_max
        self._open: list[Chunk] = []
        self._held: Chunk | None = None
        self._ahead = Ahead()
        self._cycle: Int64s = np.zeros(0, dtype=np.int64)

    @property
    def sent(self) -> int:
        """The offset before which the sums of every flag have been sent."""
        return min(self._cadence.sent)

    @property
    def note(self) -> str:
        """What must be written beside the committed offset."""
        return self._cadence.note()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._open and self._held is None and self._ahead.is_empty

    def put(self, chunk: Chunk, flush: Int64s | None) -> None:
        """Let this wait for the next flush, or each event for its own, counted from the next one on."""
        if flush is None:
            self._open.append(chunk)
        else:
            self._ahead.put(chunk, flush)

    def tell(self, told: Iterable[Told], flush: Int64s) -> None:
        """Let this wait to be told in a flush to come; ``flush`` has an entry for each of the pairs that were seen."""
        self._ahead.tell(told, flush)

    def unsent(self, offset: Int64s, arm: Int64s, names: Names) -> Bools:
        """Return which pairs had not been sent before the restart, by their offset and their arm."""
        flag_class = self._cadence.classes(names.flag_hash)[names.flag_of_arm[arm]]
        unsent: Bools = offset >= np.array(self._cadence.sent)[flag_class]
        return unsent

    def flush(self, position: int, names: Names) -> Due:
        """Return what goes out in the flush that ends at ``position``; the rest waits on."""
        ahead = self._ahead.next()
        chunks = [chunk for chunk in (self._held, *self._open, *ahead.chunks) if chunk is not None]
        self._open, self._held = [], None
        if self._cycle.size < names.flag_hash.size:
            self._cycle = np.concatenate((self._cycle, np.zeros(names.flag_hash.size - self._cycle.size, dtype=np.int64)))
        chunk, ticks_of_flag = self._choose(joined(chunks), names) if chunks else (None, None)
        self._cadence = self._cadence.after(position, self._cycle, names.flag_hash, self._rows_max)
        if self._cadence.flush == 0:
            self._cycle[:] = 0
        return Due(chunk, ticks_of_flag, ahead.told)

    def _choose(self, chunk: Chunk, names: Names) -> tuple[Chunk, Int64s | None]:
        ticks_of_flag = None
        if self._cadence.crowded:
            flag_class = self._cadence.classes(names.flag_hash)
            ticks_of_flag = FLUSHES[flag_class]
            due = self._cadence.due()[flag_class][names.flag_of_arm[chunk.arm]]
            if not due.all():
                self._held = chunk.choose(~due).compact()
                chunk = chunk.choose(due)
        if names.flag_hash.size > self._rows_max:
            whole = chunk.arm[~names.is_part[chunk.arm]]
            self._cycle += np.bincount(names.flag_of_arm[whole], minlength=self._cycle.size)
        return chunk, ticks_of_flag

    def forget_names(self) -> None:
        """Names are numbered anew from here on; nothing waits."""
        self._cycle = np.zeros(0, dtype=np.int64)

    def mark(self) -> Mark:
        """Return what waits now, right after a flush and with nothing taken for flushes to come."""
        return Mark(self._cadence, self._held, self._cycle.copy())

    def undo(self, mark: Mark) -> None:
        """Go back to ``mark``."""
        self._cadence, self._held, self._cycle = mark.cadence, mark.held, mark.cycle.copy()
        self._open, self._ahead = [], Ahead()
