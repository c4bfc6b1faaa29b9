"""
What real traffic does to a test that counts naively: users who fail again and again, and successes still under way.

Both scenes are healthy: treatment is control. The product's way of counting stays within its level; the naive one,
on the very same traffic, does not, so the scenes are hard enough to fail.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.special import ndtr

from guardian.sequential import advance, count_blocks, two_sample_blocks
from guardian.sequential.checks import Floats
from tests.calibration.lab import mean_of, most_kills
from tests.support.pages import table, write

USERS, WINDOWS, BROKEN, FAILS = 20_000, 10, 0.01, 0.6


class Died(NamedTuple):
    """
    Which of the two ways of counting kills a healthy run.
    """

    ours: bool
    naive: bool


def users(rng: np.random.Generator, share: float, alpha: float) -> Died:
    """
    Ten windows of users of very unequal activity; one in a hundred has a broken client that fails most of the time.

    Ours counts each user's first failure over the users active in the window; naive counts every event.
    """
    treated = rng.random(USERS) < share
    activity = np.exp(rng.normal(-0.5, 1.0, USERS))
    chance = np.where(rng.random(USERS) < BROKEN, FAILS, 0.0005)
    failed = np.zeros(USERS, dtype=bool)
    ours, naive = np.zeros(8), np.zeros(8)
    largest = [-np.inf, -np.inf]
    dx, dn, events_x, events_n = 0.0, 500.0, 0.0, 500.0
    for _ in range(WINDOWS):
        events = rng.poisson(activity)
        errors = rng.binomial(events, chance)
        active, first = events > 0, (errors > 0) & ~failed
        at_risk = active & ~failed
        failed |= first
        arms = treated, ~treated
        (n_t, n_c), (x_t, x_c) = (tuple((of & arm).sum() for arm in arms) for of in (at_risk, first))
        ours = advance(ours, -np.inf, two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=dx / dn))
        dx, dn = 0.99 * dx + x_c, 0.99 * dn + n_c
        (m_t, m_c), (y_t, y_c) = (tuple(of[arm].sum() for arm in arms) for of in (events, errors))
        naive = advance(naive, -np.inf, two_sample_blocks(m_t, y_t, m_c, y_c, p_hat=events_x / events_n))
        events_x, events_n = 0.99 * events_x + y_c, 0.99 * events_n + m_c
        largest = [max(old, float(mean_of(new))) for old, new in zip(largest, (ours, naive), strict=True)]
    return Died(*(value >= -math.log(alpha) for value in largest))


def in_flight(rng: np.random.Generator, runs: int, rps: int, share: float, success_s: float, alpha: float) -> dict[str, int]:
    """
    Thirty seconds from the start of a rollout; failures take 50 ms, successes a lognormal time, control is old.

    Return the kills of requests counted in the tick of their start, once all have ended; of first failures as they come
    over the starts of their tick; and of requests counted, naively, in the tick in which they end.
    """
    ticks, tick_s = 120, 0.25
    per_tick = rps * tick_s
    old = math.ceil(10.0 * success_s / tick_s)
    t = _ends(rng, runs, per_tick * share, ticks, 0, success_s)
    c = _ends(rng, runs, per_tick * (1.0 - share), ticks, old, success_s)
    series = {
        "by start": (t.starts, t.failures, c.starts, c.failures),
        "naive": (t.ended, t.ended_badly, c.ended, c.ended_badly),
    }
    dead: dict[str, Floats] = {}
    for name, (n_t, x_t, n_c, x_c) in series.items():
        log_s, dx, dn, largest = np.zeros((runs, 8)), np.zeros(runs), np.full(runs, 500.0), np.full(runs, -np.inf)
        for tick in range(ticks):
            block = n_t[:, tick], x_t[:, tick], n_c[:, tick], x_c[:, tick]
            log_s = advance(log_s, -np.inf, two_sample_blocks(*block, p_hat=dx / dn))
            dx, dn = 0.99 * dx + block[3], 0.99 * dn + block[2]
            largest = np.maximum(largest, mean_of(log_s))
        dead[name] = largest
    log_s, largest = np.zeros((runs, 8)), np.full(runs, -np.inf)
    for tick in range(ticks):
        w = t.starts[:, tick] / np.maximum(t.starts[:, tick] + c.starts[:, tick], 1.0)
        log_s = advance(log_s, -np.inf, count_blocks(t.failures[:, tick], c.failures[:, tick], w))
        largest = np.maximum(largest, mean_of(log_s))
    dead["as they come"] = largest
    return {name: int((values >= -math.log(alpha)).sum()) for name, values in dead.items()}


class Ends(NamedTuple):
    """
    One arm: requests and failures by the tick of their start and by the tick of their end, each ``(runs, ticks)``.
    """

    starts: Floats
    failures: Floats
    ended: Floats
    ended_badly: Floats


def _ends(rng: np.random.Generator, runs: int, per_tick: float, ticks: int, before: int, success_s: float) -> Ends:
    whole = ticks + before
    starts = rng.poisson(per_tick, (runs, whole))
    failures = rng.binomial(starts, 0.01)
    ended = failures.astype(float)
    # What a success that starts in one tick ends in: chances by whole ticks of delay.
    with np.errstate(divide="ignore"):
        reached = ndtr(np.log(np.arange(whole + 1) * 0.25 / success_s) / 0.5)
    chances = np.append(np.diff(reached), 1.0 - reached[-1])
    for tick in range(whole):
        law = np.append(chances[: whole - tick], chances[whole - tick :].sum())
        ended[:, tick:] += rng.multinomial((starts - failures)[:, tick], law)[:, :-1]
    return Ends(*(a[:, before:].astype(float) for a in (starts, failures, ended, failures)))


def test_users_who_fail_again_and_again():
    """
    First failures stay within 5 % with a tenth treated; the same traffic counted by events does not.
    """
    runs, rng = 150, np.random.default_rng(61)
    died = [users(rng, 0.1, 0.05) for _ in range(runs)]

    assert sum(run.ours for run in died) <= most_kills(runs, 0.05)
    assert sum(run.naive for run in died) > most_kills(runs, 0.05)


def test_slow_successes_beside_fast_failures():
    """
    With successes of two seconds and failures of 50 ms, requests counted by their start stay within 0.1 %, by their end not.
    """
    runs = 150
    died = in_flight(np.random.default_rng(62), runs, 400, 0.5, 2.0, 0.001)

    assert {"by start": True, "as they come": True, "naive": False} == {
        name: count <= most_kills(runs, 0.001) for name, count in died.items()
    }


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_users_who_fail_again_and_again_long():
    """
    1,000 runs at three shares: first failures within 5 %, events far beyond.
    """
    runs, rows = 1_000, []
    wrong: dict[Any, Any] = {}
    for share in (0.01, 0.1, 0.5):
        rng = np.random.default_rng(63)
        died = [users(rng, share, 0.05) for _ in range(runs)]
        ours, naive = sum(run.ours for run in died), sum(run.naive for run in died)
        rows.append([f"{share:.0%}", f"{ours / runs:.4f}", f"{naive / runs:.4f}"])
        wrong |= {share: ours} if ours > most_kills(runs, 0.05) else {}
    write("users", table(["treated", "each user's first failure", "every event (naive)"], rows))

    assert {} == wrong


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_slow_successes_beside_fast_failures_long():
    """
    Five services, 1,000 runs each, at 0.1 %: by start and as they come within it.
    """
    runs, rows = 1_000, []
    wrong: dict[Any, Any] = {}
    services = (1_000, 0.1, 0.2), (1_000, 0.1, 2.0), (1_000, 0.5, 2.0), (1_000, 0.1, 8.0), (200, 0.1, 8.0)
    for rps, share, success_s in services:
        died = in_flight(np.random.default_rng(64), runs, rps, share, success_s, 0.001)
        cells = [f"{died[name] / runs:.4f}" for name in ("by start", "as they come", "naive")]
        rows.append([f"{rps:,}/s, {share:.0%} treated, {success_s} s", *cells])
        for name in ("by start", "as they come"):
            if died[name] > most_kills(runs, 0.001):
                wrong[rps, share, success_s, name] = died[name]
    write("in flight", table(["requests", "by start, mature", "failures as they come", "by end (naive)"], rows))

    assert {} == wrong
