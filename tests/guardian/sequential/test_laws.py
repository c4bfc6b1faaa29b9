"""
What must not matter: who counted, in which order, under which name, on which side.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import (
    ErrorRateStream,
    StreamBank,
    count_block,
    latency_block,
    ratings_block,
    share_block,
    slowness_block,
    threshold_block,
    two_sample_block,
    two_sample_blocks,
)

units = st.tuples(st.integers(0, 200), st.floats(0.0, 1.0)).map(lambda drawn: (drawn[0], int(drawn[0] * drawn[1])))
ticks = st.lists(st.tuples(units, units).map(lambda arms: (*arms[0], *arms[1])), min_size=1, max_size=8)
rates = st.floats(1e-6, 0.99)


def split(tick: tuple[int, ...], cut: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """
    Share the requests of a tick between two workers.
    """
    n_t, x_t, n_c, x_c = tick
    first = int(cut * x_t) + int(cut * (n_t - x_t)), int(cut * x_t), int(cut * x_c) + int(cut * (n_c - x_c)), int(cut * x_c)
    return first, tuple(a - b for a, b in zip(tick, first, strict=True))


@settings(max_examples=60, deadline=None)
@given(ticks, st.floats(0.0, 1.0))
def test_sums_of_two_workers_are_the_sums_of_one(history, cut):
    """
    However the requests of a tick were shared between workers, their sums give bit for bit the same evidence.
    """
    whole, merged = ErrorRateStream(), ErrorRateStream()
    for tick in history:
        parts = split(tick, cut)
        assert all(0 <= x <= n for part in parts for n, x in (part[:2], part[2:]))
        whole.tick(*tick)
        merged.tick(*(a + b for a, b in zip(*parts, strict=True)))

    assert whole.account.to_state() == merged.account.to_state()


@settings(max_examples=60, deadline=None)
@given(ticks, st.integers(1, 5))
def test_any_batching_of_ticks_into_the_same_blocks_is_the_same(history, every):
    """
    A block is its sums: merging ticks before or inside the stream gives bit for bit the same evidence.
    """
    inside = ErrorRateStream(n_t_min=1e9)
    merged = np.zeros(4)
    for number, tick in enumerate(history, start=1):
        inside.tick(*tick)
        merged += np.array(tick)
        if number % every == 0:
            assert merged.tolist() == inside._open

    assert np.sum(history, axis=0).tolist() == inside._open


@settings(max_examples=60, deadline=None)
@given(st.lists(units, min_size=1, max_size=6), rates, st.integers(0, 6))
def test_evidence_against_a_fixed_limit_adds_up_in_any_grouping(history, p0, cut):
    """
    Threshold, share and count evidence of merged blocks is the sum of theirs: no grouping gains or loses anything.
    """
    groups = [history[:cut], history[cut:]]
    sums = [np.sum(group, axis=0) if group else np.zeros(2) for group in groups]

    for block in (
        lambda n, x: threshold_block(n, x, p0=p0),
        lambda n, x: share_block(x, n - x, p0),
        lambda n, x: count_block(x, n - x, p0, margin=1.2),
    ):
        one_by_one = np.sum([block(*given) for given in history], axis=0)
        np.testing.assert_allclose(sum(block(*total) for total in sums), one_by_one, rtol=1e-9, atol=1e-9)


histograms = st.dictionaries(st.integers(50, 200), st.integers(1, 50), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(histograms, histograms, histograms, histograms)
def test_merged_histograms_are_one_histogram(past, treatment, more, control):
    """
    Latencies counted by two workers are tested as if one had counted them.
    """
    merged = {key: treatment.get(key, 0) + more.get(key, 0) for key in {*treatment, *more}}
    reordered = dict(sorted(merged.items(), reverse=True))

    for test in (lambda t: latency_block(past, t, control, tau=0.9), lambda t: slowness_block(past, t, control)):
        assert test(merged).tolist() == test(reordered).tolist()


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(5)), st.lists(st.integers(0, 40), min_size=10, max_size=10))
def test_the_order_of_levels_does_not_matter(order, counts):
    """
    Ratings are tested by level, not by the order in which levels are listed.
    """
    levels, count_t, count_c = [0.0, 0.25, 0.5, 0.75, 1.0], counts[:5], counts[5:]
    again = ratings_block(*([values[i] for i in order] for values in (levels, count_t, count_c)), centre=0.6)

    np.testing.assert_allclose(ratings_block(levels, count_t, count_c, centre=0.6), again, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(units, units), min_size=2, max_size=6), st.randoms())
def test_which_row_a_stream_has_does_not_matter(streams, random):
    """
    A stream gets the same evidence in any row of a bank, and in a bank split over two workers.
    """
    blocks = np.array([(*t, *c) for t, c in streams], dtype=float)
    order = list(range(len(streams)))
    random.shuffle(order)
    together, shuffled, alone = StreamBank(len(order)), StreamBank(len(order)), StreamBank(1)
    for bank, rows in ((together, range(len(order))), (shuffled, order), (alone, [order[0]])):
        bank.deposit(1e-3)
        bank.update(two_sample_blocks(*blocks[list(rows)].T, p_hat=0.01))

    assert together.log_s()[order].tolist() == shuffled.log_s().tolist()
    assert together.log_s()[order[0]] == alone.log_s()[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), rates, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_scaling_both_arms_scales_the_evidence(n_t, n_c, p_hat, part_t, part_c):
    """
    Twice as many units of both arms, with twice as many events, are worth exactly twice as much.
    """
    once = two_sample_block(n_t, part_t * n_t, n_c, part_c * n_c, p_hat=p_hat)
    twice = two_sample_block(2 * n_t, 2 * part_t * n_t, 2 * n_c, 2 * part_c * n_c, p_hat=p_hat)

    np.testing.assert_allclose(twice, 2 * once, rtol=1e-11, atol=1e-11)
