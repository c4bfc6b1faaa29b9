"""
Which of several commands about one flag count, in whatever order a store hears of them.

Judge numbers the decisions of a rollout. A store remembers the highest number that it has taken of each kind of change,
by variation; what a newer one has overtaken then does nothing any more, whether it was late, lost and sent again, or
read twice. The table of who overtakes whom is all there is; docs/decisions/0010-who-overtakes-whom.md says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from guardian.ports import CommandKind, FlagCommand

Orders = Mapping[str, Mapping[str, int]]
"""By kind of change and variation the highest number taken; the variation is empty for the whole flag."""

KILLED, RESUMED, SHARED, LOWERED, STOOD = "killed", "resumed", "shared", "lowered", "stood"
CHANGES: Mapping[CommandKind, str] = MappingProxyType(
    {
        "kill": KILLED, "kill_flag": KILLED, "resume": RESUMED, "set_share": SHARED, "step_back": LOWERED,
        "pause": STOOD, "hold": STOOD,
    }
)  # fmt: skip
"""What kind of change each command is."""
OVERTAKEN_BY: Mapping[CommandKind, tuple[str, ...]] = MappingProxyType(
    {
        "kill": (RESUMED,),
        "kill_flag": (RESUMED,),
        "resume": (KILLED,),
        "step_back": (SHARED,),
        "set_share": (KILLED, RESUMED, SHARED, LOWERED, STOOD),
        "pause": (),
        "hold": (),
    }
)
"""By which later changes a command is overtaken: a kill by a resume alone, more traffic by anything."""
def newest(orders: Orders, change: str, variation: str) -> int:
    """Return the highest number taken of a change of a variation, or of the whole flag; -1 where there is none."""
    taken = orders.get(change, {})
    return max(taken.get(variation, -1), taken.get("", -1))


def overtaken_by(orders: Orders, command: FlagCommand) -> int:
    """Return the number of a decision that has overtaken the command's; -1 where none has, or it has no number."""
    after = max((newest(orders, change, _about(command)) for change in OVERTAKEN_BY[command.kind]), default=-1)
    return after if -1 < command.order < after else -1


def spared(orders: Orders, command: FlagCommand, variations: Iterable[str]) -> list[str]:
    """Return the variations that a command to the whole flag no longer reaches, as each was decided on since."""
    if command.order < 0:
        return []
    changes = OVERTAKEN_BY[command.kind]
    return [name for name in variations if any(newest(orders, change, name) > command.order for change in changes)]


def taken(orders: Orders, command: FlagCommand) -> Orders:
    """Return the numbers with the command's among them; without a number of its own they stay as they are."""
    if command.order < 0:
        return orders
    changes = [CHANGES[command.kind]]
    if command.kind == "resume" and command.share is not None:
        changes.append(SHARED)
    about = _about(command)
    held = {change: dict(by) for change, by in orders.items()}
    for change in changes:
        by = held.setdefault(change, {})
        by[about] = max(by.get(about, -1), command.order)
    return held


def _about(command: FlagCommand) -> str:
    """The variation that a command is about; empty for the whole flag, whatever variation led to its kill."""
    return "" if command.kind == "kill_flag" else command.variation
