"""The account that forgets: its bound at every moment, and what it remembers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from guardian.sequential import Fading, two_sample_block

ALPHA = 0.05


def test_without_harm_its_mean_is_alpha_at_every_moment() -> None:
    """Over all 1,024 ways in which ten fair bets can end, S is alpha on average, whatever the times between them."""
    elapsed = [0.0, 0.2, 1.0, 1.0, 30.0, 0.0, 600.0, 1.0, 5.0, 1.0]
    for length in (1, 4, 10):
        total = 0.0
        for ends in itertools.product((0.25, 1.75), repeat=length):
            account = Fading(ALPHA, k=2)
            for e, seconds in zip(ends, elapsed, strict=False):
                account.update(np.log([e, (1.0 + e) / 2.0]), seconds)
            total += math.exp(account.log_s())
        assert total / 2**length == pytest.approx(ALPHA, rel=1e-12)


def test_what_flows_in_makes_up_for_what_flows_out() -> None:
    """Time alone changes nothing while there is no evidence."""
    account = Fading(ALPHA)
    for _ in range(1_000):
        account.update(np.zeros(8), 1.0)

    assert 0.0 == pytest.approx(account.log_e(), abs=1e-9)
    assert not account.is_evident()


@pytest.mark.parametrize("good_s", [60, 86_400])
def test_a_long_good_history_is_forgotten(good_s: int) -> None:
    """Harm that begins after a good day is evident as soon as after a good minute."""
    account = Fading(ALPHA)
    for _ in range(good_s // 10):
        account.update(two_sample_block(50, 0, 50, 1, p_hat=0.01), 10.0)
    seconds = 0
    while not account.is_evident():
        account.update(two_sample_block(50, 10, 50, 0, p_hat=0.01), 1.0)
        seconds += 1

    assert 1 <= seconds <= 2


def test_evidence_is_forgotten_when_it_ends() -> None:
    """An hour after harm has ended nothing is evident any more."""
    account = Fading(ALPHA)
    account.update(two_sample_block(50, 10, 50, 0, p_hat=0.01), 1.0)
    account.update(two_sample_block(50, 10, 50, 0, p_hat=0.01), 1.0)
    assert account.is_evident()
    for _ in range(20 * 600):
        account.update(np.zeros(8), 1.0)

    assert 0.0 == pytest.approx(account.log_e(), abs=0.01)


def test_its_state_is_all_of_it() -> None:
    """An account made from a state goes on as the first one does, bit for bit."""
    first = Fading(0.01)
    first.update(two_sample_block(20, 3, 30, 1, p_hat=0.02), 1.0)
    second = Fading.from_state(first.to_state())
    for account in (first, second):
        account.update(two_sample_block(10, 1, 30, 1, p_hat=0.02), 0.4)

    assert first.to_state() == second.to_state()


def test_no_evidence_at_all_is_no_error() -> None:
    """An e-value of 0 empties its component, until time fills it again."""
    account = Fading(ALPHA, k=1)
    account.update(np.array([-np.inf]), 1.0)
    assert -math.inf == account.log_s()
    account.update(np.zeros(1), 1_000_000.0)

    assert ALPHA == pytest.approx(math.exp(account.log_s()))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: Fading(0.0), "alpha is 0.0"),
        (lambda: Fading(1.0), "alpha is 1.0"),
        (lambda: Fading(0.1, k=0), "k is 0"),
        (lambda: Fading(0.1).update(np.zeros(3), 1.0), "shape"),
        (lambda: Fading(0.1).update(np.full(8, np.nan), 1.0), "below infinity"),
        (lambda: Fading(0.1).update(np.zeros(8), -1.0), "elapsed_s is -1.0"),
        (lambda: Fading.from_state([0.1, 0.0, 0.0, 0.0]), "4 numbers"),
    ],
)
def test_wrong_use_is_refused(wrong, why: str) -> None:
    """What makes no sense is refused with what was given."""
    with pytest.raises(ValueError, match=why):
        wrong()
