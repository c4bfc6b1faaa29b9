"""Harm to rates: more requests fail, more thumbs point down, more people report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.forecast.harm import FACTORS, MOST_EFFECTS, Effect, Harm

NAMES = {"error_rate": "error rate", "thumbs_down_rate": "rate of thumbs down", "report_rate": "rate of reports"}
_WORDS = {1.5: "{a} {name} half as high again", 2.0: "a doubled {name}", 3.0: "a tripled {name}"}


def worse_rates(condition: Condition, rate: float) -> Harm:
    """Return rates beyond what the guardrail allows where control's is ``rate``; they rise."""
    bound, name = condition.bound, NAMES[condition.signal.kind]
    if isinstance(bound, Absolute):
        rates = _below_one([(v, v * bound.value) for v in FACTORS if v * bound.value > rate], bound.value)
        return _harm([Effect(v, _percent(p), p, f"{_a(name)} {name} of {_percent(p)}") for v, p in rates], rate)
    if isinstance(bound, Margin) and bound.delta > 0.0:
        rates = _below_one([(v, rate + v * bound.delta) for v in FACTORS], rate + bound.delta)
        points = [(v, p, f"{100 * (p - rate):.3g} points") for v, p in rates]
        return _harm([Effect(v, f"+{text}", p, f"{_a(name)} {name} {text} higher") for v, p, text in points], rate)
    return multiples(rate, bound.factor if isinstance(bound, Relative) else 1.0, name)


def multiples(rate: float, above: float = 1.0, name: str = NAMES["error_rate"]) -> Harm:
    """Return rates that are multiples of control's, each more than ``above`` times it."""
    rates = _below_one([(v, v * rate) for v in FACTORS if v > above], above * rate)
    # Where no round multiple of control's rate is below one, the multiple is whatever that rate is.
    found = [(round(p / rate, 3), p) for _, p in rates]
    return _harm([Effect(v, f"{v:g}x", p, _times(v, name)) for v, p in found], rate)


def of_part(harm: Harm, part: float) -> Harm:
    """Return the harm where a part of the requests alone brings something to count, and the others suffer unseen."""
    return replace(harm, part=part, is_seen=False)


def narrow(harm: Harm, part: float) -> Harm:
    """Return the harm where it meets this part of the requests alone."""
    return replace(harm, part=part, is_narrow=True)


def _times(factor: float, name: str) -> str:
    words = _WORDS.get(factor, f"{factor:g} times control's {{name}}")
    return words.format(a=_a(name), name=name)


def _a(name: str) -> str:
    return "an" if name.startswith("e") else "a"


def _percent(p: float) -> str:
    return f"{100 * p:.3g}%"


def _below_one(rates: list[tuple[float, float]], floor: float) -> list[tuple[float, float]]:
    possible = [(v, p) for v, p in rates if p < 1.0][:MOST_EFFECTS]
    if possible:
        return possible
    middle = (1.0 + min(floor, 1.0)) / 2
    return [(middle / floor, middle)]


def _harm(effects: list[Effect], rate: float) -> Harm:
    control = np.array([rate])
    ill = np.array([[effect.value] for effect in effects])
    return Harm(tuple(effects), control, control, ill, ill[:, 0], is_seen=True)
