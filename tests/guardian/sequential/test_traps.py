"""
Mistakes that look right: each has bitten somebody, and each is shown to fail beside what the product does instead.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from guardian.sequential import (
    DEFAULT_GRID,
    Account,
    ErrorRateStream,
    StreamBank,
    advance,
    anytime_p,
    count_block,
    e_bh,
    latency_block,
    log_e_value,
    two_sample_block,
)
from tests.guardian.sequential.test_validity import binomial, expectation

UP, DOWN = math.log(1.2), math.log(0.8)


def mean_e(log_e: np.ndarray) -> float:
    return float(np.exp(log_e).mean())


def coins(blocks: int) -> list[tuple[float, ...]]:
    """
    Return all equally likely histories of a fair bet that gains or loses a fifth.
    """
    return list(itertools.product((UP, DOWN), repeat=blocks))


def test_trap_1_an_alternative_inside_the_null():
    """
    Lifting odds from control's guess and not from the boundary would bet on the null: E[e] far above 1 for a margin.

    With margin 1.5 and a guess of 0.6, odds 1.25 x 1.5 times those of the guess are a rate of 0.74; allowed is 0.9.
    """
    n, p, margin = 12, 0.6, 1.5
    law = binomial(n, margin * p), binomial(n, p)
    odds = margin * 1.25 * p / (1.0 - p)
    average = expectation(*law, lambda x_t, x_c: two_sample_block(n, x_t, n, x_c, p_hat=p, margin=margin))

    assert odds / (1.0 + odds) < margin * p
    assert (average <= 1.0 + 1e-12).all()


def test_trap_2_a_guess_from_the_block_itself():
    """
    Guessing control's rate from the very block breaks the promise; guessing it from any fixed past never does.
    """
    law = binomial(12, 0.3), binomial(3, 0.3)
    peeking = expectation(*law, lambda x_t, x_c: two_sample_block(12, x_t, 3, x_c, p_hat=x_c / 3 or 1e-3))

    assert peeking.max() > 1.001
    for guess in (0.0, 1e-3, 0.1, 0.5, 0.9):
        fixed = expectation(*law, lambda x_t, x_c, p=guess: two_sample_block(12, x_t, 3, x_c, p_hat=p))
        assert (fixed <= 1.0 + 1e-12).all()


def test_trap_2_an_edge_from_the_block_itself():
    """
    Taking the quantile of control from the very block breaks the latency test; from the past it does not.
    """
    keys, law, n = [100, 150, 230], np.array([0.6, 0.3, 0.1]), 3
    own, past = np.zeros(8), np.zeros(8)
    for chosen in itertools.product(range(3), repeat=2 * n):
        chance = float(np.prod(law[list(chosen)]))
        treatment, control = ({k: float(arm.count(i)) for i, k in enumerate(keys)} for arm in (chosen[:n], chosen[n:]))
        own += chance * np.exp(latency_block(control, treatment, control, tau=0.5))
        past += chance * np.exp(latency_block({100: 6.0, 150: 3.0, 230: 1.0}, treatment, control, tau=0.5))

    assert own.max() > 1.05
    assert (past <= 1.0 + 1e-12).all()


def test_trap_3_totals_pooled_over_a_ramp():
    """
    Two honest blocks, one before and one after a ramp with rising errors, are no evidence; their sum is overwhelming.
    """
    before, after = (1_000, 10, 9_000, 90), (5_000, 500, 5_000, 500)
    pooled = tuple(a + b for a, b in zip(before, after, strict=True))
    honest = two_sample_block(*before, p_hat=0.01) + two_sample_block(*after, p_hat=0.01)

    assert mean_e(honest) <= 1.0
    assert mean_e(two_sample_block(*pooled, p_hat=0.01)) > 1e6


def test_trap_5_raw_events_of_one_user():
    """
    Five events a user that are all alike make E[e] of an honest block huge; each user's first event does not.
    """
    users, p, copies = 6, 0.3, 5
    law = binomial(users, p), binomial(users, p)

    def block(x_t: int, x_c: int, each: int) -> np.ndarray:
        return two_sample_block(users * each, x_t * each, users * each, x_c * each, p_hat=p)

    assert expectation(*law, lambda x_t, x_c: block(x_t, x_c, copies)).max() > 100.0
    assert expectation(*law, lambda x_t, x_c: block(x_t, x_c, 1)).max() <= 1.0 + 1e-12


def test_trap_5_means_per_user_are_allowed():
    """
    Events of one user as one fractional outcome, their mean, keep the promise under any dependence within the user.
    """
    users, means, law = 3, np.array([0.0, 0.4, 1.0]), np.array([0.6, 0.3, 0.1])
    average = np.zeros(8)
    for chosen in itertools.product(range(3), repeat=2 * users):
        x_t, x_c = (float(means[list(arm)].sum()) for arm in (chosen[:users], chosen[users:]))
        average += float(np.prod(law[list(chosen)])) * np.exp(two_sample_block(users, x_t, users, x_c, p_hat=0.2))

    assert (average <= 1.0 + 1e-12).all()


def test_trap_6_no_error_in_control():
    """
    Control without one error in 100,000 must not disable the test against 200 in 1,000.
    """
    account = Account()
    account.deposit(1e-6)
    account.update(two_sample_block(1_000, 200, 100_000, 0, p_hat=0.0))

    assert account.crossed()


@pytest.mark.parametrize("log_e", [-5000.0, 750.0, 5000.0])
def test_trap_7_odds_as_plain_floats(log_e):
    """
    Beyond 709 nats a float overflows to infinity; the accounts carry on, and an empty one is simply -inf.
    """
    account, bank = Account(1), StreamBank(1, 1)
    assert -math.inf == account.log_s() == bank.log_s()[0]
    for _ in range(3):
        account.deposit(0.5)
        account.update(np.array([log_e]))
        bank.deposit(0.5)
        bank.update([[log_e]])

    assert math.isfinite(account.log_s())
    assert account.log_s() == bank.log_s()[0]


def test_trap_8_a_restart_because_it_looked_noisy():
    """
    Starting again from the deposit whenever wealth has sunk makes kills out of nothing; the account never refunds.
    """
    restarted = kept = 0
    for history in itertools.product((math.log(1.6), math.log(0.4)), repeat=10):
        wealth, best = math.log(0.25), -math.inf
        for log_e in history:
            wealth = max(wealth, math.log(0.25)) + log_e
            best = max(best, wealth)
        restarted += best >= 0.0
        account, died = Account(1), False
        account.deposit(0.25)
        for log_e in history:
            account.update(np.array([log_e]))
            died |= account.crossed()
        kept += died

    assert 0 < kept <= 0.25 * 2**10 < restarted


def test_trap_9_running_maxima_are_no_e_values():
    """
    The largest value so far of a fair e-process exceeds 1 on average, so e-BH may not be given it; current values may.
    """
    paths = [list(itertools.accumulate(history)) for history in coins(10)]
    largest = np.mean([math.exp(max(path)) for path in paths])
    current = np.mean([math.exp(path[-1]) for path in paths])

    assert 1.2 < largest
    assert pytest.approx(1.0) == current
    assert [] == e_bh([math.log(19.0)], 0.05)
    assert [0] == e_bh([math.log(21.0)], 0.05)


def test_trap_10_the_best_start_instead_of_all_of_them():
    """
    An account that keeps only the best start is never ahead of the sum over starts, and after a late bug behind it.
    """
    rng = np.random.default_rng(10)
    total, best = np.full(8, -math.inf), np.full(8, -math.inf)
    for number in range(400):
        x_t = rng.binomial(50, 0.01 if number < 360 else 0.04)
        log_e = two_sample_block(50, x_t, 450, rng.binomial(450, 0.01), p_hat=0.01)
        total = advance(total, math.log(1e-6), log_e)
        best = np.maximum(best, math.log(1e-6)) + log_e
        assert (total >= best - 1e-9).all()

    assert np.logaddexp.reduce(total) > np.logaddexp.reduce(best) + 0.5


def test_trap_11_budgets_by_the_block():
    """
    Budgets go by time: a stream whose blocks take ten ticks is paid as much as one that closes a block every tick.
    """
    busy, slow = ErrorRateStream(eta_per_tick=1e-5), ErrorRateStream(eta_per_tick=1e-5)
    for tick in range(100):
        busy.tick(5, 0, 45, 0)
        slow.tick(5 if tick % 10 == 9 else 0, 0, 45, 0)

    assert (100, 10) == (busy.blocks, slow.blocks)
    assert pytest.approx(slow.account.total_deposited, rel=1e-12) == busy.account.total_deposited


def test_trap_12_ticks_of_one_arm_thrown_away():
    """
    A tick with one arm only says nothing alone; carried forward to the other arm it is evidence.
    """
    stream = ErrorRateStream()
    alone = two_sample_block(40, 20, 0, 0, p_hat=0.01) + two_sample_block(0, 0, 400, 4, p_hat=0.01)

    assert stream.tick(40, 20, 0, 0) is None
    block = stream.tick(0, 0, 400, 4)
    assert [0.0] * len(DEFAULT_GRID) == alone.tolist()
    assert block is not None
    assert block.log_s > 10.0


def test_trap_13_what_was_deposited_so_far():
    """
    S over what was paid *so far* exceeds its level when one may choose the moment; over the horizon's budget it cannot.

    Exactly, over all histories of ten fair bets with a deposit before each: a p-value of at most 0.4 at some time.
    """
    eta, blocks, level = 0.05, 10, 0.4
    so_far = horizon = 0
    for history in coins(blocks):
        log_s, by_now, largest = -math.inf, False, -math.inf
        for number, log_e in enumerate(history, start=1):
            log_s = float(np.logaddexp(log_s, math.log(eta))) + log_e
            by_now |= math.exp(-log_e_value(log_s, number * eta)) <= level
            largest = max(largest, log_s)
        so_far += by_now
        horizon += anytime_p(largest, blocks * eta) <= level

    assert horizon <= level * 2**blocks
    assert so_far > horizon


def test_trap_14_evidence_in_the_middle_of_a_block():
    """
    While a block is open S stays what it was, however damning what is in it; it moves when the block closes.
    """
    stream = ErrorRateStream(n_c_min=10.0)
    stream.tick(50, 1, 450, 4)
    before = stream.account.log_s()

    assert stream.tick(50, 50, 5, 0) is None
    assert before == stream.account.log_s()
    assert stream.tick(0, 0, 5, 0) is not None
    assert before < stream.account.log_s()


def test_trap_15_resuming_on_the_old_budget():
    """
    After a kill even boundless evidence kills nothing until a budget is deposited again.
    """
    account = Account()
    account.deposit(1e-3)
    account.update(np.full(8, 50.0))
    account.reset()
    account.update(np.full(8, 5_000.0))
    assert not account.crossed()
    account.deposit(1e-3)
    account.update(np.full(8, 50.0))

    assert account.crossed()


def test_a_share_is_that_of_the_block_and_not_that_of_the_plan():
    """
    With the planned share in place of the realised one an honest but uneven block would be evidence.
    """
    planned, realised = count_block(40, 60, 0.1), count_block(40, 60, 0.4)

    assert mean_e(planned) > 1e6
    assert mean_e(realised) <= 1.0
