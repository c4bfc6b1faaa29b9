"""GrowthBook's sequential test: a one-sided asymptotic confidence sequence on pooled totals (gbstats, arXiv 2103.06476)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench.rivals.reading import Bools, Floats, Tick, Totals

TUNED_FOR = 5_000.0


def lower_bound(n_t: Any, p_t: Any, n_c: Any, p_c: Any, alpha: float) -> Floats:
    """Return the lower end of the confidence sequence for ``p_t - p_c``; ``-inf`` where an arm has no variance."""
    known = (p_t > 0.0) & (p_t < 1.0) & (p_c > 0.0) & (p_c < 1.0)
    n = n_t + n_c
    variance = n * (p_t * (1.0 - p_t) / np.maximum(n_t, 1.0) + p_c * (1.0 - p_c) / np.maximum(n_c, 1.0))
    level = -2.0 * math.log(2.0 * alpha)
    rho2 = (level + math.log(level + 1.0)) / TUNED_FOR
    grown = n * rho2 + 1.0
    spread = 2.0 * grown / (np.maximum(n, 1.0) ** 2 * rho2) * np.log1p(np.sqrt(grown) / (2.0 * alpha))
    return np.asarray(np.where(known, p_t - p_c - np.sqrt(variance * spread), -np.inf))


class GrowthBook:
    """Fails a rollout when the lower bound is above 0, at every tick."""

    def __init__(self, rollouts: int, alpha: float) -> None:
        self._totals, self._alpha = Totals(rollouts), alpha

    def read(self, tick: Tick) -> Bools:
        """Pool, and look."""
        return np.asarray(lower_bound(*self._totals.add(tick), self._alpha) > 0.0)
