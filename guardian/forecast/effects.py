"""
Which harm is tried on a guardrail, and what the tests would count under it.

Whatever the signal, an arm's requests are counted beyond J edges: failures for an error rate (one edge), requests
slower than control's past quantiles for a latency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.policy import Guardrail
from guardian.sequential import DEFAULT_TAUS, margin_shift
from guardian.sequential.checks import Floats
from guardian.sequential.latency import gamma

FACTORS = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
MOST_EFFECTS = 6
LATENCY_SIGMA = 0.8
"""Latencies are taken for lognormal, with this standard deviation of their logs."""
CONTROL_TO_BOUND = 0.5
"""Control's quantile as a part of a fixed latency bound: twice as fast as it must be."""
WORDS = {1.5: "an error rate half as high again", 2.0: "a doubled error rate", 3.0: "a tripled error rate"}


class Effect(NamedTuple):
    """A size of harm: its factor, how it is written, what it makes of the signal, and how one says it."""

    factor: float
    text: str
    value: float
    said: str


@dataclass(frozen=True, slots=True)
class Harm:
    """
    What is counted under each effect: chances beyond the edges, control's, the variation's while well and while not.

    ``control`` and ``well`` have shape ``(J,)``, ``ill`` one row an effect, ``(E, J)``. Chances never rise from edge
    to edge. ``fails`` is the part of the variation's requests that are worse off for it, ``(E,)``.
    """

    effects: tuple[Effect, ...]
    control: Floats
    well: Floats
    ill: Floats
    fails: Floats


def is_forecast(condition: Condition) -> bool:
    """Say whether a guardrail on this condition can be forecast: error rates and latencies, without a window."""
    kind, bound = condition.signal.kind, condition.bound
    if condition.for_s is not None or condition.op not in {">", ">="}:
        return False
    return (kind == "error_rate" and isinstance(bound, Relative | Margin | Absolute)) or (
        kind == "latency" and isinstance(bound, Relative | Absolute)
    )


def is_healthy(condition: Condition, rate: float) -> bool:
    """Say whether control itself is within the condition: above a fixed bound, nothing would be a false alarm."""
    bound = condition.bound
    return condition.signal.kind != "error_rate" or not isinstance(bound, Absolute) or rate <= bound.value


def harm_to(guardrail: Guardrail, rate: float) -> Harm:
    """Return the harm to try on a guardrail; ``rate`` is control's error rate. The effects rise."""
    bound = guardrail.when.bound
    if guardrail.when.signal.kind == "latency":
        quantile = guardrail.when.signal.quantile or 0.95
        return _slower(bound.factor) if isinstance(bound, Relative) else _above(bound, quantile)
    if isinstance(bound, Absolute):
        rates = _below_one([(v, v * bound.value) for v in FACTORS if v * bound.value > rate], bound.value)
        return _errors([Effect(v, _rate(p), p, f"an error rate of {_rate(p)}") for v, p in rates], rate)
    if isinstance(bound, Margin) and bound.delta > 0.0:
        rates = _below_one([(v, rate + v * bound.delta) for v in FACTORS], rate + bound.delta)
        points = [(v, p, f"{100 * (p - rate):.3g} points") for v, p in rates]
        return _errors([Effect(v, f"+{text}", p, f"an error rate {text} higher") for v, p, text in points], rate)
    return multiples(rate, bound.factor if isinstance(bound, Relative) else 1.0)


def multiples(rate: float, above: float = 1.0) -> Harm:
    """Return error rates that are multiples of control's, each more than ``above`` times it."""
    rates = _below_one([(v, v * rate) for v in FACTORS if v > above], above * rate)
    # Where no round multiple of control's rate is below one, the multiple is whatever that rate is.
    found = [(round(p / rate, 3), p) for _, p in rates]
    return _errors([Effect(v, f"{v:g}x", p, _times(v)) for v, p in found], rate)


def _times(factor: float) -> str:
    return WORDS.get(factor, f"{factor:g} times control's error rate")


def _rate(p: float) -> str:
    return f"{100 * p:.3g}%"


def _below_one(rates: list[tuple[float, float]], floor: float) -> list[tuple[float, float]]:
    possible = [(v, p) for v, p in rates if p < 1.0][:MOST_EFFECTS]
    if possible:
        return possible
    middle = (1.0 + min(floor, 1.0)) / 2
    return [(middle / floor, middle)]


def _errors(effects: list[Effect], rate: float) -> Harm:
    control = np.array([rate])
    ill = np.array([[effect.value] for effect in effects])
    return Harm(tuple(effects), control, control, ill, ill[:, 0])


def _above(bound: object, quantile: float) -> Harm:
    """Return variations whose latency quantile is beyond a fixed bound; control's is at half of it."""
    assert isinstance(bound, Absolute)
    z = float(ndtri(quantile))
    made = [(v, f"{v * bound.value:.4g}ms") for v in FACTORS[:MOST_EFFECTS]]
    effects = [Effect(v, text, v * bound.value, f"a p{100 * quantile:g} of {text}") for v, text in made]
    control = np.array([_beyond(CONTROL_TO_BOUND, z)])
    ill = np.array([[_beyond(v, z)] for v, _ in made])
    return Harm(tuple(effects), control, control, ill, ill[:, 0])


def _beyond(factor: float, z: float) -> float:
    """The part beyond a bound, of latencies whose quantile (of score z) is ``factor`` times that bound."""
    return float(ndtr(math.log(factor) / LATENCY_SIGMA - z))


def _slower(margin: float) -> Harm:
    """Return variations all of whose requests are slower; treatment's edges lie ``margin`` above control's."""
    factors = [v for v in FACTORS if v > margin][:MOST_EFFECTS]
    if not factors:
        factors = [1.5 * margin]
    effects = [Effect(v, f"{v:g}x", v, f"everything {v:g} times slower") for v in factors]
    z = ndtri(DEFAULT_TAUS)
    # The margin as the test takes it: in whole buckets.
    shift = margin_shift(margin) * math.log(gamma())
    well = ndtr(-z - shift / LATENCY_SIGMA)
    ill = ndtr((np.log(factors)[:, np.newaxis] - shift) / LATENCY_SIGMA - z)
    return Harm(tuple(effects), 1.0 - DEFAULT_TAUS, well, ill, np.ones(len(factors)))
