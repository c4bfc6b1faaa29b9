"""Going on: what a stage counts, who approved it, and the step to the next one when its gates are open."""

from __future__ import annotations

from guardian.decide import record
from guardian.decisions import Decision
from guardian.gates import is_clear
from guardian.journal import Override, ReceiptEntry
from guardian.names import Millis
from guardian.policy import Policy
from guardian.rollout import Event, Status, after
from guardian.state import RolloutState
from guardian.summaries import FlagSums

DONE = frozenset({"applied", "already", "shadow"})
"""Answers of a store after which a change of shares is so, or would be."""


def go_on(state: RolloutState, policy: Policy, now_ms: Millis) -> list[Decision]:
    """Enter the next stage, or complete the last one, if every gate is open; else nothing."""
    if not is_clear(state, policy, now_ms):
        return []
    alive, stages, reason = state.alive(), policy.stages, _grounds(state, policy)
    variation = alive[0] if len(alive) == 1 else ""
    if state.stage + 1 >= len(stages):
        return [record(state, policy, now_ms, action="complete", variation=variation, guardrail="", reason=reason)]
    agreed = state.progress.agreed
    from_share = stages[state.stage].share if agreed is None else agreed
    state.stage += 1
    state.stage_since_ms = now_ms
    share = stages[state.stage].share
    state.population.will_change(share)
    state.progress.enter()
    made = record(
        state, policy, now_ms, action="advance", variation=variation, guardrail="", share=share, from_share=from_share,
        reason=f"stage {state.stage + 1} of {len(stages)}{f'; {reason}' if reason else ''}",
    )  # fmt: skip
    state.progress.awaits = made.decision_id
    return [made]


def _grounds(state: RolloutState, policy: Policy) -> str:
    """Return what opened the gates of the stage that is left, beside its time."""
    shown = [f"{condition.text} is shown" for condition in policy.stages[state.stage].until or ()]
    approved = [f"{by} approved for {group}" for group, by in sorted(state.progress.approved.items())]
    return ", ".join([*shown, *approved])


def count_time(state: RolloutState, now_ms: Millis) -> None:
    """Count the time up to telemetry that comes now; before it is taken."""
    if state.status == Status.RUNNING and state.data_ms and state.stage_since_ms and not state.progress.awaits:
        state.progress.run(max(state.data_ms, state.stage_since_ms), now_ms)


def count_starts(state: RolloutState, sums: FlagSums) -> None:
    """Count the starts of each variation in the standing stage."""
    progress, by_exposures = state.progress, state.population.by_exposures
    if progress.awaits or not state.stage_since_ms:
        return
    for tick in sums.ticks:
        for variation, arm in tick.arms.items() if tick.start_ms >= state.stage_since_ms else ():
            if variation in state.variations:
                had = arm.exposures if by_exposures else arm.outcomes
                progress.starts[variation] = progress.starts.get(variation, 0) + had


def approve(state: RolloutState, entry: Override) -> None:
    """A group agrees to leave the stage that stood when it did; for another stage, or another group, it says nothing."""
    stages = state.policy.stages
    is_meant = stages and entry.stage in (state.stage, None)
    if is_meant and entry.group in stages[state.stage].approval:
        state.progress.approved[entry.group] = entry.by
        state.progress.agree()
        state.to_show = True


def take_answer(state: RolloutState, entry: ReceiptEntry, action: str) -> None:
    """
    The store answered to the change that the standing stage began with: it begins now, or it never does.

    An advance that people's own change of the share stands against, or that a later decision has overtaken, is taken
    back; one that cannot be carried out makes the rollout wait for somebody, too.
    """
    progress = state.progress
    if not progress.awaits or progress.awaits != entry.decision_id:
        return
    progress.awaits, state.stage_since_ms = "", entry.at_ms
    if entry.status in DONE:
        progress.settle()
        state.status = after(state.status, Event.WENT_BACK)
        return
    if action == "advance" and state.stage > 0:
        # The share is still that of the stage before: to count this one would skip it.
        state.stage -= 1
        progress.enter()
    if entry.share is not None:
        progress.find(entry.share, entry.at_ms)
    elif entry.status != "superseded":
        state.status = after(state.status, Event.STAYED)


def take_stages(state: RolloutState, before: Policy, at_ms: Millis) -> None:
    """The policy changed: a stage with other terms than ``before`` begins anew, and so does the ladder of step backs."""
    policy, progress = state.policy, state.progress
    state.stage = min(state.stage, max(len(policy.stages) - 1, 0))
    if (before.stages, before.false_advances) != (policy.stages, policy.false_advances):
        awaits = progress.awaits
        progress.enter()
        progress.awaits, progress.backs = awaits, {}
        if state.stage_since_ms:
            state.stage_since_ms = at_ms
