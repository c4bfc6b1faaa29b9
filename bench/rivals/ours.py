"""The guardian's error-rate test: LB2 in an account, per block, against control of the same block."""

from __future__ import annotations

import numpy as np

from bench.rivals.reading import Bools, Tick
from guardian.sequential import StreamBank, two_sample_blocks

HORIZON_S = 1_200


class Guardian:
    """A bank with one stream a rollout; of ``alpha``, half is paid at the start and half evenly over 20 minutes."""

    def __init__(self, rollouts: int, alpha: float) -> None:
        self._bank = StreamBank(rollouts, half_life_s=60.0)
        self._drip = 0.5 * alpha / HORIZON_S
        self._bank.deposit(0.5 * alpha)
        self._open = np.zeros((4, rollouts))

    def read(self, tick: Tick) -> Bools:
        """Close the block where both arms have requests, test it, and remember control."""
        self._bank.deposit(self._drip)
        self._open += np.array(tick)
        closed = (self._open[0] >= 1.0) & (self._open[2] >= 1.0)
        n_t, x_t, n_c, x_c = np.where(closed, self._open, 0.0)
        self._bank.update(two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=self._bank.p_hat))
        self._bank.remember(n_c, x_c, 1.0)
        self._open = np.where(closed, 0.0, self._open)
        return self._bank.crossed()
