"""A rollout as people see it now."""

from __future__ import annotations

import math

from guardian.decide import iso
from guardian.decisions import ArmView, GuardrailView, RolloutView
from guardian.history import RECENT_MS
from guardian.names import Millis, split_rollout_key
from guardian.policy import Policy
from guardian.population import Cell
from guardian.sequential import rate_interval
from guardian.state import RolloutState
from guardian.watch import tested

INTERVAL_ALPHA = 0.05
STALE_MS = 5_000


def view(state: RolloutState, policy: Policy, now_ms: Millis, passed_ms: Millis, lag_ms: Millis) -> RolloutView:
    """Return the rollout's view; intervals are anytime-valid while rates stand still within the epoch."""
    environment, flag_key = split_rollout_key(state.key)
    names = [policy.control, *sorted(v for v in state.variations if v != policy.control)]
    fresh = state.data_ms and now_ms - state.data_ms <= STALE_MS
    return RolloutView(
        key=state.key, flag_key=flag_key, environment=environment, control=policy.control, owner=policy.owner,
        mode=policy.mode, status=str(state.status), stage=state.stage, stages=max(len(policy.stages), 1),
        share=policy.stages[state.stage].share if policy.stages else None,
        at=iso(now_ms), lag_ms=lag_ms, passed_ms=passed_ms,
        telemetry="fresh" if fresh else ("stale" if state.data_ms else "none"),
        arms=tuple(_arm(state, name, now_ms) for name in names),
        guardrails=tuple(_guardrails(state, policy)), mixed_units=len(state.mixing.units),
        mixed_services=tuple(state.mixing.services), policy_hash=state.policy_hash,
        last_decision=state.last_decision, explanation=state.explanation,
    )  # fmt: skip


def _arm(state: RolloutState, variation: str, now_ms: Millis) -> ArmView:
    epoch = state.population.now
    cell = epoch.arms.get(variation, Cell()) if epoch is not None else Cell()
    recent = state.history.since(now_ms - RECENT_MS, variation, variation).arm
    shown = epoch.shown_share(variation, state.population.by_exposures) if epoch is not None else None
    n, errors = cell.outcomes, min(cell.errors, cell.outcomes)
    return ArmView(
        variation=variation, share=shown, n=n, errors=errors, units=round(cell.first),
        rate=errors / n if n else None, interval=rate_interval(n, errors, INTERVAL_ALPHA) if n else None,
        recent_n=recent.outcomes, recent_errors=recent.errors,
    )  # fmt: skip


def _guardrails(state: RolloutState, policy: Policy) -> list[GuardrailView]:
    shown = []
    for variation, watch in sorted(state.variations.items()):
        for guardrail, held in zip(tested(policy), watch.guardrails, strict=True):
            lanes = [lane for lane in (held.full, held.fast) if lane is not None]
            log_e, threshold = max((lane.numbers() for lane in lanes), key=lambda n: n[0] - n[1])
            shown.append(
                GuardrailView(
                    guardrail=guardrail.when.text, variation=variation, action=str(guardrail.then),
                    log_e=log_e if any(lane.read for lane in lanes) else None,
                    log_threshold=threshold if math.isfinite(threshold) else 0.0,
                )
            )
    return shown
