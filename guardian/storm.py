"""
Many kills at once are hardly many bugs: telemetry that went wrong, or an incident that struck one arm harder.

The first few go through, for each may be right. From then on what would be a kill is held, and a person told, until the
time is over; then harm that goes on is killed after all.
"""

from __future__ import annotations

from collections.abc import Iterable

from guardian.names import Millis
from guardian.state import RolloutState


def kills_before(states: Iterable[RolloutState], key: str, at_ms: Millis, window_ms: Millis) -> int:
    """
    Return how many other rollouts had a variation killed by a guardrail within ``window_ms`` before ``at_ms``.

    Of the same moment those count whose key comes first: that is the order in which they were judged, whatever part of
    the state a worker that goes on after a crash has read again.
    """
    return sum(1 for state in states if state.key != key and _is_within(state, key, at_ms, window_ms))


def _is_within(state: RolloutState, key: str, at_ms: Millis, window_ms: Millis) -> bool:
    return any(
        at_ms - window_ms < killed_ms < at_ms or (killed_ms == at_ms and state.key < key)
        for watch in state.variations.values()
        for killed_ms in watch.judged_ms
    )
