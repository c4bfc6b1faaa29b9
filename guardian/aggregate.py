"""What a literal rule compares: the value of its signal over a window, as people know it, and whether it breaks the bound."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.levels import BEST
from guardian.lines import Line
from guardian.names import Millis
from guardian.plan import THUMB
from guardian.sequential import bucket_key, count_above
from guardian.tally import Tally
from guardian.window import quantile

LITERAL_LEAST = 50
"""Units in the window, of each arm that is read, before a literal rule says anything."""

_COMPARE: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
)


class Aggregate(msgspec.Struct, array_like=True, gc=False):
    """
    What was measured of both arms over the starts in ``[from_ms, to_ms)``, by a window or by a guardrail.

    ``n`` and ``events`` as in ``Evidence``, values in the signal's own unit; None where there is nothing to tell.
    """

    from_ms: Millis
    to_ms: Millis
    n: float
    events: float
    value: float | None
    n_control: float
    events_control: float
    value_control: float | None


def condensed(line: Line, tally: Tally) -> Tally:
    """
    Return what a window keeps of a line's sums.

    Of scores only their sum, in ``x``, as positions in their range; of reports and failures no part is left out.
    """
    if line.kind == "latency":
        return tally
    if line.kind == "score" and line.score != THUMB:
        return Tally(tally.n, sum(at * count for at, count in tally.counts.items()))
    return Tally(tally.n, tally.x + tally.left)


def anchor(condition: Condition) -> int:
    """Return the latency bucket that holds a fixed bound, so that it stays apart; 0 where there is none."""
    fixed = condition.signal.kind == "latency" and isinstance(condition.bound, Absolute)
    return bucket_key(condition.bound.value) if fixed and isinstance(condition.bound, Absolute) else 0


def aggregate(
    condition: Condition, line: Line, sums: tuple[Tally, Tally], merged: int, span_ms: tuple[Millis, Millis]
) -> Aggregate:
    """Return what a window holds of a variation and of control, whose latency buckets were ``merged`` so often."""
    t, c = sums
    if line.kind == "latency":
        tau, edge = condition.signal.quantile or 0.5, anchor(condition)
        values = [quantile(arm.counts, tau, merged) if arm.counts else None for arm in sums]
        above = [count_above(arm.counts, edge) if edge else 0.0 for arm in sums]
        return Aggregate(*span_ms, t.n, above[0], values[0], c.n, above[1], values[1])
    if line.kind == "score" and line.score != THUMB:
        low, high = line.range
        means = [low + (high - low) * arm.x / (BEST * arm.n) if arm.n > 0.0 else None for arm in sums]
        return Aggregate(*span_ms, t.n, 0.0, means[0], c.n, 0.0, means[1])
    rates = [arm.x / arm.n if arm.n > 0.0 else None for arm in sums]
    return Aggregate(*span_ms, t.n, t.x, rates[0], c.n, c.x, rates[1])


def missing(condition: Condition, found: Aggregate) -> float:
    """Return how many units of the arm that has fewer are missing until the rule says anything; 0 for none."""
    least = found.n if isinstance(condition.bound, Absolute) else min(found.n, found.n_control)
    return max(LITERAL_LEAST - least, 0.0)


def breaks(condition: Condition, found: Aggregate) -> bool:
    """Say whether the value over the window breaks the bound exactly as written, on enough units."""
    limit = _limit(condition, found.value_control)
    if missing(condition, found) > 0.0 or found.value is None or limit is None:
        return False
    return is_beyond(condition, found.value, limit)


def is_beyond(condition: Condition, value: float, limit: float) -> bool:
    """Say whether a value stands to a limit as the condition's bound is broken."""
    assert condition.op is not None
    return _COMPARE[condition.op](value, limit)


def _limit(condition: Condition, control: float | None) -> float | None:
    bound = condition.bound
    if isinstance(bound, Absolute):
        return bound.value
    if control is None:
        return None
    if isinstance(bound, Relative):
        return bound.factor * control
    return control + bound.delta if isinstance(bound, Margin) else None
