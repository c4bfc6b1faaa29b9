"""What earlier blocks of a line held, of one arm: sums that fade, in little memory."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from guardian.sequential import Histogram
from guardian.tally import Tally

_GONE = 0.01
"""A faded count below this is forgotten."""
_KEY = np.dtype("<i2")
"""Buckets of latencies lie within 700 of 0, positions of scores between 0 and 360."""
_EXACT, _ROUGH = np.dtype("<f8"), np.dtype("<f4")
Keys = NDArray[np.int16]
Values = NDArray[np.floating[Any]]
_FEW = 16
"""So many counts are added one by one sooner than as arrays; the sums are the same."""


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
        many = len(self.keys) // _KEY.itemsize
        values = struct.unpack(f"<{many}{'d' if self.is_exact else 'f'}", self.values)
        return dict(zip(struct.unpack(f"<{many}h", self.keys), values, strict=True))

    @property
    def histogram(self) -> Histogram:
        """The counts as arrays that nobody writes to, in their order."""
        return Histogram(*self._arrays())

    def tally(self) -> Tally:
        """Return the sums as those of a tally."""
        return Tally(self.n, self.x, self.counts, self.left, self.every)

    def add(self, fresh: Tally, keep: float = 1.0) -> None:
        """
        Keep the part ``keep`` of everything, then add a tally's sums.

        What has become very little by fading is forgotten; nothing fades where all is kept.
        """
        self.n = self.n * keep + fresh.n
        self.x = self.x * keep + fresh.x
        self.left = self.left * keep + fresh.left
        self.every = self.every * keep + fresh.every
        if not self.keys and not fresh.counts:
            return
        if self.is_exact and len(self.keys) <= _FEW * _KEY.itemsize and len(fresh.counts) <= _FEW:
            self._add_few(fresh.counts, keep)
        else:
            self._add_many(fresh.counts, keep)

    def _add_few(self, fresh: dict[int, float], keep: float) -> None:
        counts = self.counts
        if keep < 1.0:
            counts = {key: faded for key, count in counts.items() if (faded := count * keep) > _GONE}
        for key, count in fresh.items():
            counts[key] = counts.get(key, 0.0) + count
        self.keys = struct.pack(f"<{len(counts)}h", *counts)
        self.values = struct.pack(f"<{len(counts)}d", *counts.values())

    def _add_many(self, fresh: dict[int, float], keep: float) -> None:
        keys, held = self._arrays()
        values: Values = held * held.dtype.type(keep)
        if keep < 1.0 and values.size and values[values.argmin()] <= _GONE:
            stays = values > _GONE
            keys, values = keys[stays], values[stays]
        if fresh:
            came = np.fromiter(fresh, _KEY, len(fresh))
            keys, values = _joined(keys, values, came, np.fromiter(fresh.values(), values.dtype, len(fresh)))
        self.keys, self.values = keys.tobytes(), values.tobytes()

    def _arrays(self) -> tuple[Keys, Values]:
        return np.frombuffer(self.keys, _KEY), np.frombuffer(self.values, _EXACT if self.is_exact else _ROUGH)


def _joined(keys: Keys, values: Values, came: Keys, counts: Values) -> tuple[Keys, Values]:
    """Return the keys and values with those that ``came`` added, new ones at the end; writes into ``values``."""
    if not keys.size:
        return came, counts
    place = (came[:, np.newaxis] == keys).argmax(axis=1)
    found = keys[place]
    if found.tobytes() == came.tobytes():
        values[place] += counts
        return keys, values
    is_known = found == came
    values[place[is_known]] += counts[is_known]
    return np.concatenate([keys, came[~is_known]]), np.concatenate([values, counts[~is_known]])
