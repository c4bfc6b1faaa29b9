"""What must hold of the flag store after every command and every edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardian.ports import Applied, FlagCommand
from streams.stores.base import read_state
from streams.stores.memory import MemoryFlagStore
from tests.simulation.scene import CONTROL, ENVIRONMENT, TREATMENT, Rollout

if TYPE_CHECKING:
    from tests.simulation.world import World


AGAINST = {
    "kill": ("resume",), "resume": ("kill",), "step_back": ("set_share",),
    "set_share": ("kill", "resume", "set_share", "step_back", "pause", "hold"),
}  # fmt: skip
"""What each command must not come after, where that is newer."""


def flag(share: float) -> dict[str, Any]:
    """One flag as people write it."""
    percent = round(share * 100)
    return {
        "state": "ENABLED", "variants": {CONTROL: "old", TREATMENT: "new"}, "defaultVariant": CONTROL,
        "targeting": {"fractional": [{"var": "targetingKey"}, [CONTROL, 100 - percent], [TREATMENT, percent]]},
        "metadata": {"version": "1"},
    }  # fmt: skip


class Shelf:
    """The memory store, the document that people wrote last, and what was killed."""

    def __init__(self, world: World, rollouts: tuple[Rollout, ...]) -> None:
        self._world = world
        self.written: dict[str, Any] = {"flags": {rollout.flag: flag(rollout.share) for rollout in rollouts}}
        self.memory = MemoryFlagStore(self.written, environment=ENVIRONMENT, now_ms=lambda: world.clock_ms("act"))
        self.killed: set[str] = set()
        self.edited: set[str] = set()
        self._newest: dict[tuple[str, str], int] = {}
        self._seen = {rollout.flag: rollout.share for rollout in rollouts}
        self._shares = dict(self._seen)
        self._wishes: dict[str, int] = {}

    def share(self, name: str) -> float:
        """The share of treatment that is served."""
        state = read_state(self.memory.document, ENVIRONMENT, name, self.memory._overlays.get(name))
        return state.weights.get(TREATMENT, 0.0)

    def edit(self, name: str, share: float) -> None:
        """A person writes another share."""
        self.written = {"flags": {**self.written["flags"], name: flag(share)}}
        self.memory.edit(self.written)
        self.edited.add(name)
        self._shares[name], self._wishes[name] = share, len(self._world.ledger.wishes)
        self._compare(name)

    def stored(self, command: FlagCommand, applied: Applied) -> None:
        """Compare what the store serves after a command with what it may serve."""
        name, check = command.flag_key, self._world.check
        self._world.note(f"store: {command.kind} {command.command_id} {command.share or ''} -> {applied.status}")
        if applied.status in ("applied", "already"):
            self._order(command, is_change=applied.status == "applied")
        if applied.status == "applied":
            if command.kind in ("kill", "kill_flag"):
                self.killed.add(name)
            elif command.kind == "resume":
                decided = self._world.ledger.decided[command.command_id][1]
                check(decided.caused_by in self._world.ledger.wishes, f"{command.command_id}: nobody wanted a resume")
                self.killed.discard(name)
            elif command.kind == "set_share" and command.share is not None:
                check(name not in self.killed, f"{command.command_id}: a share for what was killed")
                check(abs(self.share(name) - command.share) < 1e-4, f"{name}: {self.share(name)} is not {command.share}")
                self._agreed(command)
            if command.kind == "step_back" and command.share is not None:
                check(self.share(name) < command.share + 1e-4, f"{name}: {self.share(name)} is more than {command.share}")
            if command.kind in ("set_share", "step_back"):
                self._seen[name] = self._shares[name]
        self._compare(name)

    def _order(self, command: FlagCommand, *, is_change: bool) -> None:
        """No decision undoes a newer one about the same, nor gives what a newer one has taken."""
        about = command.kind.removesuffix("_flag")
        newest = max((self._newest.get((command.flag_key, one), 0) for one in AGAINST.get(about, ())), default=0)
        said = f"{command.command_id} was applied after {newest}: an older decision undoes a newer one"
        self._world.check(not is_change or command.order >= newest, said)
        held = self._newest.get((command.flag_key, about), 0)
        self._newest[command.flag_key, about] = max(held, command.order)

    def _agreed(self, command: FlagCommand) -> None:
        """A share that people have written is not overwritten, unless somebody resumed the rollout since."""
        name = command.flag_key
        wishes = list(self._world.ledger.wishes.values())[self._wishes.get(name, 0) :]
        is_agreed = any(wish.action == "resume" and wish.key.endswith(f"|{name}") for wish in wishes)
        is_known = self._shares[name] in (self._seen[name], command.from_share)
        said = f"{command.command_id}: {self._shares[name]}, which people wrote, is overwritten unseen"
        self._world.check(is_known or is_agreed, said)

    def _compare(self, name: str) -> None:
        check, share = self._world.check, self.share(name)
        check(self.memory._base == self.written, "a person's document was overwritten")
        if name in self.killed:
            check(share == 0.0, f"{name} was killed and gets {share:.2f}")
        self._world.served(name, share)
