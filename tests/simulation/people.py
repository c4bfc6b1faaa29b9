"""People: what they want of a rollout, at the worst time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from guardian.decisions import Decision
from guardian.journal import Override, PolicyEntry, encode
from guardian.policy import parse_policy, policy_hash
from tests.simulation.scene import ACTIONS, STANDING, TREATMENT, Rollout

if TYPE_CHECKING:
    from tests.simulation.world import World


class People:
    """Those who write policies, press buttons and edit the flag document."""

    def __init__(self, world: World) -> None:
        self._world, self._dice, self._number = world, random.Random(f"people {world.scene.seed}"), 0
        self._documents = {rollout.key: rollout.document for rollout in world.scene.rollouts}

    def begin(self, rollout: Rollout) -> None:
        """Publish a policy."""
        policy = parse_policy(self._documents[rollout.key])
        entry = PolicyEntry(
            at_ms=self._world.clock_ms("people"), key=rollout.key, hash=policy_hash(policy), document=policy.to_document()
        )
        self._world.append(encode(entry))

    def document(self, key: str) -> dict[str, Any]:
        """The policy as it was last written."""
        return self._documents[key]

    async def live(self) -> None:
        """Want something now and then."""
        for at_s, wish, number in sorted(self._world.scene.faults.people):
            await asyncio.sleep(max(0.0, at_s - self._world.loop.time()))
            self._want(wish, self._world.scene.rollouts[number])

    def meddle(self, decision: Decision) -> None:
        """Somebody saw a decision and wants something else."""
        if not self._world.happens(self._world.scene.faults.meddling) or decision.caused_by:
            return
        rollout = self._world.rollout(f"{decision.environment}|{decision.flag_key}")
        wish = self._dice.choice(("resume", "kill", "pause", "weights", "policy", "policy"))
        self._world.loop.call_later(self._dice.uniform(0.0, 1.0), self._want, wish, rollout)

    def _want(self, wish: str, rollout: Rollout) -> None:
        self._world.note(f"people: {wish} {rollout.key}")
        self._number += 1
        if wish == "weights":
            self._world.shelf.edit(rollout.flag, self._dice.choice((0.05, 0.25, 0.4, rollout.share)))
        elif wish == "policy":
            self._documents[rollout.key] = self._changed(self._documents[rollout.key])
            self.begin(rollout)
        else:
            entry = Override(
                at_ms=self._world.clock_ms("people"), key=rollout.key, action=wish, by="ann", reason="because",
                variation="" if wish == "changed" else self._one_of(rollout), id=f"wish-{self._number}",
            )  # fmt: skip
            for _ in range(self._dice.choice((1, 1, 2)) if wish == "changed" else 1):
                self._world.append(encode(entry))
        self._world.stepped()

    def _one_of(self, rollout: Rollout) -> str:
        return TREATMENT if len(rollout.variations) == 1 else self._dice.choice(rollout.variations)

    def _changed(self, document: dict[str, Any]) -> dict[str, Any]:
        what = self._dice.choice(("min_units", "min_units", "then", "same"))
        if what == "min_units":
            return {**document, "min_units": 15 - document["min_units"]}
        if what == "then":
            first, *others = document["guardrails"]
            actions = ACTIONS if document.get("stages") else STANDING
            return {**document, "guardrails": [{**first, "then": self._dice.choice(actions)}, *others]}
        return document
