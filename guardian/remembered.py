"""What earlier blocks of a line held, of one arm: sums that fade, in little memory."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from guardian.tally import Tally

_GONE = 0.01
"""A faded count below this is forgotten."""
_KEY = np.dtype("<i2")
"""Buckets of latencies lie within 700 of 0, positions of scores between 0 and 360."""
_EXACT, _ROUGH = np.dtype("<f8"), np.dtype("<f4")


class Remembered(msgspec.Struct, array_like=True, gc=False):
    """
    The sums of a `Tally`, fading.

    ``keys`` and ``values`` are its counts, in the order in which they were first met: 16-bit integers and 64-bit floats;
    32-bit ones where it is not ``is_exact``, for sums that only people read.
    """

    n: float = 0.0
    x: float = 0.0
    left: float = 0.0
    every: float = 0.0
    keys: bytes = b""
    values: bytes = b""
    is_exact: bool = True

    @property
    def counts(self) -> dict[int, float]:
        """How ``n`` is distributed, as in a `Tally`; made anew each time."""
        keys, values = self._arrays()
        return dict(zip(keys.tolist(), values.tolist(), strict=True))

    def tally(self) -> Tally:
        """Return the sums as those of a tally."""
        return Tally(self.n, self.x, self.counts, self.left, self.every)

    def add(self, fresh: Tally) -> None:
        """Add a tally's sums."""
        self.n += fresh.n
        self.x += fresh.x
        self.left += fresh.left
        self.every += fresh.every
        if not fresh.counts:
            return
        keys, values = self._arrays()
        came = np.fromiter(fresh.counts, _KEY, len(fresh.counts))
        counts = np.fromiter(fresh.counts.values(), values.dtype, len(fresh.counts))
        if not keys.size:
            self._keep(came, counts)
            return
        is_same = came[:, np.newaxis] == keys
        is_known = is_same.any(axis=1)
        values = values.copy()
        values[is_same.argmax(axis=1)[is_known]] += counts[is_known]
        self._keep(np.concatenate([keys, came[~is_known]]), np.concatenate([values, counts[~is_known]]))

    def fade(self, keep: float) -> None:
        """Keep the part ``keep`` of everything; what has become very little is forgotten."""
        self.n *= keep
        self.x *= keep
        self.left *= keep
        self.every *= keep
        if self.keys:
            keys, values = self._arrays()
            values = values * values.dtype.type(keep)
            stays = values > _GONE
            self._keep(keys[stays], values[stays])

    def _arrays(self) -> tuple[NDArray[np.int16], NDArray[np.floating[Any]]]:
        return np.frombuffer(self.keys, _KEY), np.frombuffer(self.values, _EXACT if self.is_exact else _ROUGH)

    def _keep(self, keys: NDArray[np.int16], values: NDArray[np.floating[Any]]) -> None:
        self.keys, self.values = keys.tobytes(), values.tobytes()
