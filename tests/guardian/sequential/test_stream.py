"""
The error-rate test of one stream, from ticks to the kill.
"""

from __future__ import annotations

import numpy as np
import pytest

from guardian.sequential import Account, ControlRate, ErrorRateStream, two_sample_block


def test_ticks_wait_until_both_arms_have_units():
    """
    Ticks are carried forward until both arms have enough units, and then tested as one block.

    T  0 0 2 1      block 0: ticks 0-2
    C  5 5 5 5      block 1: tick 3
    """
    stream = ErrorRateStream()
    results = [stream.tick(n_t, 0, 5, 1) for n_t in (0, 0, 2, 1)]

    assert [result and (result.block, result.ticks, result.n_t, result.n_c) for result in results] == [
        None,
        None,
        (0, 3, 2, 15),
        (1, 1, 1, 5),
    ]


def test_a_tick_is_guess_then_deposit_then_evidence_then_memory():
    """
    Each block is tested with the guess of the blocks before it, after its budget was paid.
    """
    ticks = [(10, 0, 90, 1), (10, 3, 90, 0), (8, 5, 92, 2)]
    stream = ErrorRateStream(eta_first_block=1e-3, eta_per_tick=1e-6, decay=0.9, margin=1.2)
    account, control = Account(8), ControlRate(decay=0.9)
    for number, tick in enumerate(ticks):
        account.deposit((1e-3 if number == 0 else 0.0) + 1e-6)
        account.update(two_sample_block(*tick, p_hat=control.p_hat, margin=1.2))
        result = stream.tick(*tick)

        assert result
        assert (result.p_hat, result.log_s) == (control.p_hat, account.log_s())
        control.remember(tick[2], tick[3])


@pytest.mark.parametrize(("x_t", "killed"), [(1, False), (5, True)])
def test_a_fivefold_error_rate_is_killed_and_the_same_is_not(x_t, killed):
    """
    Five percent against one percent is killed within a few hundred samples; one against one is not in ten thousand.
    """
    stream = ErrorRateStream()
    results = [stream.tick(100, x_t, 900, 9) for _ in range(100 if not killed else 6)]

    assert any(result and result.crossed for result in results) is killed


def test_arms_swapped_tell_the_opposite_story():
    """
    What is damning with the arms one way round is no evidence the other way round.
    """
    forth, back = ErrorRateStream(), ErrorRateStream()
    for _ in range(20):
        result, reverse = forth.tick(100, 5, 900, 9), back.tick(900, 9, 100, 5)

    assert result
    assert reverse
    assert result.crossed
    assert reverse.log_s < np.log(1e-3)
