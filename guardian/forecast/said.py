"""What is said beside the figures of a guardrail: what was assumed for it, and what no figure tells."""

from __future__ import annotations

from collections.abc import Sequence

from guardian.conditions import UNITS, Absolute, Condition, Silence, duration_text
from guardian.forecast.assumed import Assumed
from guardian.forecast.effects import control_of, law_of
from guardian.forecast.laws import WHOLE
from guardian.forecast.scene import Phase, Watched
from guardian.forecast.slow_effects import SIGMA
from guardian.history import REACH_MS
from guardian.levels import low_is_harm
from guardian.lines import segments_of
from guardian.policy import Guardrail, Policy
from guardian.silence import SURPRISING


def assumed_for(watched: Watched, assumed: Assumed) -> str:
    """Return what was assumed for the signal of a guardrail beside the traffic, in a few words; empty where nothing was."""
    condition, kind = watched.guardrail.when, watched.guardrail.when.signal.kind
    rated = f"{_percent(assumed.rated)} of the requests rated"
    if kind == "csat":
        return f"{rated}, {assumed.csat:g} on average"
    if kind == "nps":
        parts = "/".join(f"{100 * part:g}" for part in assumed.nps)
        return f"{rated}, {parts}% detractors, passives, promoters"
    if kind == "thumbs_down_rate":
        return f"{rated}, {_percent(assumed.thumbs_down)} thumbs down"
    if kind == "report_rate":
        return f"{_percent(assumed.reports)} of control's starts reported"
    if kind == "measure":
        return f"{control_of(watched, assumed):.4g} on average, {_spread(condition, assumed)}"
    said = _latency(condition, assumed) if kind == "latency" else []
    if watched.is_narrow:
        said.insert(0, f"{_percent(assumed.narrowed)} of the outcomes are of it")
    return ", ".join(said)


def _spread(condition: Condition, assumed: Assumed) -> str:
    if law_of(condition, assumed).positions.tolist() == WHOLE:
        return "all or nothing"
    return f"a spread of {_percent(assumed.spread)} of its range"


def _latency(condition: Condition, assumed: Assumed) -> list[str]:
    if isinstance(condition.bound, Absolute):
        return [f"lognormal latencies (sigma {SIGMA:g}), control's at half of the bound"]
    return [f"lognormal latencies (sigma {SIGMA:g}) around {assumed.latency_ms:g} ms"]


def beyond(watched: Watched, assumed: Assumed) -> str:
    """Return that control itself is beyond a fixed bound."""
    value, condition = control_of(watched, assumed), watched.guardrail.when
    assert value is not None
    shown = f"{value:.4g}" if UNITS[condition.signal.kind] == "score" else _percent(value)
    return f"control's {shown} is {'below' if low_is_harm(condition) else 'above'} this bound"


def segments_note(guardrail: Guardrail, policy: Policy) -> list[str]:
    """Return what to know of segments: they are not played."""
    names = segments_of(guardrail, policy)
    return [f"all traffic, with 80% of its budget: segments by {', '.join(names)} have the rest"] if names else []


def split_note() -> list[str]:
    """Return what to know of the split of the traffic."""
    return [
        "a variation that never appears is not known yet, so nothing of it is tested",
        "units are counted once, as far as 32 kB tell them apart: of ever more users ever fewer count as new",
    ]


def silence_note(bound: Silence, phases: Sequence[Phase], assumed: Assumed) -> list[str]:
    """Return when a variation that falls silent is told of: after the guardrail's time, once ten starts were expected."""
    times = []
    for phase in phases:
        surprised_s = SURPRISING / (assumed.requests_per_s * phase.share)
        if surprised_s > REACH_MS / 1_000.0 or phase.control <= 0.0:
            times.append(f"never at {_percent(phase.share)}")
        else:
            times.append(f"{max(bound.for_s, surprised_s):,.0f} s at {_percent(phase.share)}")
    clock = f"a clock, no test: found after {duration_text(bound.for_s)} in which {SURPRISING:.0f} starts were expected"
    return [clock, f"at this traffic {', '.join(times)}"]


def _percent(part: float) -> str:
    return f"{100 * part:.3g}%"
