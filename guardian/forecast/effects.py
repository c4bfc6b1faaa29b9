"""Which harm is tried on a guardrail, and whether control itself is within its bound."""

from __future__ import annotations

import numpy as np

from guardian.conditions import Absolute, Condition
from guardian.forecast.assumed import Assumed
from guardian.forecast.harm import Effect, Harm
from guardian.forecast.laws import Law, csat_law, measure_law, nps_law
from guardian.forecast.rate_effects import narrow, of_part, worse_rates
from guardian.forecast.scene import Watched
from guardian.forecast.score_effects import allowed_mean, worse_scores
from guardian.forecast.slow_effects import slower
from guardian.levels import low_is_harm

LOST = {0.1: "a tenth of its exposures lost", 0.5: "half of its exposures lost", 1.0: "a silent variation"}


def harm_to(watched: Watched, assumed: Assumed) -> Harm:
    """Return the harm to try on a guardrail at this traffic. The effects rise."""
    condition, kind = watched.guardrail.when, watched.guardrail.when.signal.kind
    if kind == "sample_ratio":
        return _lost()
    if kind in ("csat", "nps", "measure"):
        assert watched.line is not None
        harm = worse_scores(condition, watched.line.range, law_of(condition, assumed))
        return of_part(harm, 1.0 if kind == "measure" else assumed.rated)
    if kind == "thumbs_down_rate":
        return of_part(worse_rates(condition, assumed.thumbs_down), assumed.rated)
    harm = slower(condition, assumed.latency_ms) if kind == "latency" else worse_rates(condition, rate_of(condition, assumed))
    return narrow(harm, assumed.narrowed) if watched.is_narrow else harm


def rate_of(condition: Condition, assumed: Assumed) -> float:
    """Return what is assumed of control's rate."""
    rates = {"thumbs_down_rate": assumed.thumbs_down, "report_rate": assumed.reports}
    return rates.get(condition.signal.kind, assumed.rate)


def law_of(condition: Condition, assumed: Assumed) -> Law:
    """Return what is assumed of control's scores."""
    if condition.signal.kind == "csat":
        return csat_law(assumed.csat)
    return nps_law(assumed.nps) if condition.signal.kind == "nps" else measure_law(assumed.measure, assumed.spread)


def control_of(watched: Watched, assumed: Assumed) -> float | None:
    """Return the value of control's signal, in its own unit; None for latency and for the split of the traffic."""
    condition, kind = watched.guardrail.when, watched.guardrail.when.signal.kind
    if kind in ("latency", "sample_ratio"):
        return None
    if kind in ("csat", "nps", "measure"):
        assert watched.line is not None
        low, high = watched.line.range
        return low + (high - low) * law_of(condition, assumed).mean
    return rate_of(condition, assumed)


def is_healthy(watched: Watched, assumed: Assumed) -> bool:
    """Say whether control itself is within the bound: beyond a fixed one, nothing would be a false alarm."""
    condition, value = watched.guardrail.when, control_of(watched, assumed)
    if value is None or not isinstance(condition.bound, Absolute):
        return True
    return value >= condition.bound.value if low_is_harm(condition) else value <= condition.bound.value


def is_possible(watched: Watched, assumed: Assumed) -> bool:
    """Say whether the signal can be worse than the guardrail allows: no score lies outside of its range."""
    condition, line = watched.guardrail.when, watched.line
    if condition.signal.kind not in ("csat", "nps", "measure"):
        return True
    assert line is not None
    law, (low, high) = law_of(condition, assumed), line.range
    allowed = (allowed_mean(condition, low + (high - low) * law.mean) - low) / (high - low)
    return allowed > law.reach[0] if low_is_harm(condition) else allowed < law.reach[1]


def _lost() -> Harm:
    effects = tuple(Effect(part, "silent" if part == 1.0 else f"{part:.0%} lost", part, said) for part, said in LOST.items())
    lost, none = np.array(list(LOST)), np.zeros(1)
    return Harm(effects, none, none, np.zeros((len(LOST), 1)), lost, lost=lost)
