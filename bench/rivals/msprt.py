"""mSPRT: a normal mixture over the difference of means (Johari, Koomen, Pekelis, Walsh, KDD 2017), on pooled totals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench.rivals.reading import Bools, Floats, Tick, Totals

TAU = 0.01


def log_ratio(n_t: Any, p_t: Any, n_c: Any, p_c: Any) -> Floats:
    """Return the log of the mixture likelihood ratio, 0 where an arm has no variance."""
    known = (p_t > 0.0) & (p_t < 1.0) & (p_c > 0.0) & (p_c < 1.0)
    v = p_t * (1.0 - p_t) / np.maximum(n_t, 1.0) + p_c * (1.0 - p_c) / np.maximum(n_c, 1.0)
    v = np.where(known, v, 1.0)
    log = 0.5 * np.log(v / (v + TAU**2)) + (p_t - p_c) ** 2 * TAU**2 / (2.0 * v * (v + TAU**2))
    return np.asarray(np.where(known, log, 0.0))


class MixtureSPRT:
    """Fails a rollout at twice alpha, two-sided, when treatment is the worse arm."""

    def __init__(self, rollouts: int, alpha: float) -> None:
        self._totals, self._threshold = Totals(rollouts), -math.log(2.0 * alpha)

    def read(self, tick: Tick) -> Bools:
        """Pool, and look."""
        n_t, p_t, n_c, p_c = self._totals.add(tick)
        return np.asarray((log_ratio(n_t, p_t, n_c, p_c) >= self._threshold) & (p_t > p_c))
