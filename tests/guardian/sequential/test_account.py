"""
The account: what is paid in, what blocks make of it, when it says kill.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import Account, advance
from tests.guardian.sequential import oracle

log_es = st.floats(-30.0, 30.0)
etas = st.one_of(st.just(0.0), st.floats(1e-12, 0.5))


@st.composite
def histories(draw):
    """
    Draw ``(deposits, log e-values)`` of up to 12 blocks and 3 components.
    """
    k, blocks = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    log_e = [[draw(log_es) for _ in range(k)] for _ in range(blocks)]
    return [draw(etas) for _ in range(blocks)], log_e


def replay(account: Account, eta: list[float], log_e: list[list[float]]) -> list[float]:
    answer = []
    for budget, block in zip(eta, log_e, strict=True):
        account.deposit(budget)
        account.update(np.array(block))
        answer.append(account.log_s())
    return answer


@settings(max_examples=60, deadline=None)
@given(histories())
def test_recursion_is_the_double_sum_over_start_times(history):
    """
    After every block S is the sum, over components and start blocks, of the deposit times all e-values since.
    """
    eta, log_e = history
    k = len(log_e[0])
    exact = oracle.account(log_e, eta, [1.0 / k] * k)

    for got, expected in zip(replay(Account(k), eta, log_e), exact, strict=True):
        assert got == -math.inf if expected == -math.inf else oracle.close(got, expected, 1e-12)


@settings(max_examples=30, deadline=None)
@given(histories(), st.data())
def test_weights_count_as_given(history, data):
    """
    With weights S is the weighted sum of the components.
    """
    eta, log_e = history
    raw = [data.draw(st.integers(1, 9)) for _ in log_e[0]]
    weights = [weight / sum(raw) for weight in raw]
    exact = oracle.account(log_e, eta, weights)

    for got, expected in zip(replay(Account(len(raw), weights), eta, log_e), exact, strict=True):
        assert got == -math.inf if expected == -math.inf else oracle.close(got, expected, 1e-11)


def test_empty_account_stays_empty_until_paid():
    """
    Without a deposit the best evidence in the world kills nothing; a deposit of 0 changes nothing.
    """
    account = Account(2)
    account.update(np.array([5000.0, 5000.0]))
    account.deposit(0.0)

    assert account.log_s() == -math.inf
    assert not account.crossed()


def test_deposit_is_what_it_says():
    """
    A deposit raises S by exactly itself, however many components share it.
    """
    account = Account(5)
    account.deposit(1e-3)
    account.deposit(2e-3)

    assert account.log_s() == pytest.approx(math.log(3e-3), abs=1e-15)
    assert account.total_deposited == pytest.approx(3e-3, abs=1e-18)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_log_e_of_five_thousand_survives_there_and_back(sign):
    """
    Evidence of 5,000 nats, far beyond what a float holds outside of logs, is gained and lost without a trace.
    """
    account = Account(2)
    account.deposit(1e-3)
    account.update(np.array([sign * 5000.0, sign * 4000.0]))
    there = account.log_s()
    account.update(np.array([sign * -5000.0, sign * -4000.0]))

    assert there == pytest.approx(math.log(1e-3) + (sign * (5000.0 if sign > 0 else 4000.0)) - math.log(2), abs=1e-9)
    assert account.log_s() == pytest.approx(math.log(1e-3), abs=1e-9)


def test_good_history_is_forgotten_down_to_the_last_deposit():
    """
    After any good history S is at least the drip, so a late bug starts from there and not from the bottom.
    """
    account = Account(2)
    account.deposit(1e-3)
    account.update(np.array([-900.0, -5000.0]))
    account.deposit(1e-6)

    assert account.log_s() >= math.log(1e-6)


def test_kill_is_at_one_and_not_before():
    """
    The account crosses when S reaches 1, to a billionth of a nat.
    """
    account = Account(1)
    account.deposit(0.25)
    account.update(np.array([-math.log(0.25) - 1e-9]))
    below = account.crossed()
    account.update(np.array([2e-9]))

    assert not below
    assert account.crossed()


@given(histories(), st.floats(0.0, 2.0))
def test_lowering_forgoes_and_never_gives(history, most: float):
    """
    Lowered, each component has the least of what it had and of the most; nothing is deposited by that.
    """
    eta, log_e = history
    account = Account(len(log_e[0]))
    replay(account, eta, log_e)
    before, paid = account.components, account.total_deposited
    account.lower(most)

    expected = [min(was, math.log(most) if most > 0.0 else -math.inf) for was in before]
    assert expected == list(account.components)
    assert paid == account.total_deposited


def test_reset_opens_no_new_budget():
    """
    After a kill the account is empty: only a new deposit makes another kill possible, and totals are kept.
    """
    account = Account(2)
    account.deposit(1e-3)
    account.update(np.array([50.0, 50.0]))
    assert account.crossed()
    account.reset()
    account.update(np.array([50.0, 50.0]))

    assert account.log_s() == -math.inf
    assert account.total_deposited == 1e-3


@settings(deadline=None)
@given(histories(), st.integers(0, 12))
def test_state_through_json_changes_nothing(history, cut):
    """
    An account written as JSON and read back goes on bit for bit as if nothing had happened.
    """
    eta, log_e = history
    whole, first = Account(len(log_e[0])), Account(len(log_e[0]))
    replay(first, eta[:cut], log_e[:cut])
    second = Account.from_state(json.loads(json.dumps(first.to_state(), allow_nan=False)))

    assert replay(whole, eta, log_e)[cut:] == replay(second, eta[cut:], log_e[cut:])
    assert second == whole


@settings(deadline=None)
@given(histories())
def test_merging_blocks_between_deposits_changes_nothing(history):
    """
    Blocks without a deposit in between may be added up and applied as one.
    """
    _, log_e = history
    one_by_one, at_once = Account(len(log_e[0])), Account(len(log_e[0]))
    one_by_one.deposit(0.01)
    at_once.deposit(0.01)
    for block in log_e:
        one_by_one.update(np.array(block))
    at_once.update(np.sum(log_e, axis=0))

    assert one_by_one.log_s() == pytest.approx(at_once.log_s(), abs=1e-9)


@settings(deadline=None)
@given(histories())
def test_many_accounts_advance_as_one_account_does(history):
    """
    The recursion on arrays of streams is the recursion of one account.
    """
    eta, log_e = history
    account, streams = Account(len(log_e[0])), np.full((3, len(log_e[0])), -math.inf)
    for budget, block in zip(eta, log_e, strict=True):
        account.deposit(budget)
        account.update(np.array(block))
        streams = advance(streams, math.log(budget) if budget > 0 else -math.inf, np.array(block))

    for stream in streams:
        np.testing.assert_array_equal(stream, account.components)


def test_evidence_is_of_now_however_often_it_was_asked_for():
    """
    Asking what an account holds changes nothing, and after a deposit, a block or a reset the answer is the new one.
    """
    asked, silent = Account(), Account()
    steps = [
        lambda account: account.deposit(1e-4),
        lambda account: account.update(np.linspace(-0.1, 0.4, 8)),
        lambda account: account.deposit(1e-3),
        lambda account: account.reset(),
        lambda account: account.deposit(1e-2),
    ]
    seen = []
    for step in steps:
        for account in (asked, silent):
            step(account)
        seen.append(asked.log_s())
        assert asked.log_s() == seen[-1] == Account.from_state(silent.to_state()).log_s()

    assert silent.log_s() == asked.log_s()
    assert len(set(seen)) == len(steps)


def test_components_are_a_copy():
    """
    What is shown cannot be used to change the account.
    """
    account = Account(2)
    account.deposit(0.5)
    account.components[:] = 99.0

    assert account.log_s() == pytest.approx(math.log(0.5))


def test_expected_false_kills_stay_within_the_deposits():
    """
    With resets, over 4,000 fair-coin streams, kills stay below what was deposited, and are not none.
    """
    rng = np.random.default_rng(20260)
    runs, blocks, eta, lift = 4_000, 200, 2e-3, 1.5
    up, down = math.log(2 * lift / (1 + lift)), math.log(2 / (1 + lift))
    log_s, kills = np.full((runs, 1), -math.inf), 0
    for _ in range(blocks):
        heads = rng.random((runs, 1)) < 0.5
        log_s = advance(log_s, math.log(eta), np.where(heads, up, down))
        killed = log_s >= 0.0
        kills += int(killed.sum())
        log_s = np.where(killed, -math.inf, log_s)

    assert 0.4 * runs * blocks * eta < kills <= runs * blocks * eta
