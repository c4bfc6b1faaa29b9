"""What must hold of the flag store after every command and every edit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from guardian.ports import Applied, FlagCommand
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
        self._newest: dict[tuple[str, str], int] = {}

    def served(self, name: str) -> Served:
        """What is served of a flag."""
        state = read_state(self.memory.document, ENVIRONMENT, name, self.memory._overlays.get(name))
        rings = {ring: shares for ring, shares in state.rings.items() if shares}
        under_test = self._rollouts[name].variations
        return {
            ring: {one: shares.get(one, 0.0) for one in under_test}
            for ring, shares in {EVERYBODY: state.weights, **rings}.items()
        }

    def edit(self, name: str, share: float) -> None:
        """A person writes another share."""
        edited = flag(share, self._rollouts[name].variations)
        self.written = {**self.written, "flags": {**self.written["flags"], name: edited}}
        self.memory.edit(self.written)
        self.edited.add(name)
        self._compare(name)

    def stored(self, command: FlagCommand, applied: Applied) -> None:
        """Compare what the store serves after a command with what it may serve."""
        name, check = command.flag_key, self._world.check
        self._world.note(f"store: {command.kind} {command.command_id} {command.share or ''} -> {applied.status}")
        if applied.status == "applied":
            number = int(command.command_id.rpartition("|")[2])
            about = "" if command.kind == "kill_flag" else command.variation
            newest = max((of for (held, one), of in self._newest.items() if held == name and one in ("", about)), default=0)
            check(number >= newest, f"{command.command_id} was applied after {newest}: an older decision undoes a newer one")
            self._newest[name, about] = number
            meant = {(name, one) for one in self._rollouts[name].variations if command.variation in ("", one)}
            if command.kind == "kill_flag":
                self.killed |= {(name, one) for one in self._rollouts[name].variations}
            elif command.kind == "kill":
                self.killed |= meant
            elif command.kind == "resume":
                decided = self._world.ledger.decided[command.command_id][1]
                check(decided.caused_by in self._world.ledger.wishes, f"{command.command_id}: nobody wanted a resume")
                self.killed -= meant
            elif command.kind == "set_share":
                self._set(command)
        self._compare(name)

    def _set(self, command: FlagCommand) -> None:
        name, check, served = command.flag_key, self._world.check, self.served(command.flag_key)
        check((name, command.variation) not in self.killed, f"{command.command_id}: a share for what was killed")
        for ring, share in {EVERYBODY: command.share or 0.0, **command.rings}.items():
            found = served.get(ring, served[EVERYBODY])[command.variation]
            check(abs(found - share) < 1e-4, f"{name}: {found} of {ring or 'everybody'} is not {share}")

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
