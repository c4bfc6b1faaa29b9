"""The numbers behind a verdict: what a guardrail measured, in its own unit, since the harm began."""

from __future__ import annotations

from typing import NamedTuple

from guardian.aggregate import Aggregate
from guardian.conditions import Absolute, Relative
from guardian.decisions import Evidence, Interval, Part
from guardian.evidence import Breach
from guardian.history import Stretch
from guardian.levels import low_is_harm, mean
from guardian.line_reading import configured_share, part_of_budget
from guardian.names import Millis
from guardian.policy import Policy
from guardian.remembered import Remembered
from guardian.sequential import attribute, bucket_edge, count_above, quantile_key, ratio_interval
from guardian.standing import Held, p_value, together
from guardian.state import RolloutState
from guardian.tally import Pair, Tally
from guardian.watch import FAST

INTERVAL_ALPHA = 0.05
INCIDENT_UNITS = 20
"""Outcomes of control in the stretch before its own value can call a breach a shared incident."""
_PARTS_MAX = 5


class Testimony(NamedTuple):
    """Evidence, the time it is from, and whether control breaks the same fixed bound at the same time."""

    evidence: Evidence
    from_ms: Millis
    to_ms: Millis
    is_shared: bool


def testimony(state: RolloutState, policy: Policy, variation: str, held: Held, breach: Breach) -> Testimony:
    """Return what speaks for a breach."""
    bound = held.guardrail.when.bound
    fixed = bound.value if isinstance(bound, Absolute) else None
    if held.line is None or held.since is None:
        stretch = state.history.onset(variation, policy.control, fixed)
        figures, units = _of_requests(stretch), stretch.arm.first
        intervals = _intervals(state, variation, stretch) if fixed is None else (None, None)
    else:
        figures, units = figures_of(held, held.since), held.since.t.x
        intervals = (None, None)
    if held.line is not None and held.line.kind == "fresh":
        fixed = configured_share(state, variation)
    value, base = figures.value or 0.0, figures.value_control
    evidence = Evidence(
        test=_test(held, breach.lane), lane=breach.lane, log_e=round(breach.log_e, 6),
        log_threshold=round(breach.log_threshold, 6), n=round(figures.n), events=round(figures.events), value=value,
        n_control=round(figures.n_control), events_control=round(figures.events_control), value_control=base,
        ratio=value / base if base else None, interval=intervals[0], difference_interval=intervals[1],
        units=round(units), bound=fixed,
        alpha_spent=sum(lane.account.total_deposited for lane in held.lanes), segment=held.segment,
        p=p_value(state, held, part_of_budget(state, state.lines, held.at, held.segment)),
        parts=_parts(state, policy, variation, held),
    )  # fmt: skip
    return Testimony(evidence, figures.from_ms, figures.to_ms, fixed is not None and _is_shared(held, figures, fixed))


def figures_of(held: Held, pair: Pair) -> Aggregate:
    """Return what a guardrail on a line measured in a pair of sums."""
    assert held.line is not None
    kind, t, c, span_ms = held.line.kind, pair.t, pair.c, (pair.from_ms, pair.to_ms)
    value, base = values_of(held, t, c)
    if kind == "latency":
        at = _quantile_key(held, c)
        x_t, x_c = (0.0 if at is None else count_above(arm.counts, at) for arm in (t, c))
        return Aggregate(*span_ms, t.n, x_t, value, c.n, x_c, base)
    if kind == "fresh":
        return Aggregate(*span_ms, t.n, 0.0, value, c.n, 0.0, base)
    return Aggregate(*span_ms, t.n, t.x, value, c.n, c.x, base)


def values_of(held: Held, t: Tally | Remembered, c: Tally | Remembered) -> tuple[float | None, float | None]:
    """Return the values alone of `figures_of`, of the variation and of control: views need no more."""
    assert held.line is not None
    kind = held.line.kind
    if kind == "latency":
        at_t, at_c = _quantile_key(held, t), _quantile_key(held, c)
        return None if at_t is None else bucket_edge(at_t), None if at_c is None else bucket_edge(at_c)
    if kind == "score" and held.guardrail.when.signal.kind != "thumbs_down_rate":
        return mean(t, held.line.range), mean(c, held.line.range)
    if kind == "fresh":
        total = t.n + c.n
        return t.n / total if total else None, None
    return t.x / t.n if t.n else None, c.x / c.n if c.n else None


def _quantile_key(held: Held, sums: Tally | Remembered) -> int | None:
    return quantile_key(sums.histogram, held.guardrail.when.signal.quantile or 0.5)


def _of_requests(stretch: Stretch) -> Aggregate:
    arm, base = stretch.arm, stretch.control
    n_t, n_c = max(arm.outcomes, arm.errors), max(base.outcomes, base.errors)
    value, value_control = arm.errors / n_t if n_t else 0.0, base.errors / n_c if n_c else None
    return Aggregate(stretch.from_ms, stretch.to_ms, n_t, arm.errors, value, n_c, base.errors, value_control)


def _intervals(state: RolloutState, variation: str, stretch: Stretch) -> tuple[Interval | None, Interval | None]:
    """
    Return intervals of ratio and difference that hold at every moment and through drift.

    They are of one ratio since the epoch began. Where harm came later, they say little of it: then that of the stretch
    stands for the ratio, which holds as long as rates stand still in it.
    """
    arm, base = stretch.arm, stretch.control
    n_t, n_c = max(arm.outcomes, arm.errors), max(base.outcomes, base.errors)
    if not n_t or not n_c:
        return None, None
    x_t, x_c = min(arm.first, n_t), min(base.first, n_c)
    estimates = state.variations[variation].estimates
    ratio, difference = estimates.ratio(), estimates.difference()
    if x_c and ratio is not None and _holds(ratio, x_t * n_c / (n_t * x_c)):
        return ratio, difference
    return ratio_interval(n_t, x_t, n_c, x_c, INTERVAL_ALPHA), None


def _holds(interval: Interval, value: float) -> bool:
    low, high = interval
    return (low is None or low <= value) and (high is None or value <= high)


def _is_shared(held: Held, figures: Aggregate, fixed: float) -> bool:
    base = figures.value_control
    if base is None or figures.n_control < INCIDENT_UNITS:
        return False
    when = held.guardrail.when
    if when.signal.kind == "latency":
        return base > 1.0 - (when.signal.quantile or 0.5)
    return base < fixed if low_is_harm(when) else base > fixed


_TESTS = {"latency": "slowness_block", "score": "ratings_block", "fresh": "share_block"}


def _test(held: Held, lane: str) -> str:
    when, line = held.guardrail.when, held.line
    if lane == FAST or (line is not None and line.kind == "reports" and isinstance(when.bound, Relative)):
        return "count_block"
    if line is not None and line.kind in _TESTS and when.signal.kind != "thumbs_down_rate":
        return "mean_block" if isinstance(when.bound, Absolute) else _TESTS[line.kind]
    return "threshold" if isinstance(when.bound, Absolute) else "two_sample_block"


def _parts(state: RolloutState, policy: Policy, variation: str, held: Held) -> tuple[Part, ...]:
    """Return what the guardrails of the same action hold of the evidence between them, the largest first."""
    group = {one.name: one for one in together(state, policy, variation, held.guardrail.then)}
    if held.name not in group or len(group) < 2:
        return ()
    shares = attribute({name: one.watch.full.account.log_s() for name, one in group.items()})
    named = [(group[part.name], part) for part in shares[:_PARTS_MAX]]
    return tuple(
        Part(guardrail=one.guardrail.when.text, segment=one.segment, share=round(part.share, 4), on_its_own=part.on_its_own)
        for one, part in named
    )
