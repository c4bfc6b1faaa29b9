"""From verdicts to the one strictest decision of the moment, with the numbers that justify it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from guardian.conditions import Absolute
from guardian.decisions import Action as ActionName
from guardian.decisions import Decision, Evidence
from guardian.evidence import Breach
from guardian.explain import explain
from guardian.history import Stretch
from guardian.names import Millis, decision_id, split_rollout_key
from guardian.policy import Action, Guardrail, Policy
from guardian.rollout import Event, Status, after
from guardian.sequential import ratio_interval
from guardian.state import Pending, RolloutState, Verify
from guardian.watch import VariationWatch, tested

INTERVAL_ALPHA = 0.05
INCIDENT_UNITS = 20
"""Outcomes of control in the stretch before its own rate can call a breach a shared incident."""

_EVENT = {
    Action.HOLD: Event.HELD,
    Action.PAUSE: Event.PAUSED,
    Action.STEP_BACK: Event.STEPPED_BACK,
    Action.KILL: Event.KILLED,
    Action.KILL_FLAG: Event.KILLED,
}


def decide(state: RolloutState, policy: Policy, now_ms: Millis) -> list[Decision]:
    """
    Turn standing breaches into decisions, at most one a variation, the strictest first.

    Changes the state as the decision demands: a kill ends the watch of its
    variation, anything milder empties the accounts that cried.
    """
    decisions = []
    for variation in state.alive():
        watch = state.variations[variation]
        breaches = _breaches(state, policy, watch, variation)
        if breaches:
            guardrail, breach = max(breaches, key=lambda b: (b[0].then.severity, b[1].log_e))
            decisions.append(_act_on(state, policy, variation, guardrail, breach, now_ms))
    return decisions


def _breaches(
    state: RolloutState, policy: Policy, watch: VariationWatch, variation: str
) -> list[tuple[Guardrail, Breach]]:
    enough = state.history.failed_units(variation) >= policy.min_units
    found = []
    for guardrail, held in zip(tested(policy), watch.guardrails, strict=True):
        verdict = held.verdict(enough)
        if isinstance(verdict, Breach):
            found.append((guardrail, verdict))
    return found


def _act_on(
    state: RolloutState,
    policy: Policy,
    variation: str,
    guardrail: Guardrail,
    breach: Breach,
    now_ms: Millis,
) -> Decision:
    watch = state.variations[variation]
    held = watch.guardrails[tested(policy).index(guardrail)]
    bound = guardrail.when.bound.value if isinstance(guardrail.when.bound, Absolute) else None
    stretch = state.history.onset(variation, policy.control, bound)
    spent = sum(lane.account.total_deposited for lane in (held.full, held.fast) if lane is not None)
    evidence = _evidence(breach, stretch, bound, spent)
    action, reason = guardrail.then, ""
    if bound is not None and action >= Action.KILL and _shared(stretch, bound):
        action = Action.HOLD
        reason = (
            "control is above the same bound at the same time: "
            "this looks like a shared incident, not like the variation"
        )
    if action >= Action.KILL:
        for name in state.alive() if action == Action.KILL_FLAG else [variation]:
            state.variations[name].killed = True
            state.variations[name].killed_at_ms = now_ms
    else:
        held.reset()
    share = None
    if action == Action.STEP_BACK and policy.stages:
        state.stage, state.stage_since_ms = max(state.stage - 1, 0), now_ms
        share = policy.stages[state.stage].share
    return record(
        state, policy, now_ms, action=action, variation=variation, guardrail=guardrail.when.text,
        evidence=evidence, stretch=stretch, budget=spent, reason=reason, share=share,
    )  # fmt: skip


def _shared(stretch: Stretch, bound: float) -> bool:
    control = stretch.control
    return control.outcomes >= INCIDENT_UNITS and control.first / control.outcomes > bound


def _evidence(breach: Breach, stretch: Stretch, bound: float | None, spent: float) -> Evidence:
    arm, base = stretch.arm, stretch.control
    n_t, n_c = max(arm.outcomes, arm.errors), max(base.outcomes, base.errors)
    value = arm.errors / n_t if n_t else 0.0
    value_control = base.errors / n_c if n_c else None
    test = "threshold" if bound is not None else ("count_block" if breach.lane == "fast" else "two_sample_block")
    interval = None
    if bound is None and n_t and n_c:
        interval = ratio_interval(n_t, min(arm.first, n_t), n_c, min(base.first, n_c), INTERVAL_ALPHA)
    return Evidence(
        test=test, lane=breach.lane, log_e=round(breach.log_e, 6), log_threshold=round(breach.log_threshold, 6),
        n=n_t, events=arm.errors, value=value, n_control=n_c, events_control=base.errors, value_control=value_control,
        ratio=value / value_control if value_control else None, interval=interval, units=round(arm.first),
        bound=bound, alpha_spent=spent,
    )  # fmt: skip


def record(
    state: RolloutState,
    policy: Policy,
    now_ms: Millis,
    *,
    action: Action | str,
    variation: str,
    guardrail: str,
    evidence: Evidence | None = None,
    stretch: Stretch | None = None,
    budget: float = 0.0,
    reason: str = "",
    caused_by: str = "",
    share: float | None = None,
) -> Decision:
    """Write a decision down: its deterministic id, its sentence, the outbox, the status it leads to."""
    state.sequence += 1
    environment, flag_key = split_rollout_key(state.key)
    name = cast("ActionName", str(action))
    decision = Decision(
        decision_id=decision_id(state.key, variation, state.sequence),
        flag_key=flag_key, environment=environment, variant=variation, control=policy.control,
        action=name, mode=policy.mode, guardrail=guardrail, signal="error_rate" if evidence else "",
        decided_at=iso(now_ms),
        evidence_from=iso(stretch.from_ms if stretch else now_ms),
        evidence_to=iso(min(stretch.to_ms, now_ms) if stretch else now_ms),
        evidence=evidence, policy_hash=state.policy_hash, owner=policy.owner, share=share,
        sources={name: (seen[0], seen[1]) for name, seen in sorted(state.sources.items())},
        caused_by=caused_by,
        explanation=explain(
            name, flag_key, variation, environment, policy.control, evidence,
            mode=policy.mode, guardrail=guardrail, budget=budget, reason=reason, share=share,
        ),
    )  # fmt: skip
    state.outbox.append(Pending(decision.decision_id, decision.model_dump_json().encode(), now_ms))
    state.last_decision, state.explanation = decision.decision_id, decision.explanation
    _enter(state, policy, name, variation, decision.decision_id)
    return decision


def _enter(state: RolloutState, policy: Policy, action: str, variation: str, made: str) -> None:
    if action in ("kill", "kill_flag"):
        if policy.mode == "enforce":
            killed = [variation] if action == "kill" else sorted(state.variations)
            for name in killed:
                state.verify[name] = Verify(made)
        if not state.alive():
            state.status = after(state.status, Event.KILLED)
    elif action in Action.__members__.values() and Action(action) in _EVENT:
        state.status = after(state.status, _EVENT[Action(action)])
    elif action == "resume":
        state.status = after(state.status, Event.RESUMED)
    elif action == "advance":
        state.status = after(state.status, Event.ADVANCED)
    elif action == "complete":
        state.status = after(state.status, Event.COMPLETED)


def begin(state: RolloutState) -> None:
    """Telemetry came: a planned rollout runs."""
    if state.status == Status.PLANNED:
        state.status = after(state.status, Event.BEGAN)


def iso(at_ms: Millis) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
