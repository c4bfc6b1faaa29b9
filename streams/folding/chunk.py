"""Events that wait for the next flush, and the arms that they count for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(slots=True, frozen=True)
class Chunk:
    """
    Columns of events, and of pairs (event, arm): a request under many flags is one event and many pairs.

    ``tick`` counts ticks since the epoch, ``unit`` is the hashed unit id (52
    bits, 0 for none), ``delay_ms`` arrival minus start; ``latency_ms`` is NaN
    where there is none. ``event`` and ``arm`` have one entry a pair.
    """

    tick: Int64s
    outcome: Bools
    error: Bools
    weight: Int64s
    latency_ms: Floats
    unit: Int64s
    delay_ms: Int64s
    event: Int64s
    arm: Int64s

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return self.arm.size

    def choose(self, pairs: Bools) -> Chunk:
        """Return the part with the pairs that the mask chooses; the columns of events are shared."""
        return Chunk(
            self.tick, self.outcome, self.error, self.weight, self.latency_ms, self.unit, self.delay_ms,
            self.event[pairs], self.arm[pairs],
        )  # fmt: skip

    def compact(self) -> Chunk:
        """Return the same pairs without the events that none of them needs."""
        events, event = np.unique(self.event, return_inverse=True)
        return Chunk(
            self.tick[events], self.outcome[events], self.error[events], self.weight[events],
            self.latency_ms[events], self.unit[events], self.delay_ms[events], event, self.arm,
        )  # fmt: skip


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Return one chunk with the pairs of all, in their order."""
    if len(chunks) == 1:
        return chunks[0]
    before = np.cumsum([0, *[chunk.tick.size for chunk in chunks[:-1]]])
    return Chunk(
        np.concatenate([chunk.tick for chunk in chunks]),
        np.concatenate([chunk.outcome for chunk in chunks]),
        np.concatenate([chunk.error for chunk in chunks]),
        np.concatenate([chunk.weight for chunk in chunks]),
        np.concatenate([chunk.latency_ms for chunk in chunks]),
        np.concatenate([chunk.unit for chunk in chunks]),
        np.concatenate([chunk.delay_ms for chunk in chunks]),
        np.concatenate([chunk.event + start for chunk, start in zip(chunks, before, strict=True)]),
        np.concatenate([chunk.arm for chunk in chunks]),
    )
