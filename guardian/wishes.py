"""What people want of a rollout, and what they have changed."""

from __future__ import annotations

from guardian.advancing import approve
from guardian.config import Now
from guardian.decide import concerned, record
from guardian.effects import Decide, Effect
from guardian.intake import known_change
from guardian.journal import Override
from guardian.looking_back import turned_off
from guardian.state import RolloutState
from guardian.told import is_new_change
from guardian.variation import VariationWatch


def take_override(state: RolloutState, entry: Override, now: Now) -> list[Effect]:
    """
    A person's wish always wins; it is recorded as a decision with the name and the reason.

    In shadow mode, too, it is carried out: it is the guardian's own decisions that do nothing there.
    """
    policy = state.policy
    if entry.action == "changed":
        _take_change(state, entry, now)
        return []
    state.to_show = True
    if entry.action == "approve":
        approve(state, entry)
        return []
    said = f"{entry.by}: {entry.reason}" if entry.by else entry.reason
    variations = [entry.variation] if entry.variation else sorted(state.variations)
    if entry.action == "resume":
        _revive(state, variations)
        for course in concerned(state, entry.action, entry.variation):
            course.agree()
    elif entry.action == "kill":
        for name in variations:
            watch = state.variations.setdefault(name, VariationWatch())
            if not watch.guardrails:
                watch.renew(policy)
            watch.killed, watch.killed_at_ms = True, now.at_ms
    variation = entry.variation or (variations[0] if len(variations) == 1 else "")
    action = "kill_flag" if entry.action == "kill" and not entry.variation and len(variations) != 1 else entry.action
    decision = record(
        state, policy, now.at_ms, action=action, variation=variation, guardrail="", reason=said, caused_by=entry.id,
        mode="enforce",
    )  # fmt: skip
    if entry.action == "kill" and policy.mode == "shadow":
        turned_off(state, decision.decision_id, variations, entry.by, now.at_ms)
    return [Decide(decision)]


def _take_change(state: RolloutState, entry: Override, now: Now) -> None:
    """Something that is known to have changed (a build, a setting) may bring harm: budget for it, once by its id."""
    if not is_new_change(state, entry.id):
        return
    known_change(state, state.policy, now.at_ms, entry.reason or "a change")


def _revive(state: RolloutState, variations: list[str]) -> None:
    for name in variations:
        watch = state.variations.get(name)
        if watch is not None and watch.killed:
            # Nobody had it meanwhile: that is no silence, nor is what comes until the store has given it back.
            state.heard.pop(name, None)
        if watch is not None and (watch.killed or watch.spoken):
            watch.killed = False
            watch.reset()
        if watch is not None:
            watch.change()
        state.verify.pop(name, None)
