"""Flagger's and Argo Rollouts' rules: a threshold on the error rate of each minute, and how often it may be exceeded."""

from __future__ import annotations

import numpy as np

from bench.rivals.reading import Bools, Minutes, Tick

ERRORS_MAX = 0.02


class Rule:
    """Fails a rollout once so many minutes in all have exceeded the threshold; nothing is ever taken back."""

    def __init__(self, rollouts: int, failures: int) -> None:
        self._minutes, self._failures = Minutes(rollouts), failures
        self._failed = np.zeros(rollouts, dtype=np.int64)

    def read(self, tick: Tick) -> Bools:
        """Check treatment at the end of a minute."""
        if self._minutes.add(tick):
            self._failed += self._minutes.rates_t[-1] > ERRORS_MAX
        return np.asarray(self._failed >= self._failures)


def flagger(rollouts: int, alpha: float) -> Rule:
    """Flagger: rolled back at five failed checks (its docs' ``threshold: 5``)."""
    del alpha
    return Rule(rollouts, failures=5)


def argo(rollouts: int, alpha: float) -> Rule:
    """Argo Rollouts: aborted at the first failed measurement (``failureLimit`` is 0 unless set)."""
    del alpha
    return Rule(rollouts, failures=1)
