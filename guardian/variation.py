"""All that is known of one variation against control."""

from __future__ import annotations

import msgspec

from guardian.estimates import Estimates
from guardian.line_watch import LineWatch
from guardian.names import Millis
from guardian.policy import Policy
from guardian.rule import Rule
from guardian.sequential import ControlRate
from guardian.watch import CONTROL_HALF_LIFE_S, Block, Guesses, Watch, tested


class VariationWatch(msgspec.Struct, gc=False):
    """
    What of a variation is watched, and what was found so far.

    ``offered`` is the budget offered to this variation so far, in expected
    false alarms, ``renewed`` what of it had been when its accounts were last
    opened anew. ``guardrails`` watch the failures among all requests: ``open``
    is the block that waits for its second arm, ``alone`` the one for fixed
    bounds, which know no other arm and no epoch; ``estimates`` say by how
    much the variation differs within the standing epoch. ``lines`` holds all that the
    other guardrails read, by ``Line.key``. ``spoken`` holds, by the
    name of a guardrail, what milder than a kill it led to since the last known change;
    ``judged_ms`` when guardrails killed it, the latest two times. ``rules`` are the literal rules,
    by the same names, ``first_ms`` is the start of the first tick that they could read, -1 before it.
    ``asked_ms`` is since when an action waits to know whether another flag is behind it, 0 while none does.
    """

    guardrails: list[Watch] = []
    offered: float = 0.0
    renewed: float = 0.0
    open: Block | None = None
    open_epoch_ms: int = -1
    control_rate: ControlRate = msgspec.field(default_factory=lambda: ControlRate(half_life_s=CONTROL_HALF_LIFE_S))
    left_rate: ControlRate = msgspec.field(default_factory=lambda: ControlRate(half_life_s=CONTROL_HALF_LIFE_S))
    is_nameless: bool = False
    alone: Block | None = None
    remembered_ms: Millis = 0
    estimates: Estimates = msgspec.field(default_factory=Estimates)
    lines: dict[str, LineWatch] = {}
    spoken: dict[str, str] = {}
    rules: dict[str, Rule] = {}
    first_ms: Millis = -1
    asked_ms: Millis = 0
    killed: bool = False
    killed_at_ms: Millis = 0
    judged_ms: list[Millis] = []

    @property
    def guesses(self) -> Guesses:
        """Control's rate in the blocks so far."""
        named = self.control_rate.p_hat
        return Guesses(named, min(named + self.left_rate.p_hat, 1.0), self.is_nameless)

    @property
    def watches(self) -> list[Watch]:
        """All that test anything."""
        return [*self.guardrails, *(watch for line in self.lines.values() for watch in line.watches.values())]

    @property
    def is_quiet(self) -> bool:
        """Whether no literal rule is broken."""
        return not any(rule.since_ms for rule in self.rules.values())

    def renew(self, policy: Policy) -> None:
        """New terms: accounts are opened anew, and what was offered until now was offered under others."""
        self.guardrails = [Watch.begin(g.when) for g in tested(policy)]
        self.lines, self.rules, self.renewed = {}, {}, self.offered
        for held in self.guardrails:
            for lane in (held.full, held.fast):
                if lane is not None:
                    lane.offered = self.offered

    def reset(self) -> None:
        """Empty all accounts; what was deposited is spent. Whoever has spoken may speak again."""
        self.spoken = {}
        for watch in self.watches:
            watch.reset()

    def change(self) -> None:
        """Something is known to have changed: what tests and literal rules said until now is settled."""
        for watch in self.watches:
            watch.forget()
        for rule in self.rules.values():
            rule.change()
