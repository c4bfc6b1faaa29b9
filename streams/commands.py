"""Which command to a flag store carries a decision out."""

from __future__ import annotations

from guardian.decisions import Decision
from guardian.ports import CommandKind, FlagCommand

KINDS: dict[str, CommandKind] = {
    "kill": "kill",
    "kill_flag": "kill_flag",
    "pause": "pause",
    "hold": "hold",
    "step_back": "step_back",
    "advance": "set_share",
    "resume": "resume",
}


SHARES = frozenset({"set_share", "step_back", "resume"})
"""Commands that may carry shares."""


def command_for(decision: Decision) -> FlagCommand | None:
    """
    The command that carries a decision out, ``None`` where the store has nothing to change.

    Raises:
        ValueError: the decision cannot be carried out; the text names the field.
    """
    kind = KINDS.get(decision.action)
    is_of_all = kind == "pause" and not decision.variant
    if kind is None or is_of_all:
        return None  # a pause of all leaves each share where it is
    return FlagCommand(
        command_id=decision.decision_id,
        decision_id=decision.decision_id,
        flag_key=decision.flag_key,
        environment=decision.environment,
        kind=kind,
        variation=decision.variant,
        control=decision.control,
        share=decision.share if kind in SHARES else None,
        from_share=decision.from_share if kind == "set_share" else None,
        rings=decision.rings if kind in SHARES else {},
    )
