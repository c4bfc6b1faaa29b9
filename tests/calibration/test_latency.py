"""
How many requests the latency tests need, and that they leave equal arms alone.

Latencies are lognormal with a spread of 0.8, as requests to a service are; the margin is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from guardian.sequential import DEFAULT_GRID, DEFAULT_TAUS, slowness_blocks, two_sample_blocks
from guardian.sequential.checks import Floats
from guardian.sequential.latency import gamma
from tests.calibration.lab import KEEP, Delay, kills, mean_of, most_kills
from tests.support.pages import table, write

Change = Callable[[np.random.Generator, Floats], Floats]

ALPHA = 1e-3
POOLED_TAUS = (0.5, 0.9, 0.95, 0.99)
FIRST_KEY, BUCKETS = 100, 420


def times(factor: float) -> Change:
    return lambda rng, values: values * factor


def some_times(part: float, factor: float) -> Change:
    return lambda rng, values: np.where(rng.random(values.shape) < part, values * factor, values)


CHANGES: dict[str, Change] = {
    "all x1.1": times(1.1),
    "all x1.25": times(1.25),
    "all x1.5": times(1.5),
    "all x2": times(2.0),
    "5 % of requests x5": some_times(0.05, 5.0),
    "1 % of requests x20": some_times(0.01, 20.0),
}
#: Treated requests within which each must be found, on average, at 50/50.
LIMITS = {"all x1.25": 758.0, "5 % of requests x5": 1_876.0}


class Beyond(NamedTuple):
    """
    How many requests of each arm, and which part of control's past, exceed one past quantile.
    """

    x_t: Floats
    x_c: Floats
    past: Floats


class Latencies:
    """
    Both tests on the same requests: four quantiles pooled, each tested alone, and all classes of slowness at once.
    """

    def __init__(self, rng: np.random.Generator, runs: int, sizes: tuple[int, int], change: Change) -> None:
        self.rng, self.sizes, self.change = rng, sizes, change
        self.keep = KEEP ** (sizes[0] / 10.0)
        self.past: Floats = np.zeros((runs, BUCKETS))
        self.log_s = {"four quantiles": np.zeros((runs, 4 * DEFAULT_GRID.size)), "slowness": np.zeros((runs, 8))}

    def tick(self) -> dict[str, Floats]:
        """
        Let a tick of requests begin and end; return ``log S`` of both tests.
        """
        runs = len(self.past)
        slow = self.change(self.rng, self._requests(runs, self.sizes[0]))
        treatment, control = self._histogram(slow), self._histogram(self._requests(runs, self.sizes[1]))
        if self.past.any():
            self._test(treatment, control)
        self.past = self.keep * self.past + control
        return {name: mean_of(log_s) for name, log_s in self.log_s.items()}

    def _test(self, treatment: Floats, control: Floats) -> None:
        n_t, n_c = self.sizes
        sums = [np.cumsum(histogram, axis=1) for histogram in (treatment, control, self.past)]
        cut = {tau: _beyond(tau, *sums) for tau in {*POOLED_TAUS, *DEFAULT_TAUS.tolist()}}
        alone = [
            two_sample_blocks(n_t, at.x_t, n_c, at.x_c, p_hat=np.clip(at.past, 0.2 * (1.0 - tau), 1.0))
            for tau, at in ((tau, cut[tau]) for tau in POOLED_TAUS)
        ]
        self.log_s["four quantiles"] += np.concatenate(alone, axis=1)
        columns = zip(*(cut[tau] for tau in DEFAULT_TAUS.tolist()), strict=True)
        classes = Beyond(*(np.stack(column, axis=1) for column in columns))
        weight = sums[2][:, -1]
        self.log_s["slowness"] += slowness_blocks(n_t, classes.x_t, n_c, classes.x_c, beyond=classes.past, weight=weight)

    def _requests(self, runs: int, n: int) -> Floats:
        return np.exp(self.rng.normal(math.log(100.0), 0.8, (runs, n)))

    def _histogram(self, values: Floats) -> Floats:
        runs, n = values.shape
        keys = np.clip(np.ceil(np.log(values) / math.log(gamma())).astype(int) - FIRST_KEY, 0, BUCKETS - 1)
        rows = np.repeat(np.arange(runs), n) * BUCKETS
        return np.bincount(rows + keys.ravel(), minlength=runs * BUCKETS).reshape(runs, BUCKETS).astype(float)

    def keep_only(self, rows: Any) -> None:
        self.past = self.past[rows]
        self.log_s = {name: log_s[rows] for name, log_s in self.log_s.items()}


def _beyond(tau: float, treatment: Floats, control: Floats, past: Floats) -> Beyond:
    """
    Count, in summed histograms, what exceeds the ``tau`` quantile of the past.
    """
    total = past[:, -1]
    edge = (past >= tau * total[:, np.newaxis] * (1.0 - 1e-12)).argmax(axis=1)[:, np.newaxis]

    def above(summed: Floats) -> Floats:
        return np.asarray(np.maximum(summed[:, -1] - np.take_along_axis(summed, edge, axis=1)[:, 0], 0.0))

    return Beyond(above(treatment), above(control), above(past) / total)


def found_after(change: Change, sizes: tuple[int, int], runs: int, seed: int) -> dict[str, Delay]:
    """
    Return the treated requests up to the kill, of both tests.
    """
    scene = Latencies(np.random.default_rng(seed), runs, sizes, change)
    ends, alive, seen = {name: np.full(runs, np.nan) for name in scene.log_s}, np.arange(runs), 0
    while alive.size:
        seen += sizes[0]
        for name, log_s in scene.tick().items():
            dead = alive[(log_s >= -math.log(ALPHA)) & np.isnan(ends[name][alive])]
            ends[name][dead] = seen
        going = np.any([np.isnan(end[alive]) for end in ends.values()], axis=0)
        if going.mean() < 0.9:
            alive = alive[going]
            scene.keep_only(going)
    return {name: Delay.of(end) for name, end in ends.items()}


def killed(sizes: tuple[int, int], runs: int, ticks: int, seed: int) -> dict[str, dict[float, int]]:
    """
    Return the kills of both tests among equal arms.
    """
    scene = Latencies(np.random.default_rng(seed), runs, sizes, times(1.0))
    largest = {name: np.full(runs, -np.inf) for name in scene.log_s}
    for _ in range(ticks):
        largest = {name: np.maximum(largest[name], log_s) for name, log_s in scene.tick().items()}
    return {name: kills(values) for name, values in largest.items()}


@pytest.mark.parametrize(("change", "runs"), [("all x1.25", 250), ("5 % of requests x5", 100)])
def test_slower_requests_are_found(change, runs):
    """
    A quarter slower, or one request in twenty five times slower, is found within the samples promised.
    """
    found = found_after(CHANGES[change], (10, 10), runs, seed=41)["slowness"]

    assert 100 < found.mean
    assert found.mean - 2.33 * found.error <= LIMITS[change]


def test_equal_latencies_are_left_alone():
    """
    With equal arms both latency tests stay within 5, 1 and 0.1 %.
    """
    runs = 800
    found = killed((10, 10), runs, 120, seed=42)

    assert {} == {(n, a): k for n, at in found.items() for a, k in at.items() if k > most_kills(runs, a)}
    assert all(at[0.05] > 0.1 * 0.05 * runs for at in found.values()), "a test that never kills would pass"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_slower_requests_are_found_long():
    """
    Six ways of being slower, at 50/50 and 1/99, and equal arms beside them.
    """
    rows, wrong, healthy = [], dict[Any, Any](), 5_000
    for name, change in CHANGES.items():
        runs = 500 if name in {"all x1.1", "1 % of requests x20"} else 2_000
        even = found_after(change, (10, 10), runs, seed=43)
        small = found_after(change, (10, 990), 300, seed=44) if name in {"all x1.25", "5 % of requests x5"} else {}
        cells = [f"{even[test].mean:,.0f} ± {even[test].error:,.0f}" for test in ("four quantiles", "slowness")]
        rows.append([name, *cells, f"{small['slowness'].mean:,.0f}" if small else ""])
        if name in LIMITS and even["slowness"].mean > LIMITS[name]:
            wrong[name] = even["slowness"].mean
    alone = killed((10, 10), healthy, 400, seed=45)
    rates = [" / ".join(f"{k / healthy:.4f}" for k in alone[test].values()) for test in ("four quantiles", "slowness")]
    rows.append(["equal arms: killed at .05 / .01 / .001", *rates, ""])
    write("latency", table(["slower", "four quantiles, pooled, 50/50", "slowness, 50/50", "slowness, 1/99"], rows))

    assert {} == wrong
    assert {} == {(n, a): k for n, at in alone.items() for a, k in at.items() if k > most_kills(healthy, a)}
