"""What ``guardian check`` says of a policy at given traffic: how often literal rules are false, how long tests take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from guardian.aggregate import LITERAL_LEAST
from guardian.conditions import Absolute, Condition, Margin, Relative, duration_text
from guardian.lines import has_account, is_literal, part_of_all
from guardian.numerals import count, duration, number, percent
from guardian.policy import Guardrail, Policy
from guardian.sequential import information
from guardian.tempering import EXAMPLE_HARM, EXAMPLE_SHARE
from guardian.watch import lane_parts
from guardian.window import window_of

DAY_S = 86_400.0
REGRET = 1.3
"""How many times as long the tests here take as the shortest that any test could (docs/statistics.md, "Measured")."""
_POINTS = 400
"""Of a distribution that is wider than so many numbers, so many are looked at."""
_TAIL = 1e-13

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests a second of the whole flag, and the part of control's that fail, above 0 and below 1."""

    requests_per_s: float
    rate: float


class FalseFires(NamedTuple):
    """The chance that one window of a healthy variation breaks the rule, and how often a day it begins to."""

    chance: float
    a_day: float


class Arms(NamedTuple):
    """Requests a second of one variation and of control."""

    t: float
    c: float

    @property
    def share(self) -> float:
        """The variation's part of both."""
        return self.t / (self.t + self.c)


def arms_of(policy: Policy, requests_per_s: float) -> Arms:
    """Return the traffic at the first stage, that under test divided evenly over the variations that are named."""
    share = next((stage.share for stage in policy.stages if stage.users is None), EXAMPLE_SHARE)
    return Arms(requests_per_s * share / max(len(policy.variations), 1), requests_per_s * (1.0 - share))


def false_fires(condition: Condition, arms: Arms, rate: float) -> FalseFires | None:
    """
    Return how often a literal rule on the error rate is false, where both arms fail at ``rate`` and steadily.

    Against a number the chance is ``P(Bin(n, p) > p0 n)``, n the requests of a window, and what begins to break is
    exact, too, as neighbouring windows share all steps but one. Against control its own window is drawn likewise, and
    how often it begins to break is an approximation. None where a window holds too few requests to say anything.

    Raises ValueError for a condition without a window.
    """
    if condition.for_s is None:
        raise ValueError(f"{condition.text!r} has no window")
    window = window_of("", condition.for_s, 0)
    n, n_c = round(arms.t * condition.for_s), round(arms.c * condition.for_s)
    compared = not isinstance(condition.bound, Absolute)
    if min(n, n_c if compared else n) < LITERAL_LEAST:
        return None
    control, weights = _points(n_c, rate) if compared else (np.zeros(1, dtype=np.int64), np.ones(1))
    most = _most(condition, n, control / max(n_c, 1))
    chance = float(weights @ binom.sf(most, n, rate))
    begins = float(weights @ _begins(most, n, max(round(n / window.size), 1), rate))
    if compared:
        factor = condition.bound.factor if isinstance(condition.bound, Relative) else 1.0
        # What control's own window changes in a step moves the difference as well.
        begins *= math.sqrt(1.0 + factor**2 * n / n_c)
    return FalseFires(chance, min(begins, chance) * DAY_S * 1_000.0 / window.step_ms)


def _most(condition: Condition, n: int, control: Floats) -> Floats:
    """Return how many of ``n`` requests may fail before the rule is broken, for each rate of control."""
    bound = condition.bound
    if isinstance(bound, Absolute):
        limit = np.full(control.shape, bound.value)
    else:
        limit = control * bound.factor if isinstance(bound, Relative) else control
        limit = limit + bound.delta if isinstance(bound, Margin) else limit
    # A part of 1e-12 forgives that 0.05 * 1,000 is not exactly 50.
    allowed = limit * n
    return np.asarray(np.floor(allowed * (1.0 + 1e-12)) if condition.op == ">" else np.ceil(allowed * (1.0 - 1e-12)) - 1.0)


def _begins(most: Floats, n: int, step: int, rate: float) -> Floats:
    """Return the chances that a window breaks a bound which the window one step before did not."""
    shared, weights = _points(n - step, rate)
    room = most[:, np.newaxis] - shared[np.newaxis, :]
    breaks = binom.sf(room, step, rate)
    return np.asarray((breaks * (1.0 - breaks)) @ weights)


def _points(n: int, rate: float) -> tuple[Ints, Floats]:
    """Return how many of ``n`` may fail, and how likely each is; evenly spaced where there are very many."""
    low, high = int(binom.ppf(_TAIL, n, rate)), int(binom.isf(_TAIL, n, rate))
    found = np.unique(np.round(np.linspace(low, high, min(high - low + 1, _POINTS))).astype(np.int64))
    weights = binom.pmf(found, n, rate)
    return found, np.asarray(weights / weights.sum())


def seconds_to_find(policy: Policy, guardrail: Guardrail, arms: Arms, rate: float) -> tuple[float, float] | None:
    """
    Return an error rate twice what a tested guardrail allows, and about how many seconds it takes to find it.

    From the information of the traffic and the budget of the start, times ``REGRET``. None where there is no such
    rate, no budget, or no control to compare with.
    """
    bound = guardrail.when.bound
    part = part_of_all(guardrail, policy) * lane_parts(bound, by_exposures=True).full
    alpha = policy.false_kills.per_rollout * part / max(len(policy.variations), 1)
    harm = _harm(bound, rate)
    if harm is None or not 0.0 < harm < 1.0 or not 0.0 < alpha < 1.0:
        return None
    if isinstance(bound, Absolute):
        nats = harm * math.log(harm / bound.value) + (1.0 - harm) * math.log((1.0 - harm) / (1.0 - bound.value))
    elif arms.c > 0.0:
        margin = bound.factor if isinstance(bound, Relative) else harm / 2.0 / rate + 0.5
        nats = information(harm, rate, arms.share, margin)
    else:
        return None
    return harm, REGRET * -math.log(alpha) / nats / arms.t


def _harm(bound: object, rate: float) -> float | None:
    if isinstance(bound, Absolute):
        return EXAMPLE_HARM * bound.value
    if isinstance(bound, Relative):
        return EXAMPLE_HARM * bound.factor * rate
    return rate + EXAMPLE_HARM * bound.delta if isinstance(bound, Margin) else None


def literal_notes(policy: Policy, traffic: Traffic) -> Iterator[str]:
    """Yield a sentence for each guardrail with a window: how often it is false by chance, or that it is tested without."""
    arms = arms_of(policy, traffic.requests_per_s)
    for guardrail in policy.guardrails:
        when = guardrail.when
        if when.for_s is None:
            continue
        if not is_literal(guardrail):
            yield f"{when.text}: is tested without its window, at every moment; evaluate: literal takes it as written"
        elif guardrail.evaluate == "both":
            yield f"{when.text}: acts only where its test says so, too, and is false no more often than that"
        elif when.signal.kind != "error_rate" or when.signal.name in policy.signals:
            yield f"{when.text}: is taken literally, and how often that is false by chance is not known beforehand"
        else:
            yield f"{when.text}: {_often(when, arms, traffic.rate)}"


def _often(when: Condition, arms: Arms, rate: float) -> str:
    assert when.for_s is not None
    found, at = false_fires(when, arms, rate), f"at {number(arms.t)} requests/s of which {percent(rate, exact=True)} fail"
    if found is None:
        return f"{at}, {duration_text(when.for_s)} hold fewer than {LITERAL_LEAST} of them, and it never acts"
    n = count(round(arms.t * when.for_s))
    often = f"about {number(found.a_day)} times a day" if found.a_day >= 1e-3 else "less than once in 1,000 days"
    return f"{at}, {number(100.0 * found.chance)} % of its windows of {n} break it by chance: it is false {often}"


def finding_notes(policy: Policy, traffic: Traffic) -> Iterator[str]:
    """Yield a sentence for each tested guardrail on the error rate: how long harm of twice what it allows takes."""
    arms = arms_of(policy, traffic.requests_per_s)
    for guardrail in policy.guardrails:
        when = guardrail.when
        if not has_account(guardrail) or when.signal.kind != "error_rate" or when.signal.name in policy.signals:
            continue
        found = seconds_to_find(policy, guardrail, arms, traffic.rate)
        if found is not None:
            harm, seconds = found
            at = f"at {number(arms.t)} requests/s"
            yield f"{when.text}: {at}, {percent(harm, exact=True)} of them failing is found after about {duration(seconds * 1e3)}"
