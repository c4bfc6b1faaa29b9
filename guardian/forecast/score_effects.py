"""Harm to scores: their mean leaves what the guardrail allows, by parts of their range."""

from __future__ import annotations

import numpy as np

from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.forecast.harm import Effect, Harm
from guardian.forecast.laws import Law
from guardian.levels import low_is_harm
from guardian.plan import Range

SIZES = (0.025, 0.05, 0.075, 0.125, 0.25)
"""Parts of the range: 0.1, 0.2, 0.3, 0.5 and 1 of a CSAT, 5 to 50 points of an NPS."""


def worse_scores(condition: Condition, values: Range, law: Law) -> Harm:
    """
    Return means worse than the guardrail allows, where control's scores follow ``law`` in the range ``values``.

    The variation's scores are as near to control's as such a mean permits (``Law.moved``). Raises ValueError where no
    score is worse than what is allowed.
    """
    (low, high), sign = values, -1.0 if low_is_harm(condition) else 1.0
    allowed = (allowed_mean(condition, low + (high - low) * law.mean) - low) / (high - low)
    worst, best = law.reach
    sizes = [size for size in SIZES if worst < allowed + sign * size < best]
    # Where no round size is left, half of what is.
    sizes = sizes or [abs((worst if sign < 0.0 else best) - allowed) / 2.0]
    laws = [law.moved(allowed + sign * size) for size in sizes]
    effects = tuple(_effect(condition, size, values, allowed) for size in sizes)
    return Harm(
        effects, law.beyond, law.beyond, np.array([one.beyond for one in laws]),
        np.array([law.changed_to(one) for one in laws]), positions=law.positions,
    )  # fmt: skip


def allowed_mean(condition: Condition, mean: float) -> float:
    """Return the worst mean that the guardrail allows where control's is ``mean``."""
    bound = condition.bound
    if isinstance(bound, Absolute):
        return bound.value
    if isinstance(bound, Relative):
        return bound.factor * mean
    assert isinstance(bound, Margin)
    return mean + bound.delta


def _effect(condition: Condition, size: float, values: Range, allowed: float) -> Effect:
    sign, word = ("-", "below") if low_is_harm(condition) else ("+", "above")
    (low, high), name = values, condition.signal.name
    amount = size * (high - low)
    value = low + allowed * (high - low) + (amount if sign == "+" else -amount)
    return Effect(round(size, 6), f"{sign}{amount:.3g}", value, f"a mean {name} {amount:.3g} {word} what is allowed")
