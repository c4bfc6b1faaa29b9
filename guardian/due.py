"""What time alone changes of a rollout, and whether it is time."""

from __future__ import annotations

from zlib import crc32

from guardian.blame import is_over
from guardian.config import JudgeConfig, Now, lag_of, lags_of
from guardian.effects import Decide, Effect
from guardian.gates import clear
from guardian.names import Millis
from guardian.rollout import Status
from guardian.silence import is_news
from guardian.state import Pending, RolloutState
from guardian.verify import WINDOW_MS
from guardian.views import STALE_MS

WAITS_TIMES = 12
"""A decision that act is known to have is sent again so many times more rarely."""


def is_waiting(state: RolloutState) -> bool:
    """Say whether time alone can change something here: ticks to mature, answers or stages to wait for."""
    ticks = state.population.waiting or state.arrivals.open or state.hanging.open
    waiting = ticks or state.mixing.waiting or state.failures.fresh
    stepping = state.windows.due_ms is not None or any(watch.asked_ms for watch in state.variations.values())
    return bool(waiting or stepping or state.outbox or state.verify or state.to_show or _may_go_on(state))


def is_due(state: RolloutState, now: Now, config: JudgeConfig) -> bool:
    """Say whether letting time pass would change the state now; where not, it is left alone, snapshot and all."""
    waiting, mature_ms = state.population.waiting, now.passed_ms - lag_of(state, config)
    return (
        bool(state.failures.fresh)
        or (bool(waiting) and min(waiting) <= mature_ms)
        or _arrivals_due(state, now, config)
        or show_due(state, now, config)
        or _hanging_due(state, now)
        or _step_due(state, mature_ms)
        or has_waited(state, now)
        or any(_resend_due(pending, now, config) for pending in state.outbox)
        or any(v.applied_ms and now.passed_ms >= v.applied_ms + WINDOW_MS for v in state.verify.values())
        or bool(clear(state, state.policy, now.at_ms))
        or is_news(state, state.policy, now.at_ms)
        or state.mixing.is_due(now.passed_ms)
    )


def _arrivals_due(state: RolloutState, now: Now, config: JudgeConfig) -> bool:
    arrivals = state.arrivals.open
    return bool(arrivals) and min(arrivals) <= now.passed_ms - lags_of(state, config).arrivals_ms


def _hanging_due(state: RolloutState, now: Now) -> bool:
    hanging = state.hanging.open
    return bool(hanging) and min(hanging) <= now.passed_ms - state.lines.wait_ms


def _step_due(state: RolloutState, mature_ms: Millis) -> bool:
    due_ms = state.windows.due_ms
    return due_ms is not None and due_ms <= mature_ms


def has_waited(state: RolloutState, now: Now) -> bool:
    """Say whether an action has waited long enough to know whether another flag is behind it."""
    return any(is_over(watch.asked_ms, now.at_ms) for watch in state.variations.values() if not watch.killed)


def show_due(state: RolloutState, now: Now, config: JudgeConfig) -> bool:
    """News at most every ``show_ms``, each rollout in its own slot; and once more when telemetry falls silent."""
    if state.to_show:
        phase_ms = crc32(state.key.encode()) % config.show_ms
        return (now.at_ms + phase_ms) // config.show_ms > (state.shown_ms + phase_ms) // config.show_ms
    return bool(state.data_ms) and now.at_ms - state.data_ms > STALE_MS >= state.shown_ms - state.data_ms


def resend(state: RolloutState, now: Now, config: JudgeConfig) -> list[Effect]:
    """Return the decisions that have waited too long for a receipt; a repeat has the same id and does no harm."""
    effects: list[Effect] = []
    for pending in state.outbox:
        if _resend_due(pending, now, config):
            pending.sent_ms = now.at_ms
            effects.append(Decide(pending.decision()))
    return effects


def _resend_due(pending: Pending, now: Now, config: JudgeConfig) -> bool:
    return now.at_ms - pending.sent_ms >= config.resend_ms * (WAITS_TIMES if pending.waits else 1)


def _may_go_on(state: RolloutState) -> bool:
    return bool(state.policy.stages) and any(course.status == Status.RUNNING for course in state.courses.values())
