"""A z test of two proportions, looked at all the time: what a dashboard invites to."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from bench.rivals.reading import Bools, Tick, Totals

UNITS_MIN = 100


class NaiveZ:
    """Fails a rollout once z exceeds the one-sided quantile of alpha, from a hundred treated requests on."""

    def __init__(self, rollouts: int, alpha: float) -> None:
        self._totals, self._limit = Totals(rollouts), float(-ndtri(alpha))

    def read(self, tick: Tick) -> Bools:
        """Pool, and look."""
        n_t, p_t, n_c, p_c = self._totals.add(tick)
        pooled = (n_t * p_t + n_c * p_c) / np.maximum(n_t + n_c, 1.0)
        variance = pooled * (1.0 - pooled) * (1.0 / np.maximum(n_t, 1.0) + 1.0 / np.maximum(n_c, 1.0))
        z = (p_t - p_c) / np.sqrt(np.maximum(variance, 1e-300))
        return np.asarray((n_t >= UNITS_MIN) & (n_c > 0) & (variance > 0.0) & (z > self._limit))
