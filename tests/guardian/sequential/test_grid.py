"""
The grid of alternatives.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from guardian.sequential import DEFAULT_GRID, ratio_grid


def test_grid_is_even_in_the_log_of_the_log():
    """
    Neighbouring ratios lie equally far apart in log log, and the ends are exactly as asked.
    """
    steps = np.diff(np.log(np.log(ratio_grid(12, 1.1, 100.0))))

    np.testing.assert_allclose(steps, steps[0], rtol=1e-12)
    assert (ratio_grid(12, 1.1, 100.0)[0], ratio_grid(12, 1.1, 100.0)[-1]) == (1.1, 100.0)


def test_one_component_is_the_lower_end():
    """
    A grid of one is its lower end.
    """
    assert ratio_grid(1, 3.0, 60.0).tolist() == [3.0]


def test_shared_grids_cannot_be_changed():
    """
    A grid is shared by all streams, so nobody can write to it.
    """
    with pytest.raises(ValueError, match="read-only"):
        DEFAULT_GRID[0] = 2.0


@pytest.mark.parametrize("effect", [1.25, 1.5, 2.0, 5.0, 20.0])
def test_no_effect_is_far_from_an_alternative(effect):
    """
    For effects from 1.25x to 20x the nearest alternative keeps 93 % of the information that the effect itself has.
    """
    p = 1e-4

    def information(g: float) -> float:
        return p * (effect * math.log(g) - (g - 1.0))

    assert max(information(g) for g in DEFAULT_GRID) > 0.93 * information(effect)
