"""
What the calibrations share: many runs of one scene at once, peeked after every block by the product's own formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binom

from guardian.sequential import DEFAULT_GRID, advance, two_sample_blocks
from guardian.sequential.checks import Bools, Floats

LEVELS = (0.05, 0.01, 0.001)

#: How much of control's rate is kept from a block of ten treated units to the next: half of it after 60 s at 40 a second.
KEEP = 0.5 ** (0.25 / 60.0)


class Stage(NamedTuple):
    """
    So many ticks of so many units, each treatment's with chance ``share``, failing at ``p_t`` or ``p_c``.
    """

    ticks: int
    units: int
    share: float
    p_t: float
    p_c: float


def ticks(rng: np.random.Generator, runs: int, stages: list[Stage]) -> Iterator[tuple[Any, Any, Any, Any]]:
    """
    Yield ``n_t, x_t, n_c, x_c`` of every tick, each of shape ``(runs,)``: every unit assigned at random.
    """
    for count, units, share, p_t, p_c in stages:
        for _ in range(count):
            n_t = rng.binomial(units, share, runs)
            n_c = units - n_t
            yield n_t * 1.0, rng.binomial(n_t, p_t) * 1.0, n_c * 1.0, rng.binomial(n_c, p_c) * 1.0


class Peeking:
    """
    The error-rate test of many runs, from a deposit of 1 at the start: a run of level alpha dies at ``log S = -log alpha``.
    """

    def __init__(self, runs: int, *, grid: Floats = DEFAULT_GRID, margin: float = 1.0, keep: float = KEEP) -> None:
        self.grid, self.margin, self.keep = grid, margin, keep
        self.log_s: Floats = np.zeros((runs, grid.size))
        self.largest: Floats = np.full(runs, -np.inf)
        self.dx, self.dn = np.zeros(runs), np.full(runs, 500.0)
        self.open: Floats = np.zeros((4, runs))

    def read(self, n_t: Any, x_t: Any, n_c: Any, x_c: Any) -> Floats:
        """
        Take one tick of every run, test the blocks it closes, and return the largest ``log S`` of each run so far.
        """
        self.open = self.open + np.array(np.broadcast_arrays(n_t, x_t, n_c, x_c), dtype=float)
        closed = (self.open[0] >= 1.0) & (self.open[2] >= 1.0)
        block = np.where(closed, self.open, 0.0)
        log_e = two_sample_blocks(*block, p_hat=self.dx / self.dn, margin=self.margin, grid=self.grid)
        self.log_s = advance(self.log_s, -np.inf, log_e)
        self.dx = np.where(closed, self.keep * self.dx + block[3], self.dx)
        self.dn = np.where(closed, self.keep * self.dn + block[2], self.dn)
        self.open = np.where(closed, 0.0, self.open)
        self.largest = np.maximum(self.largest, mean_of(self.log_s))
        return self.largest

    def keep_only(self, rows: Bools) -> None:
        """
        Go on with these runs alone.
        """
        self.log_s, self.largest, self.open = self.log_s[rows], self.largest[rows], self.open[:, rows]
        self.dx, self.dn = self.dx[rows], self.dn[rows]


def mean_of(log_s: Floats) -> Floats:
    """
    Return the log of the mean over components, the last axis.
    """
    largest = log_s.max(axis=-1)
    return np.asarray(largest + np.log(np.exp(log_s - largest[..., np.newaxis]).mean(axis=-1)))


def kills(largest: Floats, levels: tuple[float, ...] = LEVELS) -> dict[float, int]:
    """
    Return how many runs died at each level.
    """
    return {alpha: int((largest >= -math.log(alpha)).sum()) for alpha in levels}


def most_kills(runs: int, alpha: float) -> int:
    """
    Return the kills that a test of exactly this level exceeds in one simulation of a hundred.
    """
    return int(binom.ppf(0.99, runs, alpha))


class Delay(NamedTuple):
    """
    A mean with its standard error, both in treated samples.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, samples: Floats) -> Delay:
        """
        Return the mean of finished runs; one that never finished would be NaN and is an error.
        """
        if np.isnan(samples).any():
            raise ValueError(f"{int(np.isnan(samples).sum())} of {samples.size} runs never ended")
        return cls(float(samples.mean()), float(samples.std() / math.sqrt(samples.size)))


def delays(
    rng: np.random.Generator,
    runs: int,
    sizes: tuple[int, int],
    rates: tuple[float, float],
    alphas: tuple[float, ...],
    *,
    grid: Floats = DEFAULT_GRID,
    margin: float = 1.0,
    at_random: bool = False,
) -> list[Floats]:
    """
    Return, for each level, the treated samples of each run up to its kill, with ``sizes`` units of the arms a tick.

    With ``at_random`` these are the mean sizes: every unit of a tick is treated or not by chance.
    """
    n_t: Any
    n_c: Any
    n_t, n_c = sizes
    units, share = sum(sizes), sizes[0] / sum(sizes)
    peeking = Peeking(runs, grid=grid, margin=margin, keep=KEEP ** (n_t / 10.0))
    ends = [np.full(runs, np.nan) for _ in alphas]
    alive, seen, strictest = np.arange(runs), np.zeros(runs), -math.log(min(alphas))
    while alive.size:
        if at_random:
            n_t = rng.binomial(units, share, alive.size)
            n_c = units - n_t
        seen += n_t
        x_t, x_c = rng.binomial(n_t, rates[0], alive.size), rng.binomial(n_c, rates[1], alive.size)
        largest = peeking.read(n_t, x_t, n_c, x_c)
        for alpha, end in zip(alphas, ends, strict=True):
            dead = (largest >= -math.log(alpha)) & np.isnan(end[alive])
            end[alive[dead]] = seen[dead]
        going = largest < strictest
        # Throwing runs out costs as much as a tick: wait until it is worth it.
        if going.mean() < 0.9:
            alive, seen = alive[going], seen[going]
            peeking.keep_only(going)
    return ends
