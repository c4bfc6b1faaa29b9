"""Going on: what a stage counts, who approved it, and each variation's step to the next one when its gates are open."""

from __future__ import annotations

from guardian.decide import advanced, move, record
from guardian.decisions import Decision
from guardian.gates import clear
from guardian.grants import EVERYBODY, grant_of, parts_of
from guardian.journal import Override, ReceiptEntry
from guardian.names import Millis
from guardian.policy import Policy
from guardian.progress import Progress
from guardian.rollout import Event, Status, after
from guardian.state import RolloutState

DONE = frozenset({"applied", "already", "shadow"})
"""Answers of a store after which a change of shares is so, or would be."""


def go_on(state: RolloutState, policy: Policy, now_ms: Millis) -> list[Decision]:
    """Let each variation enter its next stage, or complete the last one, if all of its gates are open."""
    decisions = []
    # Asked anew after each: one that has gone on takes room from those that come after it.
    while going := clear(state, policy, now_ms):
        decisions.append(_go_on(state, policy, going[0], now_ms))
    return decisions


def _go_on(state: RolloutState, policy: Policy, variation: str, now_ms: Millis) -> Decision:
    course = state.course(variation)
    reason, stage, stages = _grounds(course, policy), course.stage + 1, policy.stages
    if stage >= len(stages):
        return record(state, policy, now_ms, action="complete", variation=variation, guardrail="", reason=reason)
    before = grant_of(policy, course.stage, parts_of(policy, len(state.courses)))
    from_share = before[EVERYBODY] if course.agreed is None else course.agreed
    grant = move(state, policy, variation, stage, now_ms)
    made = record(
        state, policy, now_ms, action="advance", variation=variation, guardrail="", grant=grant, from_share=from_share,
        reason=f"stage {stage + 1} of {len(stages)}{f'; {reason}' if reason else ''}",
    )  # fmt: skip
    course.awaits = made.decision_id
    return made


def _grounds(course: Progress, policy: Policy) -> str:
    """Return what opened the gates of the stage that is left, beside its time."""
    until = policy.stages[course.stage].until if course.stage >= 0 else None
    shown = [f"{condition.text} is shown" for condition in until or ()]
    approved = [f"{by} approved for {group}" for group, by in sorted(course.approved.items())]
    return ", ".join([*shown, *approved])


def begin_rings(state: RolloutState, policy: Policy) -> None:
    """Where the first stage is a ring, the courses of the variations begin before anybody has them."""
    if policy.stages and policy.stages[0].users is not None:
        for variation in policy.variations:
            state.course(variation)


def begin_stages(state: RolloutState, now_ms: Millis) -> None:
    """The stages of variations that were seen for the first time stand from now on."""
    for variation in state.variations:
        course = state.course(variation)
        if not course.since_ms:
            course.since_ms = now_ms


def count_time(state: RolloutState, now_ms: Millis) -> None:
    """Count the time up to telemetry that comes now; before it is taken."""
    for course in state.courses.values() if state.data_ms else ():
        if course.status == Status.RUNNING and course.since_ms and not course.awaits:
            course.run(max(state.data_ms, course.since_ms), now_ms)


def approve(state: RolloutState, entry: Override) -> None:
    """A group agrees to leave the stage that stood when it did; for another stage, or another group, it says nothing."""
    stages = state.policy.stages
    for variation, course in state.courses.items():
        is_meant = entry.variation in ("", variation) and entry.stage in (course.stage, None)
        if is_meant and 0 <= course.stage < len(stages) and entry.group in stages[course.stage].approval:
            course.approved[entry.group] = entry.by
            course.agree()
            state.to_show = True


def take_answer(state: RolloutState, entry: ReceiptEntry, decision: Decision) -> list[Decision]:
    """
    The store answered to the change that a variation's stage began with: it begins now, or it never does.

    An advance that people's own change of the share stands against, or that a later decision has overtaken, is taken
    back; one that cannot be carried out makes the variation wait for somebody, too. One that was given up may have been
    carried out all the same: then the store is told, too, to take it back.
    """
    made = []
    for variation, course in state.courses.items():
        if not course.awaits or course.awaits != entry.decision_id:
            continue
        if entry.status == "expired" and decision.action == "advance":
            made.append(_take_back(state, variation, entry.at_ms))
        else:
            _take_answer(course, entry, decision.action)
    return made


def _take_back(state: RolloutState, variation: str, at_ms: Millis) -> Decision:
    course, policy = state.course(variation), state.policy
    agreed = course.agreed
    grant = move(state, policy, variation, course.stage - 1, at_ms)
    # What people had set before and somebody has agreed to stays theirs.
    grant[EVERYBODY] = max(grant[EVERYBODY], agreed or 0.0)
    course.status = after(course.status, Event.STAYED)
    return record(
        state, policy, at_ms, action="step_back", variation=variation, guardrail="", grant=grant,
        reason="the flag store did not say in time whether it has carried out the advance",
    )  # fmt: skip


def _take_answer(course: Progress, entry: ReceiptEntry, action: str) -> None:
    course.awaits, course.since_ms = "", entry.at_ms
    if entry.status in DONE:
        course.grants = course.grants[-1:]
        course.settle()
        course.status = after(course.status, Event.WENT_BACK)
        return
    course.grants = course.grants[:-1]
    if action == "advance":
        # The share is still that of the stage before: to count this one would skip it.
        course.stage -= 1
        course.enter()
    if entry.share is not None:
        course.find(entry.share, entry.at_ms)
        course.refused = entry.decision_id if action == "advance" else ""
    elif entry.status != "superseded":
        course.status = after(course.status, Event.STAYED)


def take_late(state: RolloutState, entry: ReceiptEntry) -> str:
    """
    Return the variation whose advance was carried out though its refusal was told before; it stands in that stage now.

    People had set another share, took it back, and the store was asked once more by who had not noted the first answer.
    """
    for variation, course in state.courses.items():
        if course.refused == entry.decision_id and course.stage + 1 < len(state.policy.stages):
            advanced(state, variation, entry.at_ms)
            course.settle()
            return variation
    return ""


def take_stages(state: RolloutState, before: Policy, at_ms: Millis) -> None:
    """The policy changed: stages with other terms than ``before`` begin anew, and so do the ladders of step backs."""
    policy = state.policy
    first = -1 if policy.stages and policy.stages[0].users is not None else 0
    is_other = (before.stages, before.false_advances) != (policy.stages, policy.false_advances)
    for course in state.courses.values():
        course.stage = max(min(course.stage, len(policy.stages) - 1), first)
        if is_other:
            awaits = course.awaits
            course.enter()
            course.awaits, course.backs, course.refused = awaits, {}, ""
            if course.since_ms:
                course.since_ms = at_ms
