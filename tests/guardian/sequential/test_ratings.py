"""
Ratings of two arms.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guardian.sequential import RatingCentre, mean_block, ratings_block

STARS = [0.0, 0.25, 0.5, 0.75, 1.0]
counts = st.lists(st.integers(0, 1000), min_size=5, max_size=5)


@settings(deadline=None)
@given(counts, counts, st.floats(0.0, 1.0), st.floats(0.0, 0.5), st.integers(1, 4))
def test_a_lower_rating_in_treatment_never_lowers_evidence(count_t, count_c, centre, drop, star):
    """
    Moving one treatment rating down a star raises every component, or leaves it.
    """
    if count_t[star] == 0:
        return
    lower = list(count_t)
    lower[star] -= 1
    lower[star - 1] += 1
    before = ratings_block(STARS, count_t, count_c, centre=centre, drop=drop)
    after = ratings_block(STARS, lower, count_c, centre=centre, drop=drop)

    assert (after >= before - 1e-9).all()


@settings(deadline=None)
@given(counts, counts, st.sampled_from([0.0, 1e-300, 0.5, 1.0]), st.sampled_from([0.0, 0.1, 1.0]))
def test_no_centre_gives_infinity_or_nan(count_t, count_c, centre, drop):
    """
    A guess at either end of the scale is as good as any.
    """
    assert np.isfinite(ratings_block(STARS, count_t, count_c, centre=centre, drop=drop)).all()


def test_an_empty_arm_is_no_evidence():
    """
    Ratings of one arm alone compare nothing.
    """
    assert ratings_block(STARS, [0] * 5, [3] * 5, centre=0.5).tolist() == [0.0] * 8


def test_bucket_edges_only_understate_a_fall():
    """
    Scores in buckets, rated by the upper edge in treatment and the lower in control, never look worse than they are.
    """
    exact = ratings_block([0.15, 0.55, 0.95], [30, 40, 10], [10, 40, 30], centre=0.5)
    bucketed = ratings_block([0.2, 0.6, 1.0], [30, 40, 10], [10, 40, 30], centre=0.5, levels_c=[0.1, 0.5, 0.9])

    assert (bucketed <= exact).all()


def test_a_real_fall_is_evidence():
    """
    Treatment rated a star lower by two hundred users is beyond doubt.
    """
    log_e = ratings_block(STARS, [50, 50, 50, 30, 20], [10, 20, 30, 60, 80], centre=0.6)

    assert log_e.max() > 20.0


def test_centre_knows_only_the_past():
    """
    The centre starts at 0.7, from two imagined ratings, and moves only when told.
    """
    centre = RatingCentre()
    before = centre.mean
    centre.remember(STARS, [0, 0, 0, 0, 10])

    assert 0.7 == before
    assert pytest.approx(11.4 / 12) == centre.mean


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=5, unique=True),
    st.lists(st.floats(0.01, 1.0), min_size=5, max_size=5),
    st.floats(0.05, 0.95),
    st.integers(1, 4),
)
def test_a_mean_at_the_bound_or_above_gives_no_evidence_on_average(levels, weights, bound, n):
    """
    E[e] <= 1 for every law of ratings whose mean is at least the bound, by enumeration.
    """
    y = np.array(levels)
    law = np.array(weights[: y.size]) / sum(weights[: y.size])
    assume(law @ y >= bound)
    expected = np.zeros(8)
    for drawn in itertools.product(range(y.size), repeat=n):
        counts = np.bincount(drawn, minlength=y.size).astype(float)
        expected += math.prod(law[one] for one in drawn) * np.exp(mean_block(y, counts, bound=bound))

    assert (expected <= 1.0 + 1e-12).all()


def test_a_mean_below_the_bound_is_evidence():
    """
    A mean of 0.7 where 0.8 is the bound is found within some hundred ratings that vary little.
    """
    log_e = mean_block([0.6, 0.7, 0.8], [30, 40, 30], bound=0.8)

    assert log_e.max() > math.log(1000.0)


@pytest.mark.parametrize(("changes", "name"), [({"bound": 1.0}, "bound"), ({"counts": [1]}, "counts"), ({"bets": [1.0]}, "bets")])
def test_a_mean_is_refused_what_it_cannot_read(changes, name):
    """
    A bound on the edge, counts of another length and unsafe bets are refused by name.
    """
    given_values = {"levels": [0.0, 1.0], "counts": [1, 2], "bound": 0.5} | changes

    with pytest.raises(ValueError, match=name):
        mean_block(**given_values)
