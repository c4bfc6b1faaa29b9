"""
The guess of control's rate: from the past only, and never in the way.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import ControlRate


def test_first_blocks_have_no_guess():
    """
    Before any control event the guess is 0, so that a stream starts with the count test.
    """
    rate = ControlRate(decay=0.99)
    rate.remember(100, 0)

    assert rate.p_hat == 0.0


def test_a_block_counts_only_for_the_next_one():
    """
    The guess read before `remember` knows nothing of the block: prior 500 units without an event, then decay.
    """
    rate = ControlRate(decay=0.5)
    before = rate.p_hat
    rate.remember(100, 10)

    assert before == 0.0
    assert rate.p_hat == 10 / (0.5 * 500 + 100)


def test_half_life_is_a_half_life():
    """
    After one half-life of silence what was remembered counts half against what is new.
    """
    rate = ControlRate(half_life_s=60.0, dx=10.0, dn=1000.0)
    rate.remember(500, 0, elapsed_s=60.0)

    assert rate.to_state() == [5.0, 1000.0]


@pytest.mark.parametrize("elapsed_s", [1e3, 1e5, 1e9])
def test_a_long_silence_is_no_accident(elapsed_s):
    """
    However long nothing happens, the guess stays a rate: at worst it is forgotten to 0.
    """
    rate = ControlRate(half_life_s=1.0, dx=10.0, dn=1000.0)
    rate.remember(0, 0, elapsed_s=elapsed_s)

    assert rate.p_hat == 0.0 or rate.p_hat == pytest.approx(0.01)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0.0, 1.0), st.floats(0.0, 1e4)), max_size=30))
def test_guess_is_always_a_rate(blocks):
    """
    Whatever was remembered, the guess lies in [0, 1].
    """
    rate = ControlRate(half_life_s=60.0)
    for n, part, elapsed_s in blocks:
        rate.remember(n, part * n, elapsed_s)

        assert 0.0 <= rate.p_hat <= 1.0


def test_state_through_json_changes_nothing():
    """
    A memory written as JSON and read back gives the same guess, bit for bit.
    """
    rate = ControlRate(decay=0.99)
    for n, x in ((100, 1), (37, 2), (5, 0)):
        rate.remember(n, x)

    assert ControlRate.from_state(json.loads(json.dumps(rate.to_state())), decay=0.99) == rate
