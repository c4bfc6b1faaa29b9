"""
How long the error-rate test takes to find harm, beside the least that any test of its level needs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from guardian.sequential import DEFAULT_GRID, advance, information, samples_bound, two_sample_blocks
from guardian.sequential.checks import Floats
from tests.calibration.lab import KEEP, Delay, delays, mean_of
from tests.support.pages import table, write

ALPHA, RATIO_MAX, REGRET_MAX, JUMP_MAX, LATE_MAX = 1e-4, 1.25, 2.5, 1.35, 1.12
#: Units of treatment and control a tick.
SPLITS = {"50/50": (10, 10), "10/90": (10, 90), "1/99": (10, 990)}
SINGLY = {"50/50": (1, 1), "10/90": (1, 9), "1/99": (1, 99)}
PER_START, PER_TICK = 1e-3, 1e-3 / (86_400 * 4)


def share_of(sizes: tuple[int, int]) -> float:
    return sizes[0] / sum(sizes)


def against_bound(
    sizes: tuple[int, int], p_t: float, alphas: tuple[float, ...], runs: int, seed: int
) -> list[tuple[Delay, float, float]]:
    """
    Return, for each level, the delay, its ratio to the bound and its regret in nats.
    """
    found = []
    ends = delays(np.random.default_rng(seed), runs, sizes, (p_t, 0.01), alphas)
    for alpha, end in zip(alphas, ends, strict=True):
        delay = Delay.of(end)
        bound = samples_bound(alpha, p_t, 0.01, share_of(sizes))
        nats = delay.mean * information(p_t, 0.01, share_of(sizes))
        found.append((delay, delay.mean / bound, nats + math.log(alpha)))
    return found


def too_late(delay: Delay, limit: float) -> bool:
    """
    Say whether a short simulation is beyond its limit, by more than its own noise explains with 99 %.
    """
    return delay.mean - 2.33 * delay.error > limit


@pytest.mark.parametrize(("split", "p_t", "runs"), [("50/50", 0.05, 1_000), ("10/90", 0.02, 400), ("1/99", 0.05, 2_000)])
def test_harm_is_found_near_the_bound(split, p_t, runs):
    """
    At one false kill in 10,000 the mean delay is at most 1.25 of what the best test needs, and never below that.
    """
    sizes = SPLITS[split]
    [(delay, ratio, _)] = against_bound(sizes, p_t, (ALPHA,), runs, seed=21)
    bound = samples_bound(ALPHA, p_t, 0.01, share_of(sizes))

    assert ratio > 1.0
    assert not too_late(delay, RATIO_MAX * bound)


@pytest.mark.parametrize("split", SINGLY)
def test_a_jump_is_found_event_by_event(split):
    """
    Twenty times the errors, looked at after every single treated request, take at most 1.35 of the bound.
    """
    sizes = SINGLY[split]
    [(delay, ratio, _)] = against_bound(sizes, 0.2, (ALPHA,), 600, seed=22)

    assert ratio > 1.0
    assert not too_late(delay, JUMP_MAX * samples_bound(ALPHA, 0.2, 0.01, share_of(sizes)))


def late(
    rng: np.random.Generator, runs: int, sizes: tuple[int, int], effects: tuple[float, ...], good_ticks: int
) -> dict[float, tuple[Delay, Delay, int]]:
    """
    Return, for each bad rate that begins after ``good_ticks`` good ones, our delay, the oracle's, and false kills before.

    Both are paid one budget: 1e-3 at the start and 1e-3 a day. The oracle is the Shiryaev-Roberts account that bets on
    the one alternative that is true.
    """
    n_t, n_c = sizes
    odds = np.array([p / (1.0 - p) / (0.01 / 0.99) for p in effects])
    everything = np.concatenate([DEFAULT_GRID, odds])
    k = DEFAULT_GRID.size
    log_s, dx, dn = np.full((runs, everything.size), -np.inf), np.zeros(runs), np.full(runs, 500.0)
    false = 0
    for tick in range(good_ticks):
        x_t, x_c = rng.binomial(n_t, 0.01, runs), rng.binomial(n_c, 0.01, runs)
        paid = math.log(PER_START if tick == 0 else PER_TICK)
        log_s = advance(log_s, paid, _log_e(sizes, x_t, x_c, dx / dn, everything, k))
        dx, dn = KEEP * dx + x_c, KEEP * dn + n_c
        died = mean_of(log_s[:, :k]) >= 0.0
        false += int(died.sum())
        log_s[died, :k] = -np.inf
    return {p: (*_after(rng, sizes, p, log_s[:, [*range(k), k + i]], dx, dn, odds[i]), false) for i, p in enumerate(effects)}


def _log_e(sizes: tuple[int, int], x_t: Any, x_c: Any, p_hat: Floats, grid: Floats, k: int) -> Floats:
    """
    Return the evidence for the grid with its guess, and for the oracles with the truth.
    """
    ours = two_sample_blocks(sizes[0], x_t, sizes[1], x_c, p_hat=p_hat, grid=grid[:k])
    oracle = two_sample_blocks(sizes[0], x_t, sizes[1], x_c, p_hat=0.01, grid=grid[k:])
    return np.concatenate([ours, oracle], axis=1)


def _after(
    rng: np.random.Generator, sizes: tuple[int, int], p_t: float, log_s: Floats, dx: Floats, dn: Floats, odds: float
) -> tuple[Delay, Delay]:
    """
    Go on with the bug until both our account and the oracle's have killed every run.
    """
    runs, k = log_s.shape[0], log_s.shape[1] - 1
    grid = np.append(DEFAULT_GRID, odds)
    ends, alive, tick = np.full((2, runs), np.nan), np.arange(runs), 0
    while alive.size:
        tick += 1
        x_t, x_c = rng.binomial(sizes[0], p_t, alive.size), rng.binomial(sizes[1], 0.01, alive.size)
        log_s = advance(log_s, math.log(PER_TICK), _log_e(sizes, x_t, x_c, dx / dn, grid, k))
        dx, dn = KEEP * dx + x_c, KEEP * dn + sizes[1]
        for end, value in zip(ends, (mean_of(log_s[:, :k]), log_s[:, k]), strict=True):
            dead = alive[(value >= 0.0) & np.isnan(end[alive])]
            end[dead] = tick * sizes[0]
        going = np.isnan(ends[:, alive]).any(axis=0)
        if going.mean() < 0.9:
            alive, log_s, dx, dn = alive[going], log_s[going], dx[going], dn[going]
    return Delay.of(ends[0]), Delay.of(ends[1])


def test_a_late_bug_is_found_about_as_fast_as_by_one_who_knows_it():
    """
    After 10,000 good samples a fivefold error rate takes at most 1.12 of what an account takes that knows the effect.
    """
    [(ours, oracle, false)] = late(np.random.default_rng(23), 600, SPLITS["1/99"], (0.05,), good_ticks=1_000).values()

    assert ours.mean > oracle.mean
    # Both saw the same samples: their difference is known better than either.
    assert ours.mean - ours.error <= LATE_MAX * oracle.mean
    assert false <= 4, "600 accounts of 1e-3 each were expected to kill 0.6 healthy runs at most"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_harm_is_found_near_the_bound_long():
    """
    Three effects, three splits, two levels: within 1.25 of the bound and 2.5 nats at 1e-4.
    """
    rows, wrong = [], dict[Any, Any]()
    for split, sizes in SPLITS.items():
        for p_t in (0.015, 0.02, 0.05, 0.2):
            found = against_bound(sizes, p_t, (1e-3, ALPHA), 10_000 if p_t > 0.02 else 4_000, seed=31)
            cells = [f"{d.mean:,.0f} ({ratio:.3f})" for d, ratio, _ in found]
            delay, ratio, regret = found[-1]
            noise = ratio * delay.error / delay.mean
            rows.append([split, f"{p_t:.1%}", *cells, f"{noise:.3f}", f"{regret:.2f}"])
            if p_t < 0.2 and (ratio > RATIO_MAX or regret > REGRET_MAX):
                wrong[split, p_t] = ratio, regret
    header = ["T/C", "1 % to", "at 1e-3 (over bound)", "at 1e-4 (over bound)", "its error", "nats over the bound"]
    write("delays", table(header, rows))

    assert {} == wrong


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_jump_is_found_event_by_event_long():
    """
    Twenty times the errors, event by event, within 1.35 of the bound at every split.
    """
    rows, wrong = [], dict[Any, Any]()
    for split, sizes in SINGLY.items():
        [(delay, ratio, regret)] = against_bound(sizes, 0.2, (ALPHA,), 20_000, seed=32)
        rows.append([split, f"{delay.mean:.1f}", f"{ratio:.3f}", f"{ratio * delay.error / delay.mean:.3f}", f"{regret:.2f}"])
        wrong |= {split: ratio} if ratio > JUMP_MAX else {}
    write("jump", table(["T/C", "treated requests", "over the bound", "its error", "nats over"], rows))

    assert {} == wrong


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_late_bug_is_found_about_as_fast_as_by_one_who_knows_it_long():
    """
    After 100,000 good samples, at every split and effect, within 1.12 of the account that knows the effect.
    """
    runs, rows = 3_000, []
    wrong: dict[Any, Any] = {}
    for split, sizes in SPLITS.items():
        found = late(np.random.default_rng(33), runs, sizes, (0.015, 0.02, 0.05, 0.2), good_ticks=10_000)
        for p_t, (ours, oracle, false) in found.items():
            ratio = ours.mean / oracle.mean
            bound = samples_bound(PER_START, p_t, 0.01, share_of(sizes))
            cells = f"{ours.mean:,.0f} ± {ours.error:,.0f}", f"{oracle.mean:,.0f}", f"{ratio:.3f}", f"{ours.mean / bound:.2f}"
            rows.append([split, f"{p_t:.1%}", *cells, f"{false} of {runs:,}"])
            wrong |= {(split, p_t): ratio} if ratio > LATE_MAX else {}
    header = ["T/C", "1 % to", "ours", "oracle, same budget", "ratio", "over log(1000)/I", "false kills before"]
    write("late", table(header, rows))

    assert {} == wrong


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_blocks_of_random_size_long():
    """
    Where units fall to the arms by chance, blocks of a few dozen units lose little; those of a few lose more.
    """
    rows, ratios = [], {}
    for split, share in (("50/50", 0.5), ("10/90", 0.1)):
        for p_t, runs in ((0.02, 1_000), (0.05, 4_000), (0.2, 6_000)):
            bound, cells = samples_bound(ALPHA, p_t, 0.01, share), []
            for treated in (1, 4, 10, 30):
                sizes = treated, round(treated * (1.0 - share) / share)
                [end] = delays(np.random.default_rng(34), runs, sizes, (p_t, 0.01), (ALPHA,), at_random=True)
                ratios[split, p_t, treated] = Delay.of(end).mean / bound
                cells.append(f"{ratios[split, p_t, treated]:.3f}")
            rows.append([split, f"{p_t:.0%}", *cells])
    write("random", table(["T/C", "1 % to", *(f"{treated} treated a tick" for treated in (1, 4, 10, 30))], rows))

    assert ratios["50/50", 0.05, 30] < ratios["50/50", 0.05, 1]
    assert ratios["50/50", 0.05, 30] <= RATIO_MAX
