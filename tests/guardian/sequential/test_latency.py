"""
Latency buckets, and what is counted in them.
"""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import (
    LatencyMemory,
    bucket_edge,
    bucket_key,
    count_above,
    counts_above,
    cuts,
    exceedances,
    latency_block,
    margin_shift,
    quantile_key,
    quantile_keys,
)

latencies = st.floats(1e-6, 1e12)


@settings(deadline=None)
@given(latencies)
def test_a_latency_lies_in_its_bucket(value):
    """
    Every latency lies above the edge below its bucket and at or below its own, as floats, without exception.
    """
    key = bucket_key(value)

    assert bucket_edge(key - 1) < value <= bucket_edge(key)


@settings(deadline=None)
@given(st.integers(-600, 1300))
def test_an_edge_belongs_to_the_bucket_below_it(key):
    """
    A latency exactly on an edge is in that edge's bucket; the next float above is in the next.
    """
    edge = bucket_edge(key)

    assert bucket_key(edge) == key
    assert bucket_key(math.nextafter(edge, math.inf)) == key + 1


@pytest.mark.parametrize(("value", "like"), [(0.0, 1e-6), (1e-9, 1e-6), (1e300, 1e12), (math.inf, 1e12)])
def test_absurd_latencies_share_the_outermost_buckets(value, like):
    """
    A broken clock can fill a bucket, not a memory.
    """
    assert bucket_key(value) == bucket_key(like)


@settings(deadline=None)
@given(st.lists(latencies, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_quantile_key_is_the_bucket_of_the_order_statistic(values, tau):
    """
    The quantile's bucket is the bucket of the smallest value with at least a part tau at or below it.
    """
    buckets: dict[int, float] = {}
    for value in values:
        buckets[bucket_key(value)] = buckets.get(bucket_key(value), 0) + 1
    rank = math.ceil(tau * len(values) * (1 - 1e-12))

    assert quantile_key(buckets, tau) == bucket_key(sorted(values)[rank - 1])


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(-50, 50), st.floats(0.0, 1e6), max_size=40),
    st.lists(st.integers(-60, 60), min_size=1, max_size=8),
    st.lists(st.floats(0.01, 0.999), min_size=1, max_size=6),
)
def test_several_edges_and_quantiles_at_once_are_those_one_by_one(buckets, keys, taus):
    """
    Counting above several edges, and looking for several quantiles, gives for each what it gives alone.
    """
    one_by_one = [quantile_key(buckets, tau) for tau in taus]

    assert np.allclose(counts_above(buckets, keys), [count_above(buckets, key) for key in keys], rtol=1e-12)
    assert quantile_keys(buckets, taus) == [key for key in one_by_one if key is not None]

    found, above = cuts(buckets, taus)
    assert found == quantile_keys(buckets, taus)
    assert above.tolist() == counts_above(buckets, found).tolist()


def test_merging_histograms_and_counting_commute():
    """
    Counts above an edge are exact: those of two workers add up to those of both together.
    """
    past, one, two, control = {100: 90.0, 200: 10.0}, {100: 5, 150: 3}, {150: 4, 250: 2}, {100: 50, 201: 3}
    both = {100: 5, 150: 7, 250: 2}
    parts = [exceedances(past, arm, control, tau=0.9) for arm in (one, two, both)]

    assert [part and (part.edge_key, part.x_t) for part in parts] == [(100, 3), (100, 6), (100, 9)]


@pytest.mark.parametrize(("margin", "buckets"), [(1.0, 0), (1.2, 9), (2.0, 35), (0.5, -35)])
def test_margin_is_a_whole_number_of_buckets(margin, buckets):
    """
    The margin is rounded to whole buckets, so that it is exact at the edges.
    """
    assert margin_shift(margin) == buckets


def test_a_memory_without_a_past_says_nothing():
    """
    Before control has a past there is no quantile to exceed, and no evidence.
    """
    assert latency_block({}, {100: 5}, {100: 5}, tau=0.95).tolist() == [0.0] * 8
    assert quantile_key({}, 0.5) is None


def test_half_as_fast_is_found_and_as_fast_is_not():
    """
    Treatment twice as slow is found in a few hundred requests; within the margin it is not.
    """
    random.seed(5)
    control = histogram(1.0, 2000)

    assert latency_block(control, histogram(2.0, 300), control, tau=0.9).max() > 20.0
    assert latency_block(control, histogram(1.3, 3000), control, tau=0.9, margin=1.5).max() <= 0.0


def histogram(factor: float, n: int) -> dict[int, int]:
    keys = [bucket_key(factor * random.lognormvariate(4.0, 0.8)) for _ in range(n)]
    return dict(zip(*np.unique(keys, return_counts=True), strict=True))


def test_memory_halves_by_its_half_life_and_forgets():
    """
    What was remembered counts half after a half-life, and is gone when it no longer matters.
    """
    memory = LatencyMemory(half_life_s=60.0)
    memory.remember({100: 8.0}, 0.0)
    memory.remember({110: 1.0}, 60.0)
    halved = dict(memory.buckets)
    memory.remember({}, 1e6)

    assert halved == {100: 4.0, 110: 1.0}
    assert memory.buckets == {}
