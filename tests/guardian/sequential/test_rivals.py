"""
The rivals of the benchmark are what they claim to be: a comparison with a straw man would prove nothing.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from bench.rivals.chart import draw
from bench.rivals.growthbook import lower_bound
from bench.rivals.kayenta import counts, critical, shift
from bench.rivals.msprt import TAU, log_ratio
from bench.rivals.reading import Tick
from bench.rivals.rules import argo, flagger
from bench.rivals.zscore import NaiveZ
from bench.verdicts import HEALTHY, JUDGES, SICK, judge
from tests.comparators import growthbook_lower_bound


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**5), st.integers(1, 10**5), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_growthbook_is_its_closed_form(n_t, n_c, part_t, part_c):
    """
    On arrays it is the formula that agrees with GrowthBook's own library.
    """
    x_t, x_c = round(n_t * part_t), round(n_c * part_c)
    got = float(lower_bound(np.float64(n_t), x_t / n_t, np.float64(n_c), x_c / n_c, 0.05))

    assert growthbook_lower_bound(n_t, x_t, n_c, x_c, alpha=0.05) == pytest.approx(got, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=14, max_size=14, unique=True))
def test_kayenta_finds_a_shift_exactly_when_mann_and_whitney_do(values):
    """
    The lower end of its interval is above 0 exactly when the exact one-sided test rejects at 1 %.
    """
    treatment, control = np.array(values[:7]), np.array(values[7:])
    low, _ = shift(treatment[:, np.newaxis], control[:, np.newaxis])
    p = mannwhitneyu(treatment, control, alternative="greater", method="exact").pvalue

    assert (p < 0.01) == (low[0] > 0.0)


def test_kayenta_counts_every_order_once():
    """
    The orders of five and five values number 252, and the critical value is that of R's qwilcox(0.01, 5, 5).
    """
    assert 252.0 == counts(5, 5).sum()
    assert 2 == critical(5)


def test_msprt_is_the_integral_over_its_prior():
    """
    The closed form is the likelihood ratio averaged over a normal prior of its width.
    """
    n_t, p_t, n_c, p_c = 1_000.0, 0.03, 9_000.0, 0.01
    v = p_t * (1.0 - p_t) / n_t + p_c * (1.0 - p_c) / n_c
    effects = np.linspace(-10.0 * TAU, 10.0 * TAU, 400_001)
    ratio = np.exp((effects * (p_t - p_c) - 0.5 * effects**2) / v)
    prior = np.exp(-0.5 * (effects / TAU) ** 2) / (TAU * math.sqrt(2.0 * math.pi))
    integral = float((ratio * prior).sum() * (effects[1] - effects[0]))

    assert math.log(integral) == pytest.approx(float(log_ratio(n_t, p_t, n_c, np.float64(p_c))), abs=1e-9)


def minutes(rates: list[float]) -> list[Tick]:
    """
    Return a thousand treated requests in the first second of each minute, failing at these rates.
    """
    ticks = []
    for rate in rates:
        ticks.append(Tick(*(np.array([n]) for n in (1_000.0, 1_000.0 * rate, 9_000.0, 90.0))))
        ticks += [Tick(*(np.zeros(1) for _ in range(4)))] * 59
    return ticks


@pytest.mark.parametrize(("make", "killed_in_minute"), [(flagger, 7), (argo, 2)])
def test_rules_count_bad_minutes_and_forgive_none(make, killed_in_minute):
    """
    Flagger rolls back in its fifth bad minute, Argo in its first; good minutes in between change nothing.
    """
    rule = make(1, 0.01)
    killed = [bool(rule.read(tick)[0]) for tick in minutes([0.01, 0.03, 0.03, 0.01, 0.03, 0.03, 0.03])]

    assert 60 * killed_in_minute == killed.index(True) + 1


def test_the_naive_z_test_is_a_z_test():
    """
    It kills just above the quantile of its level, and not before a hundred treated requests.
    """
    above, below, few = (
        NaiveZ(1, 0.05).read(Tick(*(np.array([n]) for n in counts)))[0]
        for counts in ((1_000.0, 118.0, 1_000.0, 95.0), (1_000.0, 117.0, 1_000.0, 95.0), (99.0, 50.0, 1_000.0, 95.0))
    )

    assert (True, False, False) == (above, below, few)


def test_all_judges_read_the_same_rollouts():
    """
    Every judge kills within the horizon or never, and a twentyfold error rate is found by all of them but at other times.
    """
    found = judge(SICK["1 to 20 %, 10/90"], 20, seed=1)

    assert set(JUDGES) == set(found)
    assert all(np.isfinite(seconds).all() for seconds in found.values())
    assert max(JUDGES, key=lambda name: -found[name].mean()) == "ours"


def test_an_incident_in_a_ramp_fools_pooled_methods_and_not_ours():
    """
    Under the very same requests pooled totals kill healthy rollouts, and the block-wise test next to none.
    """
    found = judge(HEALTHY["ramp, 2 min incident"], 20, seed=2)

    assert np.isfinite(found["GrowthBook"]).all()
    assert np.isfinite(found["ours"]).sum() <= 2


def test_the_chart_is_an_svg_with_every_figure():
    """
    The chart names every judge and scene and shows a bug that was not found as such.
    """
    figures: dict[str, dict[str, float | None]] = {"false kills, %": {"calm & quiet": 1.5}, "delay, s": {"bug": None}}
    svg = draw({"ours": figures, "theirs": figures})

    assert svg.startswith("<svg")
    assert all(text in svg for text in ("calm &amp; quiet", "1.5 %", "not found", "ours", "theirs"))
