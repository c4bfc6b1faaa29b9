"""What every judge is given: a tick of many rollouts at once, and minutes for those that read scraped metrics."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Tick(NamedTuple):
    """Requests and failures of treatment and control that started in one second, each of shape ``(rollouts,)``."""

    n_t: Any
    x_t: Any
    n_c: Any
    x_c: Any


class Judge(Protocol):
    """One way of judging, over many rollouts in step."""

    def read(self, tick: Tick) -> Bools:
        """Take the next second; say which rollouts it kills now."""
        ...


class Totals:
    """Sums since the start: what a pooled method looks at."""

    def __init__(self, rollouts: int) -> None:
        self.sums = np.zeros((4, rollouts))

    def add(self, tick: Tick) -> tuple[Floats, Floats, Floats, Floats]:
        """Return ``n_t, p_t, n_c, p_c`` after this tick; a rate is 0 while there are no requests."""
        self.sums += np.array(tick)
        n_t, x_t, n_c, x_c = self.sums
        return n_t, x_t / np.maximum(n_t, 1.0), n_c, x_c / np.maximum(n_c, 1.0)


class Minutes:
    """Error rates by the minute, as a metrics server would be asked for them."""

    def __init__(self, rollouts: int) -> None:
        self._open = np.zeros((4, rollouts))
        self._seconds = 0
        self.rates_t: list[Floats] = []
        self.rates_c: list[Floats] = []

    def add(self, tick: Tick) -> bool:
        """Take a second; say whether it ended a minute."""
        self._open += np.array(tick)
        self._seconds += 1
        if self._seconds % 60:
            return False
        n_t, x_t, n_c, x_c = self._open
        self.rates_t.append(x_t / np.maximum(n_t, 1.0))
        self.rates_c.append(x_c / np.maximum(n_c, 1.0))
        self._open = np.zeros_like(self._open)
        return True
