"""What a block of a line is worth to a guardrail: never more than 1 on average where the guardrail is kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guardian.betting import Past, log_e
from guardian.conditions import Absolute, Condition, Declaration, Margin, Relative, parse_condition
from guardian.levels import BEST, WORST
from guardian.lines import Line
from guardian.plan import GRID, position
from guardian.tally import Pair, Tally

SIGNALS = {"quality": Declaration(measure="quality", range=(0.0, 10.0))}
RANGES = {"csat": (1.0, 5.0), "quality": (0.0, 10.0)}
SCORES = [
    *("csat < control", "csat < control - 0.3", "csat < 0.9x control", "csat < 3.5"),
    *("quality < 0.9x control", "quality > 1.1x control", "quality > control + 1", "quality < 5", "quality > 5"),
]
parts = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)


def condition(text: str) -> Condition:
    return parse_condition(text, SIGNALS)


def line(kind: str, values: tuple[float, float] = (0.0, 1.0)) -> Line:
    return Line(kind, kind, range=values)  # type: ignore[arg-type]


def counted(positions: Sequence[int]) -> Tally:
    counts: dict[int, float] = {}
    for at in positions:
        counts[at] = counts.get(at, 0.0) + 1.0
    return Tally(float(len(positions)), 0.0, counts)


def is_kept(when: Condition, values: tuple[float, float], mean_t: float, mean_c: float) -> bool:
    """Say whether means (as values) keep the guardrail, by its words alone."""
    bound = when.bound
    if isinstance(bound, Absolute):
        limit = bound.value
    elif isinstance(bound, Relative):
        limit = bound.factor * mean_c
    else:
        assert isinstance(bound, Margin)
        limit = mean_c + bound.delta
    return bool(mean_t >= limit) if when.op in ("<", "<=") else bool(mean_t <= limit)


@settings(deadline=None, max_examples=60)
@given(
    text=st.sampled_from(SCORES),
    given_scores=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3, unique=True),
    law_t=parts,
    law_c=parts,
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    past=st.lists(st.integers(0, 2 * GRID), max_size=6),
    ends=st.booleans(),
)
def test_scores_that_keep_a_guardrail_are_no_evidence_on_average(
    text: str, given_scores: list[float], law_t: list[float], law_c: list[float],
    sizes: tuple[int, int], past: list[int], ends: bool,
) -> None:  # fmt: skip
    """E[e] <= 1 for every law of scores of both arms that keeps the guardrail, by enumeration, whatever the past was."""
    when = condition(text)
    low, high = values = RANGES[when.signal.name]
    scores = [low + (high - low) * part for part in ([0.0, 1.0, given_scores[0]] if ends else given_scores)]
    places = [position(score, low, high) for score in scores]
    p_t, p_c = (np.array(law) / sum(law) for law in (law_t, law_c))
    assume(is_kept(when, values, float(p_t @ scores), float(p_c @ scores)))
    before = Past()
    before.remember(Pair(0, 1, counted(past), counted(past)), (WORST, BEST))
    total = np.zeros(8)
    for drawn in itertools.product(range(3), repeat=sum(sizes)):
        t, c = drawn[: sizes[0]], drawn[sizes[0] :]
        chance = math.prod(p_t[one] for one in t) * math.prod(p_c[one] for one in c)
        pair = Pair(0, 1, counted([places[one] for one in t]), counted([places[one] for one in c]))
        total += chance * np.exp(log_e(when, line("score", values), pair, before))

    assert (total <= 1.0 + 1e-9).all()


@pytest.mark.parametrize("p_c", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("text", SCORES)
@pytest.mark.parametrize("is_coin", [True, False])
def test_at_the_edge_of_a_guardrail_the_average_is_at_most_one(text: str, p_c: float, is_coin: bool) -> None:
    """Treatment exactly as bad as a guardrail allows is no evidence on average either: the bound is where it says."""
    when = condition(text)
    low, high = values = RANGES[when.signal.name]
    bound, mean_c = when.bound, low + (high - low) * p_c
    if isinstance(bound, Absolute):
        mean_t = bound.value
    else:
        mean_t = bound.factor * mean_c if isinstance(bound, Relative) else mean_c + getattr(bound, "delta", 0.0)
    p_t = (mean_t - low) / (high - low)
    assume_possible = 0.0 <= p_t <= 1.0
    before = Past(is_coin=is_coin)
    before.remember(Pair(0, 1, counted([WORST, BEST, BEST]), counted([WORST, BEST, BEST])), (WORST, BEST))
    total = np.zeros(8)
    for (x_t, ways_t), (x_c, ways_c) in itertools.product(binary(5), binary(5)) if assume_possible else ():
        chance = ways_t * ways_c * p_t**x_t * (1 - p_t) ** (5 - x_t) * p_c**x_c * (1 - p_c) ** (5 - x_c)
        t, c = (counted([BEST] * x + [WORST] * (5 - x)) for x in (x_t, x_c))
        total += chance * np.exp(log_e(when, line("score", values), Pair(0, 1, t, c), before))

    assert (total <= 1.0 + 1e-9).all()


def binary(n: int) -> Iterator[tuple[int, float]]:
    for x in range(n + 1):
        yield x, math.comb(n, x)


@settings(deadline=None, max_examples=80)
@given(
    case=st.sampled_from([("report_rate > 20%", 0.2), ("thumbs_down_rate > 30%", 0.3), ("latency_p90 > 300ms", 0.1)]),
    n=st.integers(1, 8),
    part=st.floats(0.0, 1.0),
)
def test_rates_below_a_bound_are_no_evidence_on_average(case: tuple[str, float], n: int, part: float) -> None:
    """E[e] <= 1 for every rate up to the bound: of a quantile's bound, for the part of the requests that it allows."""
    when, rate = condition(case[0]), part * case[1]
    kind = "over" if "latency" in case[0] else "reports" if "report" in case[0] else "score"
    total = np.zeros(8)
    for x, ways in binary(n):
        pair = Pair(0, 1, Tally(float(n), float(x)), Tally())
        total += ways * rate**x * (1 - rate) ** (n - x) * np.exp(log_e(when, line(kind), pair, Past()))

    assert (total <= 1.0 + 1e-9).all()


@settings(deadline=None, max_examples=60)
@given(
    text=st.sampled_from(["report_rate > 10%", "report_rate > control + 5%"]),
    cluster=st.integers(2, 4),
    people=st.integers(1, 3),
    part=st.floats(0.0, 1.0),
)
def test_clusters_without_a_unit_are_no_evidence_on_average(text: str, cluster: int, people: int, part: float) -> None:
    """Where up to ``cluster`` reports are one person's and nobody says so, E[e] <= 1 still holds."""
    when, rate = condition(text), 0.1 * part
    n = float(people * cluster)
    past = Past(is_nameless=True)
    total = np.zeros(8)
    for x_t, ways_t in binary(people):
        for x_c, ways_c in binary(people):
            chance = ways_t * ways_c * rate ** (x_t + x_c) * (1 - rate) ** (2 * people - x_t - x_c)
            t, c = (Tally(n, float(x), left=x * (cluster - 1.0)) for x in (x_t, x_c))
            total += chance * np.exp(log_e(when, line("reports"), Pair(0, 1, t, c), past, cluster=float(cluster)))

    assert (total <= 1.0 + 1e-9).all()


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0.01, 0.99), other=st.floats(0.01, 0.99), n=st.integers(1, 10))
def test_of_two_shares_that_may_be_in_force_either_is_no_evidence(share: float, other: float, n: int) -> None:
    """New units that arrive in one of two shares are no evidence on average, whichever of them it is."""
    when, total = condition("sample_ratio off"), np.zeros(8)
    for x, ways in binary(n):
        pair = Pair(0, 1, Tally(float(x)), Tally(float(n - x)))
        values = log_e(when, line("fresh"), pair, Past(), shares=[share, other])
        total += ways * share**x * (1 - share) ** (n - x) * np.exp(values)

    assert (total <= 1.0 + 1e-9).all()


WORSE: list[tuple[str, str, Callable[[int], Tally]]] = [
    ("report_rate > 2x control", "reports", lambda bad: Tally(20.0, float(bad))),
    ("thumbs_down_rate > 20%", "score", lambda bad: Tally(20.0, float(bad), {0: float(bad), 360: 20.0 - bad})),
    ("csat < control", "score", lambda bad: counted([90] * bad + [360] * (20 - bad))),
    ("quality < 5", "score", lambda bad: counted([90] * bad + [360] * (20 - bad))),
    ("latency_p90 > 300ms", "over", lambda bad: Tally(20.0, float(bad))),
    ("latency_p90 > 1.2x control", "latency", lambda bad: Tally(20.0, 0.0, {100: 20.0 - bad, 200: float(bad)})),
]


@pytest.mark.parametrize(("text", "kind", "arm"), WORSE, ids=[one[0] for one in WORSE])
def test_one_more_bad_one_never_lowers_evidence(text: str, kind: str, arm: Callable[[int], Tally]) -> None:
    """Each further bad event of treatment leaves every component as high or higher."""
    when, past = condition(text), Past()
    past.remember(Pair(0, 1, arm(2), arm(2)), (WORST, BEST))
    values = [
        log_e(when, line(kind, RANGES.get(when.signal.name, (0.0, 1.0))), Pair(0, 1, arm(bad), arm(2)), past, shares=[0.5])
        for bad in range(12)
    ]

    assert np.isfinite(values).all()
    assert (np.diff(np.array(values), axis=0) >= -1e-12).all()
