"""
What it costs that outcomes carry no unit id, measured: by the test itself, and by replay of recorded rollouts.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from guardian.tempering import tempered_factor
from tests.calibration.lab import KEEP, Delay, Peeking
from tests.calibration.scenes import WORLD, Scene
from tests.calibration.test_recordings import decisions
from tests.support.recorded import Feedback, Harm, record

RUNS, ALPHA = 400, 1e-3
PLAIN = replace(
    WORLD, seconds=45.0, rps=200.0, users=10_000_000, attributes={}, quality=None, conversion=None, feedback=Feedback()
)
"""Nearly every request is another user's, so that naming them changes nothing but the rule by which they count."""


def until_found(rates: tuple[float, float], sizes: tuple[int, int], cluster: float, margin: float) -> Delay:
    """Return the treated requests until harm is found, where each failure counts as ``1/cluster``."""
    rng = np.random.default_rng(17)
    peeking = Peeking(RUNS, margin=margin, keep=KEEP ** (sizes[0] / 10.0))
    alive, seen, end = np.arange(RUNS), 0, np.full(RUNS, np.nan)
    while alive.size:
        seen += sizes[0]
        x_t, x_c = (rng.binomial(n, p, alive.size) / cluster for n, p in zip(sizes, rates, strict=True))
        going = peeking.read(float(sizes[0]), x_t, float(sizes[1]), x_c) < -math.log(ALPHA)
        end[alive[~going]] = seen
        alive = alive[going]
        peeking.keep_only(going)
    return Delay.of(end)


@pytest.mark.parametrize(
    ("p_t", "margin", "cluster"), [(0.02, 1.0, 2.0), (0.02, 1.0, 5.0), (0.05, 1.0, 2.0), (0.024, 1.2, 2.0)]
)
def test_the_factor_is_what_the_test_needs(p_t: float, margin: float, cluster: float):
    """
    With a tenth treated and 1 % of control failing, so many times as many requests are needed as the factor says.
    """
    whole, parts = (until_found((p_t, 0.01), (10, 90), one, margin) for one in (1.0, cluster))
    ratio = parts.mean / whole.mean
    error = ratio * math.hypot(whole.error / whole.mean, parts.error / parts.mean)

    assert abs(tempered_factor(p_t, 0.01, 0.1, cluster, margin) / ratio - 1.0) < 0.05 + 2.0 * error / ratio


@pytest.mark.parametrize("names_units", [True, False])
@pytest.mark.parametrize(("when", "harm"), [("error_rate > 3%", 5.0), ("error_rate > control + 2%", 5.0)])
def test_amounts_are_the_same_without_unit_ids(when: str, harm: float, names_units: bool):
    """
    A guardrail with an amount finds what lies above that amount, whether units are named or not.
    """
    world = replace(PLAIN, names_units=names_units, harm=Harm(errors=harm))
    made = list(decisions(record(world), Scene(when, Harm(), 0, then="kill").policy("50%")))

    assert ["kill"] == [decision.action for decision in made]


@pytest.mark.parametrize("when", ["error_rate > 5%", "error_rate > control + 4%"])
def test_what_lies_below_an_amount_is_left_alone_without_unit_ids(when: str):
    """
    Failures without a unit that come in pairs of one user, at a rate below the amount, kill nothing.
    """
    for seed in range(3):
        world = replace(PLAIN, names_units=False, harm=Harm(errors=4.0), seed=seed)

        assert [] == list(decisions(record(world), Scene(when, Harm(), 0, then="kill").policy("50%")))
