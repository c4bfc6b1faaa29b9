"""Traffic by chance: who starts, what of it is counted, and in which shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardian.forecast.harm import Harm
from guardian.forecast.sums import Sums
from guardian.newcomers import NEWCOMERS_MAX
from guardian.sequential.checks import Bools, Floats

"""Blocks that are drawn for each long step of reports."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What came in a step: starts of the variation that harm may meet, those it did harm to, and what is counted."""

    met: Floats
    hurt: Floats
    sums: Sums


def draw(
    rng: np.random.Generator, harm: Harm, expected: tuple[Floats, Floats], effect: NDArray[np.intp], *, ill: bool
) -> Drawn:
    """Draw the requests of a step; ``expected`` are those of the variation and of control in each run, ``(N,)``."""
    n_t, n_c = (rng.poisson(of) for of in expected)
    met = n_t
    if harm.part < 1.0:
        n_t, n_c = rng.binomial(n_t, harm.part), rng.binomial(n_c, harm.part)
    if harm.is_narrow:
        met = n_t
    if ill and harm.lost is not None:
        n_t = rng.binomial(n_t, 1.0 - harm.lost[effect])
    x_t = _beyond(rng, n_t, harm.ill[effect] if ill else harm.well[np.newaxis])
    x_c = _beyond(rng, n_c, harm.control[np.newaxis])
    sums = Sums(n_t.astype(np.float64), x_t, n_c.astype(np.float64), x_c)
    return Drawn(met.astype(np.float64), x_t[:, 0] if harm.is_seen else harm.fails[effect] * met, sums)


def _beyond(rng: np.random.Generator, n: NDArray[np.int64], chances: Floats) -> Floats:
    """Draw how many of ``n`` lie beyond each edge: those beyond one are among those beyond the edge before it."""
    left, before, drawn = n, np.ones(chances.shape[0]), []
    for edge in range(chances.shape[1]):
        chance = chances[:, edge]
        left = rng.binomial(left, np.minimum(chance / np.maximum(before, 1e-300), 1.0))
        drawn.append(left)
        before = chance
    return np.stack(drawn, axis=-1).astype(np.float64)


class Newcomers:
    """The sample of units met in each run: of all that are new, those that it counts, as ``guardian.newcomers``."""

    def __init__(self, runs: int) -> None:
        self._met, self._shift = np.zeros(runs, dtype=np.int64), np.zeros(runs, dtype=np.int64)

    def meet(self, rng: np.random.Generator, drawn: Sums) -> None:
        """Leave of those drawn, all of them new, those that the sample counts."""
        part = 0.5**self._shift
        for name in ("n_t", "n_c"):
            setattr(drawn, name, rng.binomial(getattr(drawn, name).astype(np.int64), part).astype(np.float64))
        self._met += (drawn.n_t + drawn.n_c).astype(np.int64)
        while (over := self._met > NEWCOMERS_MAX).any():
            self._met[over] = rng.binomial(self._met[over], 0.5)
            self._shift += over

    def drop(self, rows: Bools) -> None:
        """Take these runs out."""
        self._met, self._shift = self._met[~rows], self._shift[~rows]


def starts_share(rate_t: Floats, rate_c: Floats) -> Floats:
    """Return treatment's part of the starts of both arms; treatment always has some."""
    return np.asarray(rate_t / (rate_t + rate_c))
