"""How often literal rules are false, and how long tests take: what is said before a rollout is what happens in it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.stats import binom

from guardian.chances import Arms, Traffic, arms_of, false_fires, finding_notes, literal_notes, seconds_to_find
from guardian.conditions import parse_condition
from tests.support.traffic import policy

DAYS = 20


def played(
    arms: Arms, rate: float, factor: float | None, bound: float, for_s: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The part of the windows that break a bound, and how often a day one does that the one before did not."""
    steps = DAYS * 86_400 * 60 // for_s
    sums = []
    for per_s in arms:
        each = round(per_s * for_s / 60)
        total = np.cumsum(np.concatenate([np.zeros(1), rng.binomial(each, rate, steps)]))
        sums.append((total[60:] - total[:-60]) / (60 * each))
    broken = sums[0] > (bound if factor is None else factor * sums[1])
    return float(broken.mean()), float((broken[1:] & ~broken[:-1]).sum() / DAYS)


@pytest.mark.parametrize(
    ("when", "factor", "bound", "near"),
    [
        ("error_rate > 1.5% for 60s", None, 0.015, 0.15),
        ("error_rate > 1.2% for 120s", None, 0.012, 0.15),
        ("error_rate > 1.3x control for 60s", 1.3, 0.0, 0.3),
    ],
)
def test_what_is_foretold_is_what_happens(
    when: str, factor: float | None, bound: float, near: float, dice: random.Random
) -> None:
    """Over 20 days of healthy requests, windows break and begin to break as often as foretold."""
    arms, condition = Arms(20.0, 180.0), parse_condition(when)
    found = false_fires(condition, arms, 0.01)
    part, a_day = played(arms, 0.01, factor, bound, round(condition.for_s or 0), np.random.default_rng(dice.randrange(10_000)))

    assert found is not None
    assert found.chance == pytest.approx(part, rel=near)
    assert found.a_day == pytest.approx(a_day, rel=near)


def test_the_chance_against_a_number_is_that_of_the_binomial() -> None:
    """One window of n requests breaks ``> p0`` with the chance that more than p0 n of them fail; ``>=`` counts p0 n, too."""
    over, at_least = (
        false_fires(parse_condition(f"error_rate {op} 5% for 50s"), Arms(20.0, 180.0), 0.04) for op in (">", ">=")
    )

    assert over is not None
    assert at_least is not None
    assert over.chance == pytest.approx(float(binom.sf(50, 1_000, 0.04)))
    assert at_least.chance == pytest.approx(float(binom.sf(49, 1_000, 0.04)))


def test_a_window_that_holds_too_little_never_fires() -> None:
    """Where a window holds fewer than 50 requests nothing is foretold, as the rule never acts."""
    assert false_fires(parse_condition("error_rate > 5% for 10s"), Arms(4.0, 400.0), 0.01) is None


def test_how_long_a_doubling_takes_is_near_what_was_measured() -> None:
    """A doubling of 1 % at a share of 10 % takes about the 2,400 treated requests that docs/statistics.md measured."""
    terms = policy(stages=[{"share": "10%", "for": "1h"}, {"share": "50%"}])
    found = seconds_to_find(terms, terms.guardrails[0], arms_of(terms, 200.0), 0.01)

    assert found is not None
    assert 0.02 == pytest.approx(found[0])
    assert 2_400 / 1.3 < found[1] * 20.0 < 2_400 * 1.3


def test_more_traffic_finds_harm_sooner() -> None:
    """Ten times the traffic finds the same harm in a tenth of the time; harm that cannot be is not told of."""
    terms = policy(guardrails=[{"when": when, "then": "kill"} for when in ("error_rate > 5%", "error_rate > control + 1%")])
    for guardrail in terms.guardrails:
        slow, fast = (seconds_to_find(terms, guardrail, arms_of(terms, per_s), 0.01) for per_s in (20.0, 200.0))
        assert slow is not None
        assert fast is not None
        assert slow[1] == pytest.approx(10.0 * fast[1])
    most = policy(guardrails=[{"when": "error_rate > 60%", "then": "kill"}])

    assert seconds_to_find(most, most.guardrails[0], arms_of(most, 200.0), 0.01) is None


def test_each_guardrail_with_a_window_has_its_note() -> None:
    """Each condition over a window is told of once, in the words of how it is evaluated; tests in how long they take."""
    ways = {"literal": "it is false about", "either": "it is false about"}
    ways |= {"both": "where its test says so", "evidence": "without its window"}
    terms = policy(guardrails=[
        *({"when": f"error_rate > 1.{at + 2}% for 1m", "then": "pause", "evaluate": way} for at, way in enumerate(ways)),
        {"when": "latency_p95 > 300ms for 1m", "then": "pause", "evaluate": "literal"},
    ])  # fmt: skip
    notes = list(literal_notes(terms, Traffic(200.0, 0.01)))

    assert [True] * 4 == [said in note for said, note in zip(ways.values(), notes, strict=False)]
    assert "not known beforehand" in notes[4]
    assert 3 == len(list(finding_notes(terms, Traffic(200.0, 0.01))))
