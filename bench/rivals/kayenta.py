"""
Kayenta's judge: Mann-Whitney on error rates by the minute.

``High`` when the lower end of the 98 % interval for the shift (Hodges and Lehmann) exceeds a quarter of its estimate.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bench.rivals.reading import Bools, Floats, Minutes, Tick

TAIL, TOLERANCE, POINTS_MIN = 0.01, 0.25, 5


@lru_cache(maxsize=1024)
def counts(n: int, m: int) -> Floats:
    """Return how many of the orders of n and m values without ties have each U, from 0 to ``n m``."""
    if n == 0 or m == 0:
        return np.ones(1)
    answer = np.zeros(n * m + 1)
    answer[m:] += counts(n - 1, m)
    answer[: n * (m - 1) + 1] += counts(n, m - 1)
    return answer


def critical(n: int, tail: float = TAIL) -> int:
    """Return the smallest u, at least 1, with ``P(U <= u) >= tail`` for two samples of n (R's ``qwilcox``)."""
    ways = counts(n, n)
    return max(1, int(np.searchsorted(np.cumsum(ways) / ways.sum(), tail)))


def shift(treatment: Floats, control: Floats) -> tuple[Floats, Floats]:
    """Return the lower end of the interval and the estimate of the shift; points first, then rollouts."""
    n = len(treatment)
    differences = np.sort((treatment[:, np.newaxis] - control[np.newaxis]).reshape(n * n, -1), axis=0)
    return differences[critical(n) - 1], np.median(differences, axis=0)


class Kayenta:
    """Judges every minute from the fifth on, all minutes so far."""

    def __init__(self, rollouts: int, alpha: float) -> None:
        del alpha  # its confidence is its own
        self._minutes, self._none = Minutes(rollouts), np.zeros(rollouts, dtype=bool)

    def read(self, tick: Tick) -> Bools:
        """Judge at the end of a minute."""
        if not self._minutes.add(tick) or len(self._minutes.rates_t) < POINTS_MIN:
            return self._none
        low, estimate = shift(np.array(self._minutes.rates_t), np.array(self._minutes.rates_c))
        return np.asarray(low > TOLERANCE * np.abs(estimate))
