"""
How much a variation differs from control: cheap to read, held at all times, the same however it is cut.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from guardian.estimates import DIFFERENCES, GATHER_MOST_S, RATIOS, Estimates, gain
from guardian.sequential import DifferenceScan, RatioScan

START_S = 1_800_000_000
BETS = 3

Second = tuple[int, int, int, int]


def seconds(seed: int, count: int, *, ratio: float = 1.0, extra: float = 0.0) -> Iterator[Second]:
    """
    Yield seconds in which control's rate swings from 1 to 5 % and treatment's is ``ratio`` times that plus ``extra``.
    """
    rng = np.random.default_rng(seed)
    for number in range(count):
        p = 0.03 + 0.02 * math.sin(number / 10.0)
        n_t, n_c = int(rng.integers(30, 50)), int(rng.integers(330, 390))
        yield n_t, int(rng.binomial(n_t, ratio * p + extra)), n_c, int(rng.binomial(n_c, p))


def read(blocks: Iterator[Second]) -> Estimates:
    estimates = Estimates()
    for number, block in enumerate(blocks):
        estimates.read(*block, at_ms=1_000 * (START_S + number), epoch_ms=7)
    return estimates


@pytest.mark.parametrize("sizes", [(2, 9), (5, 5), (7, 2)])
@pytest.mark.parametrize("guess", [0.0, 0.03, 0.4])
@pytest.mark.parametrize("p_c", [0.02, 0.3])
def test_no_margin_gains_on_average_where_it_holds(sizes, guess, p_c):
    """
    Whatever was guessed: at a ratio or a difference that is the margin, its e-values are worth at most 1 on average.
    """
    n_t, n_c = sizes
    ratios, differences = RATIOS * p_c, DIFFERENCES + p_c
    p_t = np.concatenate([ratios, differences])
    possible = (p_t > 0.0) & (p_t < 1.0)
    mean = np.zeros((p_t.size, BETS))
    for x_t, x_c in itertools.product(range(n_t + 1), range(n_c + 1)):
        chance = binom.pmf(x_t, n_t, np.where(possible, p_t, 0.5)) * binom.pmf(x_c, n_c, p_c)
        above = gain((n_t, x_t, n_c, x_c), guess, guess).reshape(2, p_t.size, BETS)[0]
        mean += chance[:, np.newaxis] * np.exp(above)

    assert possible.sum() > 40
    assert mean[possible].max() <= 1.0 + 1e-9


def test_swapped_arms_turn_everything_over():
    """
    What is gained for treatment above control is gained for control above treatment when they change places.
    """
    forth = gain((40, 3, 360, 8), 0.02, 0.05).reshape(2, -1)
    back = gain((360, 8, 40, 3), 0.05, 0.02).reshape(2, -1)
    ratios = [read(iter(blocks)).ratio() for blocks in ([(40, 8, 360, 9)] * 90, [(360, 9, 40, 8)] * 90)]
    (lo, hi), (low, high) = (interval or (None, None) for interval in ratios)

    np.testing.assert_allclose(forth, back[::-1])
    assert (lo or 0) > 1.0
    assert (1.0 / (hi or 0), 1.0 / (lo or 0)) == pytest.approx((low, high))


def test_they_are_nearly_as_narrow_as_the_scans():
    """
    After ten minutes both intervals hold the truth, exclude "no harm", and are at most twice as wide as the scans'.
    """
    ratio, difference = RatioScan(), DifferenceScan()
    blocks, more = list(seconds(3, 600, ratio=2.0)), list(seconds(4, 600, extra=0.02))
    for block in blocks:
        ratio.update(*block, elapsed_s=1.0)
    for block in more:
        difference.update(*block, elapsed_s=1.0)
    lo, hi = read(iter(blocks)).ratio() or (None, None)
    less, greater = read(iter(more)).difference() or (None, None)
    (low, high), (fewer, most) = ratio.interval(), difference.interval()

    assert lo is not None and hi is not None and low is not None and high is not None
    assert less is not None and greater is not None and fewer is not None and most is not None
    assert 1.0 < lo < 2.0 < hi
    assert 0.0 < less < 0.02 < greater
    assert hi - lo <= 2.0 * (high - low)
    assert greater - less <= 2.0 * (most - fewer)


@given(
    st.lists(
        st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(0, 200)] * 2), min_size=1, max_size=4),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_any_cutting_of_a_second_is_the_same(cut):
    """
    A second's outcomes may come in any pieces and any order: the state is the same, bit for bit.
    """
    pieces, whole, backwards = Estimates(), Estimates(), Estimates()
    for number, parts in enumerate(cut):
        blocks = [(n_t + 1, min(x_t, n_t), n_c + 1, min(x_c, n_c)) for n_t, x_t, n_c, x_c in parts]
        at_ms = 1_000 * (START_S + number)
        for estimates, order in ((pieces, blocks), (backwards, blocks[::-1])):
            for i, (n_t, x_t, n_c, x_c) in enumerate(order):
                estimates.read(n_t, x_t, n_c, x_c, at_ms + 200 * i, 7)
        n_t, x_t, n_c, x_c = map(sum, zip(*blocks, strict=True))
        whole.read(n_t, x_t, n_c, x_c, at_ms, 7)

    assert pieces == whole == backwards
    assert bool(whole.cells) == (len(cut) > 1)


def test_restored_it_goes_on_bit_for_bit():
    """
    State packs into less than 2 kB, and restored at any moment nothing afterwards is different.
    """
    whole, moved = Estimates(), Estimates()
    for number, block in enumerate(seconds(9, 60, ratio=1.5)):
        at_ms = 1_000 * START_S + 400 * number
        whole.read(*block, at_ms, 7 + number // 40)
        packed = msgspec.msgpack.encode(moved)
        moved = msgspec.msgpack.decode(packed, type=Estimates)
        moved.read(*block, at_ms, 7 + number // 40)

        assert len(packed) < 2_000
        assert msgspec.msgpack.encode(whole) == msgspec.msgpack.encode(moved)
    assert whole.ratio() == moved.ratio() is not None


def test_a_block_never_holds_two_epochs():
    """
    A ramp that meets an incident moves nothing: arms of equal rates stay equal, though pooled they do not.
    """
    estimates = Estimates()
    for number in range(40):
        n_t, rate, epoch_ms = (40, 0.0, 1) if number % 2 else (320, 0.25, 2)
        estimates.read(n_t, rate * n_t, 400 - n_t, rate * (400 - n_t), 1_000 * (START_S + number), epoch_ms)
    lo, hi = estimates.ratio() or (None, None)

    assert lo is not None and hi is not None
    assert lo < 1.0 < hi < 1.5


def test_it_is_tested_ever_more_rarely():
    """
    Ten minutes of traffic in 200 ms pieces are tested each second at first, then once in five.
    """
    estimates, tested = Estimates(), [0]
    for piece in range(5 * 600):
        before = estimates.cells
        estimates.read(8, piece % 3 == 0, 72, 2, 1_000 * START_S + 200 * piece, 7)
        if estimates.cells is not before:
            tested.append(piece // 5)
    gaps = np.diff(tested)

    assert gaps.min() == gaps[0] == 1
    assert gaps.max() == gaps[-1] == GATHER_MOST_S
    assert len(tested) < 600 / GATHER_MOST_S + 20


def test_without_both_arms_nothing_is_known():
    """
    Before any data there is no interval, and what waits for its other arm in vain is given up with its epoch.
    """
    fresh, alone = Estimates(), Estimates()
    for number in range(100):
        alone.read(50, 40, 0, 0, 1_000 * (START_S + number), 7)
    alone.read(1, 0, 1, 0, 1_000 * (START_S + 100), 8)
    alone.read(1, 0, 1, 0, 1_000 * (START_S + 101), 8)

    assert fresh.ratio() is fresh.difference() is None
    assert alone.ratio() == alone.difference() == (None, None)


@pytest.mark.parametrize("share", [1e-7, 1.0 - 1e-7])
@pytest.mark.parametrize("rate", [0.0, 1e-6, 1.0])
def test_extremes_stay_finite(share, rate):
    """
    The most uneven shares, no failures, nothing but failures: no number overflows, and equal arms stay equal.
    """
    estimates = Estimates()
    for number in range(30):
        n_t, n_c = 1e9 * share, 1e9 * (1.0 - share)
        estimates.read(n_t, rate * n_t, n_c, rate * n_c, 1_000 * (START_S + number), 7)
    lo, hi = estimates.ratio() or (None, None)

    assert np.isfinite(np.frombuffer(estimates.cells, "<f4")).all()
    assert (lo is None or lo < 1.0) and (hi is None or hi > 1.0)


def test_bad_counts_are_named():
    """
    More failures than outcomes are refused by name, and change nothing.
    """
    estimates = Estimates()
    with pytest.raises(ValueError, match="x_c is 6"):
        estimates.read(5, 1, 5, 6, 1_000, 1)

    assert estimates == Estimates()
