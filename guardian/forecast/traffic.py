"""Traffic by chance: who starts, what of it is counted, and in which shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardian.forecast.harm import Harm
from guardian.forecast.sums import Sums
from guardian.newcomers import LAST, PLACES
from guardian.sequential.checks import Bools, Floats

PARTS = [0.5 ** (level + 1) for level in range(LAST)] + [0.5**LAST]
"""Of all units, those of each level of places."""


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
    """The places taken in each run, by level: of all that are new, those count that find one, as ``guardian.newcomers``."""

    def __init__(self, runs: int) -> None:
        self._taken = np.zeros((runs, len(PLACES)), dtype=np.int64)

    def meet(self, rng: np.random.Generator, drawn: Sums) -> None:
        """Leave of those drawn, all of them new, those that count."""
        came_t, came_c = (rng.multinomial(n.astype(np.int64), PARTS) for n in (drawn.n_t, drawn.n_c))
        came, places, free = came_t + came_c, np.array(PLACES), PLACES - self._taken
        # So many of the free places will be found by those who came, more than one of whom may find the same.
        found = free * -np.expm1(came * np.log1p(-1.0 / places))
        chance = np.minimum(found / np.maximum(came, 1), 1.0)
        n_t, n_c = (rng.binomial(one, chance) for one in (came_t, came_c))
        self._taken = np.minimum(self._taken + n_t + n_c, places)
        drawn.n_t, drawn.n_c = (n.sum(axis=1).astype(np.float64) for n in (n_t, n_c))

    def drop(self, rows: Bools) -> None:
        """Take these runs out."""
        self._taken = self._taken[~rows]


def starts_share(rate_t: Floats, rate_c: Floats) -> Floats:
    """Return treatment's part of the starts of both arms; treatment always has some."""
    return np.asarray(rate_t / (rate_t + rate_c))
