"""
The forms for many streams give each stream what the form for one gives it, to 1e-12, in hard regimes too.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import (
    additive_margin_block,
    additive_margin_blocks,
    count_block,
    count_blocks,
    exceedances,
    latency_block,
    latency_blocks,
    mean_block,
    mean_blocks,
    ratings_block,
    ratings_blocks,
    share_block,
    share_blocks,
    threshold_block,
    threshold_blocks,
    two_sample_block,
    two_sample_blocks,
)

sizes = st.one_of(st.just(0), st.floats(0.0, 6.0).map(lambda power: int(10**power)))
parts = st.floats(0.0, 1.0)
rates = st.one_of(
    st.sampled_from([0.0, 1.0, 1e-12, 1.0 - 1e-12]),
    st.floats(-13.0, -0.001).map(lambda power: 10**power),
    st.floats(-13.0, -0.001).map(lambda power: 1.0 - 10**power),
)
inner = rates.map(lambda rate: min(max(rate, 1e-13), 1.0 - 1e-13))
margins = st.sampled_from([1e-6, 0.5, 1.0, 1.05, 1.2, 3.0, 1e6])
deltas = st.one_of(st.sampled_from([0.0, 1e-9, -1e-9, 0.5, -0.5]), st.floats(-0.99, 0.99))


@st.composite
def blocks(draw):
    """
    Draw ``n_t, x_t, n_c, x_c`` from nothing to a million units an arm, at any rate.
    """
    n_t, n_c = draw(sizes), draw(sizes)
    return n_t, int(n_t * draw(st.one_of(parts, rates))), n_c, int(n_c * draw(st.one_of(parts, rates)))


def agree(many, singles) -> None:
    np.testing.assert_allclose(many, np.array(singles), rtol=1e-12, atol=1e-12)
    assert np.isfinite(many).all()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(blocks(), rates, margins), min_size=1, max_size=6))
def test_two_sample_blocks(streams):
    """
    Relative margins, one a stream.
    """
    block, p_hat, margin = zip(*streams, strict=True)
    many = two_sample_blocks(*np.array(block).T, p_hat=p_hat, margin=margin)

    agree(many, [two_sample_block(*b, p_hat=p, margin=m) for b, p, m in streams])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(blocks(), rates, deltas), min_size=1, max_size=4))
def test_additive_margin_blocks(streams):
    """
    Absolute margins, one a stream.
    """
    block, p_hat, delta = zip(*streams, strict=True)
    many = additive_margin_blocks(*np.array(block).T, p_hat=p_hat, delta=delta)

    agree(many, [additive_margin_block(*b, p_hat=p, delta=d) for b, p, d in streams])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(blocks(), rates, margins), min_size=1, max_size=6))
def test_count_blocks(streams):
    """
    Counts, with a share and a margin of each stream's own.
    """
    block, share, margin = zip(*streams, strict=True)
    _, x_t, _, x_c = np.array(block).T

    agree(
        count_blocks(x_t, x_c, share, margin=margin),
        [count_block(b[1], b[3], s, margin=m) for b, s, m in streams],
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(blocks(), inner), min_size=1, max_size=6))
def test_threshold_blocks(streams):
    """
    Thresholds, one a stream.
    """
    block, p0 = zip(*streams, strict=True)
    n, x, _, _ = np.array(block).T

    agree(threshold_blocks(n, x, p0=p0), [threshold_block(b[0], b[1], p0=p) for b, p in streams])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(sizes, sizes, inner), min_size=1, max_size=6), st.sampled_from([0.0, 0.01, 0.3]))
def test_share_blocks(streams, tolerance):
    """
    Shares, one a stream.
    """
    n_t, n_c, share = zip(*streams, strict=True)

    agree(
        share_blocks(n_t, n_c, share, tolerance=tolerance),
        [share_block(t, c, s, tolerance=tolerance) for t, c, s in streams],
    )


histograms = st.dictionaries(st.integers(0, 300), st.integers(1, 10_000), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(histograms, histograms, histograms, st.sampled_from([0.5, 0.95, 0.999])), min_size=1, max_size=5))
def test_latency_blocks(streams):
    """
    Latencies, with a past and a quantile of each stream's own.
    """
    rows = []
    for past, treatment, control, tau in streams:
        found = exceedances(past, treatment, control, tau=tau, margin=1.2)
        assert found is not None
        above = sum(count for key, count in past.items() if key > found.edge_key)
        rows.append((found.n_t, found.x_t, found.n_c, found.x_c, above / sum(past.values()), tau))
    *block, beyond, tau = np.array(rows).T

    agree(
        latency_blocks(*block, beyond=beyond, tau=tau),
        [latency_block(past, t, c, tau=level, margin=1.2) for past, t, c, level in streams],
    )


counts = st.lists(st.integers(0, 100_000), min_size=5, max_size=5)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(counts, counts, rates, parts), min_size=1, max_size=5))
def test_ratings_blocks(streams):
    """
    Ratings on five levels, with a centre and a drop of each stream's own.
    """
    count_t, count_c, centre, drop = zip(*streams, strict=True)
    levels = [0.0, 0.25, 0.5, 0.75, 1.0]
    many = ratings_blocks(levels, count_t, count_c, centre=centre, drop=drop)

    agree(many, [ratings_block(levels, t, c, centre=m, drop=d) for t, c, m, d in streams])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(counts, inner), min_size=1, max_size=5))
def test_mean_blocks(streams):
    """
    Ratings on five levels against a bound, one a stream.
    """
    given_counts, bound = zip(*streams, strict=True)
    levels = [0.0, 0.25, 0.5, 0.75, 1.0]

    agree(mean_blocks(levels, given_counts, bound=bound), [mean_block(levels, c, bound=b) for c, b in streams])


@pytest.mark.parametrize(
    ("wrong", "names", "value"),
    [
        (lambda: two_sample_blocks([5, 5], [1, 6], 5, 0, p_hat=0.1), "x_t", "6"),
        (lambda: two_sample_blocks(5, 1, 5, 0, p_hat=[0.1, 2.0]), "p_hat", "2.0"),
        (lambda: two_sample_blocks(5, 1, 5, 0, p_hat=0.1, margin=[1.0, 0.0]), "margin", "0.0"),
        (lambda: two_sample_blocks([1, 2, 3], [0, 0], 5, 0, p_hat=0.1), "n_t", "(3,)"),
        (lambda: additive_margin_blocks(5, 1, 5, [0, 9], p_hat=0.1, delta=0.1), "x_c", "9"),
        (lambda: additive_margin_blocks(5, 1, 5, 0, p_hat=0.1, delta=[0.1, -1.0]), "delta", "-1.0"),
        (lambda: count_blocks([1, -2], 0, 0.5), "x_t", "-2"),
        (lambda: count_blocks(1, 0, [0.5, 1.5]), "share", "1.5"),
        (lambda: count_blocks(1, 0, 0.5, margin=[1.0, 1e9]), "margin", "1000000000.0"),
        (lambda: threshold_blocks([5, 5], [1, 6], p0=0.1), "x ", "6"),
        (lambda: threshold_blocks(5, 1, p0=[0.1, 1.0]), "p0", "1.0"),
        (lambda: latency_blocks(5, 1, 5, 0, beyond=[0.1, 1.1], tau=0.9), "beyond", "1.1"),
        (lambda: latency_blocks(5, 1, 5, 0, beyond=0.1, tau=[0.9, 1.0]), "tau", "1.0"),
        (lambda: share_blocks([5, -1], 5, 0.5), "n_t", "-1"),
        (lambda: share_blocks(5, 5, [0.5, 0.0]), "share", "0.0"),
        (lambda: ratings_blocks([0, 1], [[1, 1], [1, -1]], [1, 1], centre=0.5), "count_t", "-1.0"),
        (lambda: ratings_blocks([0, 1], [[1, 1, 1]], [1, 1], centre=0.5), "count_t", "3"),
        (lambda: ratings_blocks([0, 1], [[1, 1], [1, 1]], [1, 1], centre=[0.5, 2.0]), "centre", "2.0"),
        (lambda: mean_blocks([0, 1], [[1, 1], [1, -1]], bound=0.5), "counts", "-1.0"),
        (lambda: mean_blocks([0, 1], [[1, 1], [1, 1]], bound=[0.5, 1.0]), "bound", "1.0"),
    ],
)
def test_bad_input_is_named(wrong, names, value):
    """
    A ValueError names the argument, and the first value that is wrong with it.
    """
    with pytest.raises(ValueError) as refused:
        wrong()

    assert names in str(refused.value)
    assert value in str(refused.value)
