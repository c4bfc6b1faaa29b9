"""
Many streams in one bank are so many single streams, in every respect.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import Account, ControlRate, StreamBank, two_sample_block, two_sample_blocks

log_es = st.one_of(st.floats(-30.0, 30.0), st.sampled_from([-5000.0, 5000.0, -math.inf, 0.0]))
etas = st.one_of(st.just(0.0), st.floats(1e-300, 0.5))


@st.composite
def histories(draw):
    """
    Draw ``(deposits, log e-values)`` of up to 8 ticks of up to 4 streams of up to 3 components.
    """
    n, k, ticks = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 8))
    eta = [[draw(etas) for _ in range(n)] for _ in range(ticks)]
    return eta, [[[draw(log_es) for _ in range(k)] for _ in range(n)] for _ in range(ticks)]


def singles(eta, log_e, weights=None):
    """
    Return an account for each stream after the same history.
    """
    accounts = [Account(len(log_e[0][0]), weights) for _ in log_e[0]]
    for paid, values in zip(eta, log_e, strict=True):
        for account, one_paid, value in zip(accounts, paid, values, strict=True):
            account.deposit(one_paid)
            account.update(np.array(value))
    return accounts


def banked(eta, log_e, weights=None):
    bank = StreamBank(len(log_e[0]), len(log_e[0][0]), weights=weights)
    for paid, values in zip(eta, log_e, strict=True):
        bank.deposit(np.array(paid))
        bank.update(np.array(values))
    return bank


@settings(deadline=None, max_examples=150)
@given(histories(), st.booleans())
def test_a_bank_of_streams_is_so_many_accounts(history, weighted):
    """
    Wealth, log S, what was deposited and the verdict of every stream are those of an account of its own.
    """
    eta, log_e = history
    k = len(log_e[0][0])
    weights = [(i + 1) / (k * (k + 1) / 2) for i in range(k)] if weighted else None
    bank, accounts = banked(eta, log_e, weights), singles(eta, log_e, weights)

    np.testing.assert_allclose(bank.components, [account.components for account in accounts], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bank.log_s(), [account.log_s() for account in accounts], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bank.total_deposited, [account.total_deposited for account in accounts], rtol=1e-15)
    assert bank.crossed().tolist() == (bank.log_s() >= 0.0).tolist()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1e4)), min_size=1, max_size=10))
def test_a_bank_remembers_control_as_one_stream_does(blocks):
    """
    The guess of control's rate is that of `ControlRate` with the same half-life, bit for bit.
    """
    bank, rate = StreamBank(2, half_life_s=60.0), ControlRate(half_life_s=60.0)
    for n, part, elapsed_s in blocks:
        bank.remember([n, 0], [int(n * part), 0], elapsed_s)
        rate.remember(n, int(n * part), elapsed_s)

    np.testing.assert_allclose(bank.p_hat, [rate.p_hat, 0.0], rtol=1e-14)


@settings(deadline=None, max_examples=60)
@given(histories())
def test_state_through_bytes_changes_nothing(history):
    """
    A bank written as bytes and read back is the same bank, bit for bit.
    """
    bank = banked(*history)
    bank.remember(100, 7, 1.5)
    again = StreamBank.from_bytes(bank.to_bytes())

    assert bank.to_bytes() == again.to_bytes()
    np.testing.assert_array_equal(bank.log_s(), again.log_s())
    np.testing.assert_array_equal(bank.p_hat, again.p_hat)
    assert bank.half_life_s == again.half_life_s


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b"XXXX" + b[4:], lambda b: b[:7], lambda b: b + b"\0"])
def test_what_is_not_a_state_is_refused(spoil):
    """
    Cut, foreign or longer bytes are an error that says what was given, not a bank.
    """
    state = StreamBank(3).to_bytes()

    with pytest.raises(ValueError, match="state is .* bytes"):
        StreamBank.from_bytes(spoil(state))


def test_streams_come_and_go_without_touching_the_others():
    """
    New streams are empty and come last; removing some leaves the others as they were, in their order.
    """
    bank = StreamBank(3, 2)
    bank.deposit([0.1, 0.2, 0.3])
    bank.remember([100, 200, 300], [1, 4, 9], 0.0)
    before = bank.p_hat

    assert range(3, 5) == bank.grow(2)
    assert [0.1, 0.2, 0.3, 0.0, 0.0] == bank.total_deposited.tolist()
    bank.remove([1, 3])
    assert [0.1, 0.3, 0.0] == bank.total_deposited.tolist()
    assert [before[0], before[2], 0.0] == bank.p_hat.tolist()
    assert [math.log(0.1), math.log(0.3), -math.inf] == pytest.approx(bank.log_s().tolist())


def test_a_reset_empties_the_account_and_keeps_its_books():
    """
    After a kill a stream's account is empty, its deposits and its peak are still told, and others are untouched.
    """
    bank = StreamBank(2, 1)
    bank.deposit(0.5)
    bank.update([[3.0], [0.0]])
    assert [True, False] == bank.crossed().tolist()
    bank.reset(bank.crossed())

    assert [-math.inf, math.log(0.5)] == bank.log_s().tolist()
    assert [0.5, 0.5] == bank.total_deposited.tolist()
    assert [3.0 + math.log(0.5), math.log(0.5)] == pytest.approx(bank.peak_log_s.tolist())


def test_a_stream_without_a_block_is_left_as_it_is():
    """
    Zero units are worth exactly 1: a tick in which a stream has no block changes nothing of it.
    """
    bank = StreamBank(2)
    bank.deposit(1e-3)
    before = bank.components[1].tolist()
    bank.update(two_sample_blocks([100, 0], [9, 0], [900, 0], [9, 0], p_hat=bank.p_hat, margin=[1.2, 1.5]))

    assert before == bank.components[1].tolist()
    assert bank.log_s()[0] > math.log(1e-3)


@pytest.mark.parametrize("size", [-5000.0, 5000.0])
def test_log_e_of_five_thousand_survives_there_and_back(size):
    """
    Evidence of 5,000 nats either way is an ordinary state, and is undone exactly by as much to the other side.
    """
    bank = StreamBank(3)
    bank.deposit(1e-3)
    bank.update(np.full((3, 8), size))
    there = bank.log_s()
    bank.update(np.full((3, 8), -size))

    np.testing.assert_allclose(there, math.log(1e-3) + size, rtol=1e-12)
    np.testing.assert_allclose(bank.log_s(), math.log(1e-3), atol=1e-9)


def test_a_bank_decides_as_single_streams_do_over_a_whole_rollout():
    """
    Fifty streams of 40 ticks, sick and healthy, cross in the very ticks in which single accounts cross.
    """
    rng = np.random.default_rng(8)
    bank, crossed = StreamBank(50, half_life_s=30.0), []
    accounts: list[tuple[Account, ControlRate, list[bool]]] = [
        (Account(), ControlRate(half_life_s=30.0), []) for _ in range(50)
    ]
    sick = np.where(np.arange(50) < 25, 0.08, 0.01)
    for tick in range(40):
        n_t, n_c = rng.poisson(10, 50), rng.poisson(90, 50)
        x_t, x_c = rng.binomial(n_t, sick), rng.binomial(n_c, 0.01)
        bank.deposit(1e-3 if tick == 0 else 1e-6)
        bank.update(two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=bank.p_hat, margin=1.2))
        crossed.append(bank.crossed().tolist())
        bank.remember(n_c, x_c, 0.25)
        for i, (account, control, told) in enumerate(accounts):
            block = float(n_t[i]), float(x_t[i]), float(n_c[i]), float(x_c[i])
            account.deposit(1e-3 if tick == 0 else 1e-6)
            account.update(two_sample_block(*block, p_hat=control.p_hat, margin=1.2))
            told.append(account.crossed())
            control.remember(block[2], block[3], 0.25)

    assert [list(told) for told in zip(*crossed, strict=True)] == [told for _, _, told in accounts]
    assert any(crossed[-1][:25])
    assert not all(crossed[-1])


@pytest.mark.parametrize(
    ("wrong", "names", "value"),
    [
        (lambda: StreamBank(-1), "streams", "-1"),
        (lambda: StreamBank(1, 0), "k", "0"),
        (lambda: StreamBank(1, half_life_s=0.0), "half_life_s", "0.0"),
        (lambda: StreamBank(1, 2, weights=[0.5, 0.6]), "weights", "0.6"),
        (lambda: StreamBank(2).deposit([0.1, 1.0]), "eta", "1.0"),
        (lambda: StreamBank(2).deposit([0.1, 0.1, 0.1]), "eta", "(3,)"),
        (lambda: StreamBank(2).deposit(math.nan), "eta", "nan"),
        (lambda: StreamBank(2, 2).update([0.0, 0.0]), "log_e", "(2,)"),
        (lambda: StreamBank(2, 2).update([[0.0, 1.0], [math.nan, 0.0]]), "log_e[1]", "nan"),
        (lambda: StreamBank(1, 2).update([[0.0, math.inf]]), "log_e[0]", "inf"),
        (lambda: StreamBank(2).remember([5, 5], [1, 6], 1.0), "x_c", "6"),
        (lambda: StreamBank(2).remember(5, 1, [0.0, -1.0]), "elapsed_s", "-1.0"),
        (lambda: StreamBank(2).reset([2]), "rows", "2"),
        (lambda: StreamBank(2).remove([-1]), "rows", "-1"),
        (lambda: StreamBank(2).reset([0.5]), "rows", "0.5"),
        (lambda: StreamBank(2).reset([True]), "rows", "True"),
    ],
)
def test_bad_input_is_named(wrong, names, value):
    """
    A ValueError names the argument, and the value or shape that is wrong with it.
    """
    with pytest.raises(ValueError) as refused:
        wrong()

    assert names in str(refused.value)
    assert value in str(refused.value)
