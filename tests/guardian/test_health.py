"""Health is shown by non-inferiority: as rarely by chance as allowed, and soon where it is so."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.betting import Past
from guardian.conditions import Absolute, Bound, Condition, Margin, Relative, parse_condition
from guardian.health import health_log_e, rates_shown, readings, score_levels
from guardian.levels import BEST, WORST
from guardian.lines import Line
from guardian.plan import MEASURE, RATING, THUMB
from guardian.policy import Policy
from guardian.progress import Shown
from guardian.sequential import bucket_edge, bucket_key
from guardian.tally import Pair, Tally
from tests.support.courses import Course, told
from tests.support.sums import World, ratings
from tests.support.traffic import policy

ROUNDING = 1e-12
SIGNALS = {"quality": {"measure": "quality", "range": [0, 1]}}
small = st.integers(1, 7)
rates = st.floats(1e-3, 0.999)
Rng = np.random.Generator
FAILURES = Line("failures", "failures")


@pytest.fixture
def rng(dice: random.Random) -> Rng:
    return np.random.default_rng(dice.randrange(2**32))


BOUNDS = ["< 1.1x control", "< 3x control", "< 0.8x control", "< control + 0.5%", "< control - 5%", "< 5%", "< 60%"]


def binomial(n: int, p: float) -> list[float]:
    return [math.comb(n, x) * p**x * (1.0 - p) ** (n - x) for x in range(n + 1)]


def least(bound: Bound, p_c: float) -> float:
    """Treatment's rate, or mean, on the edge of what the condition excludes."""
    if isinstance(bound, Absolute):
        return bound.value
    assert isinstance(bound, Relative | Margin)
    return bound.factor * p_c if isinstance(bound, Relative) else p_c + bound.delta


@settings(max_examples=150, deadline=None)
@given(
    text=st.sampled_from(BOUNDS),
    n_t=small, n_c=small, p_c=rates, p_hat=st.floats(0.0, 1.0), depth=st.floats(0.0, 1.0),
)  # fmt: skip
def test_rates_show_nothing_on_average_where_it_is_not_so(text: str, n_t: int, n_c: int, p_c: float, p_hat: float, depth: float):
    """
    Wherever treatment's rate is at the bound or above it, whatever control's and the guess, ``E[e] <= 1``.
    """
    condition = parse_condition(f"error_rate {text}")
    bound = least(condition.bound, p_c)
    if not 0.0 <= bound <= 1.0:
        return
    law_t, law_c = binomial(n_t, bound + depth * (1.0 - bound)), binomial(n_c, p_c)
    average = np.zeros(8)
    for x_t, x_c in product(range(n_t + 1), range(n_c + 1)):
        average += law_t[x_t] * law_c[x_c] * np.exp(rates_shown(condition, (n_t, x_t, n_c, x_c), p_hat))

    assert (average <= 1.0 + ROUNDING).all()


SCORES = [
    ("csat > control - 0.3", (1.0, 5.0), Line(RATING, "score", score=RATING, range=(1.0, 5.0))),
    ("csat > 3.8", (1.0, 5.0), Line(RATING, "score", score=RATING, range=(1.0, 5.0))),
    ("quality > 0.9x control", (0.0, 1.0), Line("measure:quality", "score", score=f"{MEASURE}quality")),
    ("quality < 1.2x control", (0.0, 1.0), Line("measure:quality", "score", score=f"{MEASURE}quality")),
    ("quality < control + 0.1", (0.0, 1.0), Line("measure:quality", "score", score=f"{MEASURE}quality")),
    ("quality < 0.4", (0.0, 1.0), Line("measure:quality", "score", score=f"{MEASURE}quality")),
]
STEPS = (WORST, BEST // 4, BEST // 2, BEST // 4 * 3, BEST)


def asked(text: str) -> Condition:
    guardrails, stages = [{"when": "quality > 0.99", "then": "pause"}], [{"share": "10%", "until": text}, {"share": "50%"}]
    [condition] = policy(guardrails=guardrails, signals=SIGNALS, stages=stages).stages[0].until or ()
    return condition


def low_is_good(text: str) -> bool:
    return "<" in text


@pytest.mark.parametrize(("text", "values", "line"), SCORES, ids=[text for text, _, _ in SCORES])
def test_scores_show_nothing_on_average_where_it_is_not_so(text: str, values: tuple[float, float], line: Line, rng: Rng):
    """
    Of all laws of scores, those on the edge of what the condition excludes included, ``E[e] <= 1``.
    """
    condition, low, high = asked(text), *values
    worth = low + (high - low) * np.array(STEPS) / BEST
    tried = 0
    while tried < 25:
        law_t, law_c = rng.dirichlet(np.full(5, 0.6)), rng.dirichlet(np.full(5, 0.6))
        edge = least(condition.bound, float(law_c @ worth))
        bad = np.eye(5)[4 if low_is_good(text) else 0]
        mean_t, mean_bad = float(law_t @ worth), float(bad @ worth)
        if (edge > mean_bad if low_is_good(text) else edge < mean_bad):
            continue  # no law is on that side
        if (mean_t < edge) if low_is_good(text) else (mean_t > edge):
            part = (edge - mean_t) / (mean_bad - mean_t)
            law_t = (1.0 - part) * law_t + part * bad
        tried += 1
        past = Past()
        past.remember(Pair(0, 1_000, Tally(4, 0, {BEST // 2: 4.0}), Tally(4, 0, {BEST: 4.0})), (WORST, BEST))
        total = np.zeros(8)
        for t1, t2, c1, c2 in product(range(5), repeat=4):
            counts_t, counts_c = ({STEPS[a]: 1.0 + (a == b), STEPS[b]: 1.0 + (a == b)} for a, b in ((t1, t2), (c1, c2)))
            pair = Pair(1_000, 2_000, Tally(2, 0, counts_t), Tally(2, 0, counts_c))
            chance = law_t[t1] * law_t[t2] * law_c[c1] * law_c[c2]
            total += chance * np.exp(health_log_e(condition, line, pair, past, 1.0)[0])
        assert (total <= 1.0 + ROUNDING).all()


def test_levels_of_scores_are_on_the_right_side():
    """
    Between two steps of the grid treatment's level is the lower one and control's the higher one, where high is good.
    """
    between = np.array([BEST // 2 + 1])
    high_t, high_c = score_levels(asked("quality > control"), (0.0, 1.0), between)
    low_t, low_c = score_levels(asked("quality < control"), (0.0, 1.0), between)

    assert high_t < high_c
    assert low_t < low_c


LATENCY = Line("latency", "latency")


@pytest.mark.parametrize(("text", "moved"), [("1.1x control", lambda ms: 1.1 * ms), ("control + 50ms", lambda ms: ms + 50.0)])
def test_latencies_show_nothing_on_average_where_it_is_not_so(text: str, moved: Callable[[float], float]):
    """
    Where as many of treatment's requests lie beyond the moved edge as of control's beyond its own, ``E[e] <= 1``.

    Faster everywhere else, treatment still shows nothing: only the quantile that is asked for counts.
    """
    condition = parse_condition(f"latency_p90 < {text}")
    past, n = Past(), 5
    seen = {bucket_key(100.0): 90.0, bucket_key(400.0): 10.0}
    past.remember(Pair(0, 1_000, Tally(100, 0, seen), Tally(100, 0, seen)), (WORST, BEST))
    edge = bucket_edge(bucket_key(100.0))
    slow_t, fast_t = bucket_key(moved(edge) * 1.03), bucket_key(10.0)
    slow_c, fast_c = bucket_key(edge * 1.03), bucket_key(90.0)
    for p in (0.02, 0.1, 0.5):
        total = np.zeros(8)
        for x_t, x_c in product(range(n + 1), repeat=2):
            t = Tally(n, 0, {slow_t: float(x_t), fast_t: float(n - x_t)})
            c = Tally(n, 0, {slow_c: float(x_c), fast_c: float(n - x_c)})
            chance = binomial(n, p)[x_t] * binomial(n, p)[x_c]
            total += chance * np.exp(health_log_e(condition, LATENCY, Pair(0, 0, t, c), past, 1.0)[0])
        assert (total <= 1.0 + ROUNDING).all()


def shown(rng: Rng, p_t: float, p_c: float, text: str, runs: int, blocks: int = 60, n: int = 300, budget: float = 0.05) -> float:
    """The part of the runs in which the condition was shown at some peek; failures of 1 s blocks of both arms."""
    condition, found = parse_condition(f"error_rate {text}"), 0
    for _ in range(runs):
        held = Shown.begin(budget, readings(FAILURES))
        for at, (x_t, x_c) in enumerate(zip(rng.binomial(n, p_t, blocks), rng.binomial(n, p_c, blocks), strict=True)):
            tallies = (Tally(n, float(x), every=float(x)) for x in (x_t, x_c))
            pair = Pair(1_000 * at, 1_000 * at + 1_000, *tallies)
            values = health_log_e(condition, FAILURES, pair, held.past, 1.0)
            for account, log_e in zip(held.accounts, values, strict=True):
                account.update(log_e)
            held.past.remember(pair, (WORST, BEST))
            if held.log_s >= 0.0:
                found += 1
                break
    return found / runs


NULLS = [(0.066, 0.06, "< 1.1x control"), (0.065, 0.06, "< control + 0.5%"), (0.05, 0.06, "< 5%")]


@pytest.mark.parametrize(("p_t", "p_c", "text"), NULLS, ids=[text for _, _, text in NULLS])
def test_false_advances_stay_within_their_budget(p_t: float, p_c: float, text: str, rng: Rng):
    """
    On the edge of what is excluded, a condition is shown at any of sixty peeks as rarely as allowed.
    """
    runs = 200

    assert shown(rng, p_t, p_c, text, runs, budget=0.1) <= 0.1 + 3.0 * math.sqrt(0.1 * 0.9 / runs)


def test_looking_at_a_plain_ratio_breaks_that_budget(rng: Rng):
    """
    Going on as soon as the observed rate is below the bound would go on almost always, where it is not so.
    """
    x = rng.binomial(300, 0.066, (200, 60)).cumsum(axis=1)
    y = rng.binomial(300, 0.06, (200, 60)).cumsum(axis=1)

    assert (x < 1.1 * y).any(axis=1).mean() > 0.7


WELL = [(0.06, "< 1.5x control"), (0.06, "< control + 2%"), (0.06, "< 8%"), (0.04, "< control")]


@pytest.mark.parametrize(("p_t", "text"), WELL, ids=[text for _, text in WELL])
def test_health_is_shown_where_it_is(p_t: float, text: str, rng: Rng):
    """
    A variation that is well within the bound is shown to be so in almost every run of 18,000 requests an arm.
    """
    assert shown(rng, p_t, 0.06, text, 40) >= 0.9


CALM = [{"when": "error_rate > 90%", "then": "kill"}]
GOOD: dict[str, Any] = {"errors": lambda v, s: 0.02, "latency_ms": lambda v, s: 100.0, "reports": lambda v, s: 0.001}
BAD: dict[str, Any] = {
    "errors": lambda v, s: 0.08 if v == "treatment" else 0.02,
    "latency_ms": lambda v, s: 250.0 if v == "treatment" else 100.0,
    "reports": lambda v, s: 0.1 if v == "treatment" else 0.001,
}
EACH = [
    *("error_rate < 2x control", "error_rate < control + 2%", "error_rate < 5%", "de_errors < 3x control"),
    *("latency_p95 < 1.5x control", "latency_p50 < control + 50ms", "latency_p80 < 300ms"),
    *("csat > control - 0.3", "csat > 3.9", "quality > 0.9x control", "quality < control + 0.2", "thumbs_down_rate < 20%"),
]


def of_everything(text: str, *, good: bool) -> Course:
    worse = 0.0 if good else 0.9
    low = lambda rng, v, s, n: (rng.uniform(size=n) ** (4.0 if v == "treatment" and not good else 0.5)).tolist()  # noqa: E731
    high = lambda rng, v, s, n: (rng.uniform(size=n) ** (0.1 if v == "treatment" and not good else 2.0)).tolist()  # noqa: E731
    down = lambda rng, v, s, n: (rng.uniform(size=n) < (0.6 if v == "treatment" and not good else 0.95)).astype(float).tolist()  # noqa: E731
    scores = {
        RATING: (0.3, (1.0, 5.0), ratings(worse)), THUMB: (0.3, (0.0, 1.0), down),
        f"{MEASURE}quality": (1.0, (0.0, 1.0), high if "quality <" in text else low),
    }  # fmt: skip
    world = World(seconds=60.0, rps=150.0, scores=scores, countries={"DE": 0.6, "US": 0.4}, **(GOOD if good else BAD))
    asked: Policy = policy(
        guardrails=CALM, signals=SIGNALS | {"de_errors": {"of": "error_rate", "where": {"country": "DE"}}},
        stages=[{"share": "50%", "until": text}, {"share": "90%", "for": "1h"}],
    )  # fmt: skip
    return Course().play([told(asked), *world.entries()])


@pytest.mark.parametrize("text", EACH)
def test_each_signal_is_waited_for(text: str):
    """
    From the journal alone: a stage goes on when a condition on any signal is so, and waits while it is not.
    """
    good, bad = (of_everything(text, good=good) for good in (True, False))

    assert [("advance", 0.9)] == good.actions
    assert [] == bad.made
    assert any(f"{text} is not shown yet of treatment: evidence of" in one for one in bad.views[-1].waits)


def test_reports_are_believed_an_hour_into_a_share():
    """
    People report what they were shown before: an epoch's reports are not read in its first hour.
    """
    played = of_everything("report_rate < 5%", good=True)

    assert [] == played.made
    assert "report_rate < 5% is not shown yet of treatment: nothing was read yet that tells of it" in played.views[-1].waits
