"""
Margins on either side of 1 and of 0, as the intervals need them: the promise holds at every one of them.
"""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardian.sequential import additive_margin_blocks, two_sample_blocks
from guardian.sequential.scans import _ALTERNATIVES
from tests.guardian.sequential.test_validity import ROUNDING, binomial

small = st.integers(1, 12)
rates = st.one_of(st.floats(1e-4, 0.999), st.floats(-4.0, 0.0).map(lambda power: min(0.999, 10**power)))


def average(n_t: int, n_c: int, p_t: float, p_c: float, blocks) -> np.ndarray:
    """
    Return ``E[e]`` of every alternative over all outcomes of a block.
    """
    x_t, x_c = np.meshgrid(np.arange(n_t + 1), np.arange(n_c + 1), indexing="ij")
    return np.einsum("t,c,tck->k", binomial(n_t, p_t), binomial(n_c, p_c), np.exp(blocks(x_t, x_c)))


@settings(max_examples=150, deadline=None)
@given(small, small, rates, rates, st.floats(-3.0, 3.0).map(np.exp), st.floats(0.0, 1.0))
@example(n_t=12, n_c=1, p_c=0.04, p_hat=0.9, margin=20.0, depth=1.0)
@example(n_t=1, n_c=12, p_c=0.9, p_hat=0.001, margin=0.05, depth=1.0)
def test_any_ratio(n_t, n_c, p_c, p_hat, margin, depth):
    """
    A tenth as many errors or ten times as many: on and below the boundary ``E[e] <= 1``.
    """
    p_t = depth * min(1.0, margin * p_c)

    def blocks(x_t, x_c):
        return two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=p_hat, margin=margin, grid=_ALTERNATIVES)

    values = average(n_t, n_c, p_t, p_c, blocks)

    assert (values <= 1.0 + ROUNDING).all()


@settings(max_examples=100, deadline=None)
@given(small, small, rates, rates, st.floats(-0.9, 0.9), st.floats(0.0, 1.0))
@example(n_t=5, n_c=7, p_c=0.6, p_hat=0.55, delta=-0.5, depth=1.0)
@example(n_t=5, n_c=7, p_c=0.011, p_hat=0.011, delta=-0.01, depth=1.0)
def test_any_difference(n_t, n_c, p_c, p_hat, delta, depth):
    """
    Half as likely or twice, in points: on and below the boundary ``E[e] <= 1``.
    """
    if p_c + delta < 0.0:
        return
    p_t = depth * min(1.0, p_c + delta)

    def blocks(x_t, x_c):
        return additive_margin_blocks(n_t, x_t, n_c, x_c, p_hat=p_hat, delta=delta, grid=_ALTERNATIVES)

    values = average(n_t, n_c, p_t, p_c, blocks)

    assert (values <= 1.0 + ROUNDING).all()


@settings(max_examples=60, deadline=None)
@given(small, small, rates, st.floats(0.2, 5.0), st.integers(0, 12), st.integers(0, 12))
def test_a_harder_margin_is_never_easier_to_exceed(n_t, n_c, p_hat, margin, x_t, x_c):
    """
    Evidence against a lower margin may be large while that against a higher one is small, never both ways round.

    At the same alternative a block cannot say that treatment exceeds 1.5 times control and is below 1.2 times it.
    """
    block = n_t, min(x_t, n_t), n_c, min(x_c, n_c)
    above = two_sample_blocks(*block, p_hat=p_hat, margin=1.25 * margin)
    swapped = block[2], block[3], block[0], block[1]
    below = two_sample_blocks(*swapped, p_hat=min(p_hat * margin, 0.999), margin=1.0 / margin)

    assert min(above.max(), below.max()) <= 1e-9
