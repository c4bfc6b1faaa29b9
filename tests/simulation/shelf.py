"""What must hold of the flag store after every command and every edit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from guardian.dividing import serves
from guardian.ports import Applied, FlagCommand
from guardian.served import Serves
from streams.stores.base import read_state
from streams.stores.memory import MemoryFlagStore
from tests.simulation.scene import CONTROL, ENVIRONMENT, RING, TREATMENT, Rollout

if TYPE_CHECKING:
    from tests.simulation.world import World

EVERYBODY = ""
STAFF = {RING: {"in": [{"var": "targetingKey"}, ["u0"]]}}
"""The ring as people define it; users here know by themselves who is in it."""
Served = dict[str, dict[str, float]]
"""Shares by ring, or for everybody, and variation."""

AGAINST = {
    "kill": ("resume",), "resume": ("kill",), "step_back": ("set_share",),
    "set_share": ("kill", "resume", "set_share", "step_back", "pause", "hold"),
}  # fmt: skip
"""What each command must not come after, where that is newer."""


def flag(share: float, variations: tuple[str, ...] = (TREATMENT,)) -> dict[str, Any]:
    """One flag as people write it."""
    each = round(share * 1_000 / len(variations))
    return {
        "state": "ENABLED", "variants": {CONTROL: "old", **dict.fromkeys(variations, "new")}, "defaultVariant": CONTROL,
        "targeting": {"fractional": [
            {"var": "targetingKey"}, [CONTROL, 1_000 - each * len(variations)], *([name, each] for name in variations),
        ]},
        "metadata": {"version": "1"},
    }  # fmt: skip


class Shelf:
    """The memory store, the document that people wrote last, and what was killed, by flag and variation."""

    def __init__(self, world: World, rollouts: tuple[Rollout, ...]) -> None:
        self._world = world
        self._rollouts = {rollout.flag: rollout for rollout in rollouts}
        flags = {rollout.flag: flag(rollout.share, rollout.variations) for rollout in rollouts}
        self.written: dict[str, Any] = {"$evaluators": STAFF, "flags": flags}
        self.memory = MemoryFlagStore(self.written, environment=ENVIRONMENT, now_ms=lambda: world.clock_ms("act"))
        self.killed: set[tuple[str, str]] = set()
        self.edited: set[str] = set()
        self._newest: dict[tuple[str, str, str], int] = {}
        self._seen = {(rollout.flag, one): self._written(rollout.flag, one) for rollout in rollouts for one in rollout.variations}
        self._wishes: dict[str, int] = {}

    def served(self, name: str) -> Served:
        """What is served of a flag."""
        state = read_state(self.memory.document, ENVIRONMENT, name, self.memory._overlays.get(name))
        rings = {ring: shares for ring, shares in state.rings.items() if shares}
        under_test = self._rollouts[name].variations
        return {
            ring: {one: shares.get(one, 0.0) for one in under_test}
            for ring, shares in {EVERYBODY: state.weights, **rings}.items()
        }

    def serves(self) -> dict[str, Serves]:
        """What the store tells of each flag."""
        overlays, flags = self.memory._overlays, self.memory.document["flags"]
        return {
            name: serves(self.written["flags"][name], flags[name], overlays.get(name), self.written["$evaluators"])
            for name in self._rollouts
        }

    def edit(self, name: str, share: float) -> None:
        """A person writes another share."""
        edited = flag(share, self._rollouts[name].variations)
        self.written = {**self.written, "flags": {**self.written["flags"], name: edited}}
        self.memory.edit(self.written)
        self.edited.add(name)
        self._wishes[name] = len(self._world.ledger.wishes)
        if self._world.scene.tells:
            # What people change is a step of theirs, once it is told.
            self._world.ledger.rollouts[self._rollouts[name].key].steps += 1
        self._compare(name)

    def stored(self, command: FlagCommand, applied: Applied) -> None:
        """Compare what the store serves after a command with what it may serve."""
        name = command.flag_key
        self._world.note(f"store: {command.kind} {command.command_id} {command.share or ''} -> {applied.status}")
        if applied.status in ("applied", "already"):
            self._order(command, is_change=applied.status == "applied")
        if applied.status == "applied":
            self._changed(command)
        self._compare(name)

    def _changed(self, command: FlagCommand) -> None:
        name, check = command.flag_key, self._world.check
        if command.kind in ("kill", "kill_flag"):
            self.killed |= {(name, one) for one in self._about(command) if self._last(name, "resume", one) < command.order}
        elif command.kind == "resume":
            decided = self._world.ledger.decided[command.command_id][1]
            check(decided.caused_by in self._world.ledger.wishes, f"{command.command_id}: nobody wanted a resume")
            self.killed -= {(name, one) for one in self._about(command) if self._last(name, "kill", one) < command.order}
        elif command.kind in ("set_share", "step_back"):
            self._set(command)
            self._seen[name, command.variation] = self._written(name, command.variation)

    def _set(self, command: FlagCommand) -> None:
        """An advance sets exactly the shares that it names, a step back leaves no more than those."""
        name, one, check = command.flag_key, command.variation, self._world.check
        served, is_exact = self.served(name), command.kind == "set_share"
        for ring, share in {EVERYBODY: command.share or 0.0, **command.rings}.items():
            more = served.get(ring, served[EVERYBODY])[one] - share
            said = f"{name} {one}: {share + more} of {ring or 'everybody'} after {command.kind} to {share}"
            check(more < 1e-4 and not (is_exact and more < -1e-4), said)
        if is_exact:
            check((name, one) not in self.killed, f"{command.command_id}: a share for what was killed")
            self._agreed(command)

    def _about(self, command: FlagCommand) -> tuple[str, ...]:
        """The variations that a command is about."""
        is_one = command.variation and command.kind != "kill_flag"
        return (command.variation,) if is_one else self._rollouts[command.flag_key].variations

    def _last(self, name: str, kind: str, variation: str) -> int:
        """The highest number of a decision of a kind that was taken, about the variation or about the whole flag."""
        return max(self._newest.get((name, kind, about), 0) for about in ("", variation))

    def _order(self, command: FlagCommand, *, is_change: bool) -> None:
        """No decision undoes a newer one about the same, nor gives what a newer one has taken."""
        name, kind = command.flag_key, command.kind.removesuffix("_flag")
        about = "" if command.kind == "kill_flag" else command.variation
        newest = max((self._last(name, one, about) for one in AGAINST.get(kind, ())), default=0)
        said = f"{command.command_id} was applied after {newest}: an older decision undoes a newer one"
        self._world.check(not is_change or command.order >= newest, said)
        self._newest[name, kind, about] = max(self._newest.get((name, kind, about), 0), command.order)

    def _written(self, name: str, variation: str) -> float:
        """The share of a variation as people have written it."""
        split = self.written["flags"][name]["targeting"]["fractional"][1:]
        shares: dict[str, float] = {one: weight / 1_000 for one, weight in split}
        return shares[variation]

    def _agreed(self, command: FlagCommand) -> None:
        """A share that people have written is not overwritten, unless somebody resumed the variation since."""
        name, one = command.flag_key, command.variation
        wishes = list(self._world.ledger.wishes.values())[self._wishes.get(name, 0) :]
        is_agreed = any(
            wish.action == "resume" and wish.variation in ("", one) and wish.key.endswith(f"|{name}") for wish in wishes
        )
        written = self._written(name, one)
        is_known = any(abs(written - share) < 1e-6 for share in (self._seen[name, one], command.from_share or 0.0))
        said = f"{command.command_id}: {written}, which people wrote, is overwritten unseen"
        self._world.check(is_known or is_agreed, said)

    def _compare(self, name: str) -> None:
        check, served = self._world.check, self.served(name)
        check(self.memory._base == self.written, "a person's document was overwritten")
        for ring, shares in served.items():
            for variation, share in shares.items():
                is_killed = (name, variation) in self.killed
                check(not is_killed or share == 0.0, f"{name} {variation} was killed and gets {share:.2f} of {ring or 'all'}")
        self._within(name)
        self._world.served(name, served)

    def _within(self, name: str) -> None:
        """What the guardian gave: of each variation no more than its stages gave it, and no more than theirs together."""
        overlay = self.memory._overlays.get(name)
        if overlay is None:
            return
        given: Served = {EVERYBODY: overlay.get("shares") or {}, **(overlay.get("rings") or {})}
        for ring, shares in given.items():
            most = {one: self._world.ledger.most(name, one, ring) for one in shares}
            parts = len(self._rollouts[name].variations)
            for variation, share in shares.items():
                self._world.check(share <= most[variation] / parts + 1e-9, f"{name} {variation}: {share} of {ring or 'all'}")
            # Who has no share of a ring's own has everybody's in it.
            whole = {**given[EVERYBODY], **shares}
            widest = max(self._world.ledger.most(name, one, ring) for one in whole) if whole else 0.0
            together = math.fsum(whole.values())
            self._world.check(together <= widest + 1e-9, f"{name}: {together} of {ring or 'all'} together, not {widest}")
