"""
All quantiles of latency at once.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import DEFAULT_SLOWDOWNS, DEFAULT_TAUS, Slowdown, slowness_block, slowness_blocks
from guardian.sequential.latency import count_above, quantile_key

KEYS = [100, 150, 190, 230]
weights = st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4)
histograms = st.dictionaries(st.integers(0, 400), st.integers(1, 1000), min_size=1, max_size=12)


def multinomial(n: int, law: np.ndarray) -> list[tuple[list[int], float]]:
    """
    Return every way ``n`` requests can fall into classes, with its chance.
    """
    answer = []
    for counts in np.ndindex(*(n + 1,) * len(law)):
        if sum(counts) == n:
            ways = math.factorial(n) // math.prod(math.factorial(k) for k in counts)
            answer.append((list(counts), ways * float(np.prod(law ** np.array(counts)))))
    return answer


def average(past, law_t, law_c, n_t, n_c, margin=1.0) -> np.ndarray:
    total = np.zeros(len(DEFAULT_SLOWDOWNS))
    for count_t, chance_t in multinomial(n_t, law_t):
        for count_c, chance_c in multinomial(n_c, law_c):
            arms = (dict(zip(KEYS, counts, strict=True)) for counts in (count_t, count_c))
            total += chance_t * chance_c * np.exp(slowness_block(past, *arms, margin=margin))
    return total


@settings(max_examples=25, deadline=None)
@given(weights, weights, weights, st.integers(1, 3), st.integers(1, 3))
def test_never_exceeds_one_on_average_where_treatment_is_no_slower(past, raw_c, moved, n_t, n_c):
    """
    Whatever control's past and present, ``E[e] <= 1`` as long as treatment exceeds no edge more often.
    """
    law_c = np.array(raw_c) / sum(raw_c)
    law_t = law_c.copy()
    for slower in (3, 2, 1):
        faster = law_t[slower] * moved[slower]
        law_t[slower] -= faster
        law_t[slower - 1] += faster
    histogram = dict(zip(KEYS, past, strict=True))

    assert (average(histogram, law_t, law_c, n_t, n_c) <= 1.0 + 1e-12).all()
    assert (average(histogram, law_c, law_c, n_t, n_c) <= 1.0 + 1e-12).all()


def test_the_average_is_one_where_the_arms_are_alike_and_one_request_each():
    """
    With one request an arm nothing is given away: the average over equal arms is the mean of products at most 1, near it.
    """
    law = np.array([0.25, 0.5, 0.15, 0.1])
    values = average({100: 25.0, 150: 50.0, 190: 15.0, 230: 10.0}, law, law, 1, 1)

    assert (values <= 1.0).all()
    assert (values > 0.6).all()
    assert values.max() > 0.99


def test_the_average_exceeds_one_where_treatment_is_slower():
    """
    The enumeration can fail: half of the requests one class slower is evidence on average.
    """
    law_c = np.array([0.25, 0.5, 0.15, 0.1])
    law_t = np.array([0.1, 0.3, 0.3, 0.3])

    assert average({100: 25.0, 150: 50.0, 190: 15.0, 230: 10.0}, law_t, law_c, 3, 3).max() > 1.1


@settings(max_examples=60, deadline=None)
@given(histograms, histograms, histograms, st.integers(1, 200))
def test_a_slower_request_never_lowers_evidence(past, treatment, control, by):
    """
    Making one treated request slower raises every component, or leaves it.
    """
    key = next(iter(treatment))
    slower = {**treatment, key: treatment[key] - 1}
    slower[key + by] = slower.get(key + by, 0) + 1
    before = slowness_block(past, treatment, control)

    assert (slowness_block(past, slower, control) >= before - 1e-9 * np.abs(before).max()).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(histograms, histograms, histograms), min_size=1, max_size=4))
def test_many_streams_are_the_one_stream_formula(streams):
    """
    Streams tested together get the evidence each gets alone.
    """
    rows = []
    for past, treatment, control in streams:
        edges = [quantile_key(past, tau) or 0 for tau in DEFAULT_TAUS.tolist()]
        total = sum(past.values())
        rows.append(
            (
                sum(treatment.values()),
                [count_above(treatment, edge) for edge in edges],
                sum(control.values()),
                [count_above(control, edge) for edge in edges],
                [count_above(past, edge) / total for edge in edges],
                total,
            )
        )
    n_t, x_t, n_c, x_c, beyond, weight = zip(*rows, strict=True)
    many = slowness_blocks(n_t, x_t, n_c, x_c, beyond=beyond, weight=weight)

    np.testing.assert_allclose(many, [slowness_block(*stream) for stream in streams], rtol=1e-12, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0.0, 2.0**53),
    st.floats(0.0, 2.0**53),
    st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6).map(lambda parts: sorted(parts, reverse=True)),
    st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6).map(lambda parts: sorted(parts, reverse=True)),
    st.floats(0.0, 1e12),
    st.sampled_from([DEFAULT_SLOWDOWNS, (Slowdown(1e-9, 8.0), Slowdown(1.0, 8.0), Slowdown(1.0, 1e-9))]),
)
def test_no_valid_input_gives_infinity_or_nan(n_t, n_c, parts, beyond, weight, slowdowns):
    """
    Any valid counts and any past give finite evidence.
    """
    x_t, x_c = ([min(part * n, n) for part in parts] for n in (n_t, n_c))

    assert np.isfinite(
        slowness_blocks(n_t, x_t, n_c, x_c, beyond=beyond, weight=weight, slowdowns=slowdowns)
    ).all()


def test_nothing_to_compare_is_no_evidence():
    """
    Without a past, or with an arm empty, every component says exactly nothing.
    """
    some = {100: 5.0, 150: 5.0}

    assert [0.0] * 8 == slowness_block({}, some, some).tolist()
    assert [0.0] * 8 == slowness_block(some, {}, some).tolist()
    assert [0.0] * 8 == slowness_block(some, some, {}).tolist()


def test_a_margin_lets_treatment_be_slower_by_as_much():
    """
    Treatment exactly as much slower as the margin allows looks like control itself.
    """
    past = dict.fromkeys(range(100, 140), 100.0)
    control = dict.fromkeys(range(100, 140), 10.0)
    slower = {key + 9: count for key, count in control.items()}

    assert slowness_block(past, slower, control).max() > 5.0
    assert slowness_block(past, control, control).tolist() == slowness_block(past, slower, control, margin=1.197).tolist()


@pytest.mark.parametrize(
    ("wrong", "names", "value"),
    [
        (lambda: slowness_blocks(5, [1, 2, 1, 0, 0, 0], 5, [0] * 6, beyond=[0.5] * 6, weight=9), "x_t", "2.0"),
        (lambda: slowness_blocks(5, [6, 2, 1, 0, 0, 0], 5, [0] * 6, beyond=[0.5] * 6, weight=9), "x_t", "6"),
        (lambda: slowness_blocks(5, [1] * 5, 5, [0] * 6, beyond=[0.5] * 6, weight=9), "x_t", "(5,)"),
        (lambda: slowness_blocks(5, [1] * 6, 5, [0] * 6, beyond=[1.5] * 6, weight=9), "beyond", "1.5"),
        (lambda: slowness_blocks(5, [1] * 6, 5, [0] * 6, beyond=[0.5] * 6, weight=-1), "weight", "-1"),
        (lambda: slowness_block({1: 1}, {1: 1}, {1: 1}, taus=[0.9, 0.5]), "taus", "0.9"),
        (lambda: slowness_block({1: 1}, {1: 3, 9: -2}, {1: 1}), "x_t", "-2.0"),
        (lambda: slowness_block({1: 1}, {1: 1}, {1: 1, 9: math.nan}), "n_c", "nan"),
        (lambda: slowness_block({1: 1}, {1: 1}, {1: 1}, slowdowns=[Slowdown(0.0, 1.0)]), "slowdowns", "0.0"),
        (lambda: slowness_block({1: 1}, {1: 1}, {1: 1}, margin=0.0), "margin", "0.0"),
    ],
)
def test_bad_input_is_named(wrong, names, value):
    """
    A ValueError names the argument and what is wrong with it.
    """
    with pytest.raises(ValueError) as refused:
        wrong()

    assert names in str(refused.value)
    assert value in str(refused.value)
