"""
An account that forgets: what has been evident of late, with a bound that holds at every moment for ever.

    S <- (keep S + (1 - keep) alpha) * e        evident while S >= 1

``keep`` is ``exp(-elapsed / memory)``. If every e-value has a mean of at most 1 given the past, ``E[S] <= alpha`` at
every moment, whatever the moment: what flows out makes room for what flows in. Over a stretch of time tau the chance
that S reaches 1 at all is at most ``alpha (1 + tau / memory)``: a nonnegative supermartingale once the deposits are
taken off (Ville). A harm is seen from its beginning on, as a long good history is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from guardian.sequential.checks import Floats

MEMORIES_S = (30.0, 600.0)
"""One memory for harm that shows in seconds, one for harm that takes minutes; each has half of alpha."""


class Fading:
    """
    The evidence of late of one stream: K alternatives, each with every memory. ``alpha`` is what it holds without evidence.
    """

    __slots__ = ("_log_s", "alpha")

    def __init__(self, alpha: float, k: int = 8) -> None:
        """
        Begin with nothing but ``alpha``, in (0, 1).
        """
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha is {alpha!r}: a chance between 0 and 1 is needed")
        if k != int(k) or k < 1:
            raise ValueError(f"k is {k!r}: a whole number of components is needed, at least 1")
        self.alpha = alpha
        self._log_s: Floats = np.full((len(MEMORIES_S), int(k)), math.log(alpha / len(MEMORIES_S)))

    def update(self, log_e: Floats, elapsed_s: float) -> None:
        """
        Let ``elapsed_s`` seconds pass, then read a block's log e-values, shape ``(K,)``.

        The time must be predictable: by clocks, never by outcomes. Raises ValueError for another shape, NaN, ``+inf``
        or a negative time.
        """
        log_e = np.asarray(log_e, dtype=np.float64)
        if log_e.shape != self._log_s.shape[1:]:
            raise ValueError(f"log_e has shape {log_e.shape}: {self._log_s.shape[1]} log e-values are needed")
        if not log_e.max() < math.inf:
            raise ValueError(f"log_e is {log_e.tolist()!r}: every log e-value must be a number below infinity")
        if not 0.0 <= elapsed_s < math.inf:
            raise ValueError(f"elapsed_s is {elapsed_s!r}: it must be a number of at least 0")
        if elapsed_s > 0.0:
            spent = -elapsed_s / np.array(MEMORIES_S)[:, np.newaxis]
            paid = math.log(self.alpha / len(MEMORIES_S)) + np.log(-np.expm1(spent))
            self._log_s = np.logaddexp(self._log_s + spent, paid)
        self._log_s = self._log_s + log_e

    def log_s(self) -> float:
        """
        Return ``log S``, over all components and memories.
        """
        largest = float(self._log_s.max())
        if largest == -math.inf:
            return -math.inf
        return largest + math.log(float(np.exp(self._log_s - largest).sum()) / self._log_s.shape[1])

    def is_evident(self) -> bool:
        """
        Say whether ``S >= 1``.
        """
        return self.log_s() >= 0.0

    def log_e(self) -> float:
        """
        Return the evidence of late in nats, ``log S - log alpha``: 0 for none.
        """
        return self.log_s() - math.log(self.alpha)

    def to_state(self) -> list[float]:
        """
        Return alpha and the log wealth of each memory and component.
        """
        return [self.alpha, *self._log_s.ravel().tolist()]

    @classmethod
    def from_state(cls, state: Sequence[float]) -> Fading:
        """
        Return the account that `to_state` described.
        """
        values, memories = state[1:], len(MEMORIES_S)
        if len(values) < memories or len(values) % memories:
            raise ValueError(f"state has {len(state)} numbers: alpha and as many for each of {memories} memories are needed")
        account = cls(state[0], len(values) // memories)
        account._log_s = np.array(values, dtype=np.float64).reshape(memories, -1)
        return account
