"""Sums that fade: few or many, they are those of a dictionary, to the last bit and in the order of the first meeting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardian.remembered import Remembered
from guardian.sequential import quantile_key
from guardian.tally import Tally

COUNTS = st.dictionaries(st.integers(-40, 360), st.integers(1, 40).map(lambda n: n / 3), max_size=40)
BLOCKS = st.lists(st.tuples(COUNTS, st.sampled_from([1.0, 0.99, 0.5, 0.001])), max_size=8)


@given(BLOCKS)
def test_what_is_remembered_is_what_a_dictionary_would_hold(blocks: list[tuple[dict[int, float], float]]) -> None:
    """Whether counts are added one by one or as arrays, the same past leads to the same floats in the same order."""
    held, plain = Remembered(), dict[int, float]()
    n = 0.0
    for counts, keep in blocks:
        fresh = Tally(sum(counts.values()), 0.0, counts)
        held.add(fresh, keep)
        n = n * keep + fresh.n
        if keep < 1.0:
            plain = {key: count * keep for key, count in plain.items() if count * keep > 0.01}
        for key, count in counts.items():
            plain[key] = plain.get(key, 0.0) + count

    assert list(plain.items()) == list(held.counts.items())
    assert (n, plain) == (held.n, held.tally().counts)
    assert quantile_key(plain, 0.9) == quantile_key(held.histogram, 0.9)
