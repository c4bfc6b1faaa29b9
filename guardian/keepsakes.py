"""
What outlives the journal's retention of a rollout: made of its state from time to time, and what can be begun with it.

Evidence is not kept: a variation that begins with a keepsake has to pass the gates of its stage anew, is killed if it was,
and decides under numbers that were not given before.
"""

from __future__ import annotations

import msgspec

from guardian.journal import Keepsake, PolicyEntry
from guardian.progress import Progress
from guardian.rollout import Status
from guardian.state import Pending, RolloutState, Verify, packed_document
from guardian.variation import VariationWatch
from guardian.watch import Watch, tested


def keepsake_of(state: RolloutState, seen: int) -> Keepsake:
    """Return the keepsake of a rollout as it is now, after all entries up to offset ``seen``."""
    courses = {name: msgspec.structs.replace(course, health=[]) for name, course in state.courses.items()}
    return Keepsake(
        seen=max(seen, state.offset), since=state.since, joins=state.joins.value, sequence=state.sequence,
        courses=msgspec.to_builtins(courses), verify=msgspec.to_builtins(state.verify), changes=list(state.changes),
        served=dict(state.served),
        killed={name: watch.killed_at_ms for name, watch in sorted(state.variations.items()) if watch.killed},
        # As text: msgspec would write bytes in base64.
        outbox=[msgspec.structs.asdict(pending) | {"raw": pending.raw.decode()} for pending in state.outbox],
        last_decision=state.last_decision, explanation=state.explanation,
    )  # fmt: skip


def begin_from(entry: PolicyEntry, keepsake: Keepsake, offset: int) -> RolloutState:
    """
    Return the rollout as it was when its keepsake was made, under the entry's policy; it has seen all up to ``seen``.

    A keepsake that this version cannot read says as much as none: the rollout is held (``begin_held``).
    """
    try:
        state = RolloutState(
            entry.key, packed_document(entry.document), entry.hash, offset=keepsake.seen, since=keepsake.since,
            kept_ms=entry.at_ms, joins=Status(keepsake.joins), sequence=keepsake.sequence, changes=list(keepsake.changes),
            courses=msgspec.convert(keepsake.courses, dict[str, Progress]),
            outbox=[msgspec.convert(one | {"raw": one["raw"].encode()}, Pending) for one in keepsake.outbox],
            verify=msgspec.convert(keepsake.verify, dict[str, Verify]), served=dict(keepsake.served),
            last_decision=keepsake.last_decision, explanation=keepsake.explanation,
        )  # fmt: skip
    except (msgspec.ValidationError, ValueError, LookupError, TypeError, AttributeError):
        return begin_held(entry, offset)
    for course in state.courses.values():
        awaits = course.awaits
        course.enter()
        course.awaits = awaits
    for name, at_ms in keepsake.killed.items():
        take_killed(state, name, at_ms)
    return state


def take_killed(state: RolloutState, variation: str, at_ms: int) -> None:
    """Take a variation for killed since ``at_ms``, known before or not."""
    watch = state.variations.setdefault(variation, VariationWatch())
    if not watch.guardrails:
        watch.guardrails = [Watch.begin(guardrail.when) for guardrail in tested(state.policy)]
    watch.killed, watch.killed_at_ms = True, at_ms
    state.course(variation).status = Status.KILLED


def begin_held(entry: PolicyEntry, offset: int) -> RolloutState:
    """
    Return a rollout of which is known that it had a past, and not what that was: it waits for people to resume it.

    Its decisions are numbered from the entry's ``offset`` on, which is above any number given before: each decision had
    a receipt in the journal.
    """
    state = RolloutState(entry.key, packed_document(entry.document), entry.hash, kept_ms=entry.at_ms)
    state.joins, state.sequence, state.explanation = Status.HOLDING, offset, HELD
    return state


HELD = "Held: what was known of this rollout is lost, and no longer in the journal; resume it to let it go on"
