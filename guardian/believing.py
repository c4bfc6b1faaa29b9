"""What a receipt says of a decision that this past has not led to: it was carried out, so it is so."""

from __future__ import annotations

from guardian.decide import advanced
from guardian.journal import ReceiptEntry
from guardian.keepsakes import take_killed
from guardian.names import sequence_of
from guardian.rollout import Event, after
from guardian.state import RolloutState

_BELIEVED = {"resume": Event.RESUMED, "pause": Event.PAUSED, "complete": Event.COMPLETED}


def believe(state: RolloutState, entry: ReceiptEntry) -> None:
    """
    A decision was carried out that this past has not led to: another version made it, before this state was rebuilt.

    A kill is a kill, an advance a stage further, and a number is not given again. Of anything else people are to say how
    it goes on.
    """
    number = sequence_of(entry.decision_id)
    if number <= state.sequence:
        return
    state.sequence = number
    if entry.status not in ("applied", "already"):
        return
    state.to_show = True
    if entry.action == "kill_flag":
        state.joins = after(state.joins, Event.KILLED)
    is_whole = entry.action == "kill_flag" or not entry.variation
    for name in sorted({*state.variations, *state.courses}) if is_whole else [entry.variation]:
        _believe_of(state, name, entry)


def _believe_of(state: RolloutState, variation: str, entry: ReceiptEntry) -> None:
    course = state.course(variation)
    if entry.action in ("kill", "kill_flag"):
        take_killed(state, variation, entry.at_ms)
    elif entry.action == "advance" and course.stage + 1 < len(state.policy.stages):
        advanced(state, variation, entry.at_ms)
    else:
        course.status = after(course.status, _BELIEVED.get(entry.action, Event.HELD))
