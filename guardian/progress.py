"""How far a rollout has come in its standing stage: what its gates (``guardian.gates``) read."""

from __future__ import annotations

import msgspec

from guardian.betting import Past
from guardian.levels import BEST, WORST, Floats
from guardian.names import Millis
from guardian.rollout import Status
from guardian.sequential import Account
from guardian.tally import Pair

FRESH_MS = 5_000
"""Telemetry is fresh for so long after it came."""
LOOK_FIRST_MS, LOOK_LAST_MS, LOOKS_MAX = 60_000, 3_600_000, 6
"""A share that people have changed is looked at again after a minute, then after twice as long, at last every hour."""


class Shown(msgspec.Struct, gc=False):
    """
    How far a condition of health is shown for one variation, within the standing stage.

    ``accounts`` has one for each reading (``health.readings``). ``open`` is the block that fills, of the epoch that
    began at ``epoch_ms``; what waited when the shares changed is given up.
    """

    accounts: list[Account]
    epoch_ms: Millis = -1
    open: Pair | None = None
    past: Past = msgspec.field(default_factory=Past)
    is_read: bool = False

    @classmethod
    def begin(cls, budget: float, readings: int) -> Shown:
        """Return empty accounts, each with the chance of a false advance: all must cross, so the false one must."""
        accounts = [Account() for _ in range(readings)]
        for account in accounts:
            account.deposit(budget)
        return cls(accounts)

    def read(self, found: list[Floats]) -> None:
        """Read the open block: its log e-values, one for each account; and remember it."""
        assert self.open is not None
        for account, values in zip(self.accounts, found, strict=True):
            account.update(values)
        self.past.remember(self.open, (WORST, BEST))
        self.open, self.is_read = None, True

    @property
    def log_s(self) -> float:
        """Return the log of the account that holds least; 0 is what shows the condition."""
        return min(account.log_s() for account in self.accounts)


class Progress(msgspec.Struct, gc=False):
    """
    How far one variation has come.

    ``stage`` is the one that stands, from 0; -1 before a first stage that is a ring, which nobody has until it is
    entered. It stands since ``since_ms``, 0 before there was telemetry. ``grants`` is what the variation was given by
    the guardian: one grant, or two from a decision to change it until the store has answered; none where people did.

    Of the standing stage: ``awaits`` is the decision that began it, until the store has answered: nothing is counted
    before. ``ran_ms`` is the time with fresh telemetry in which it was running, ``starts`` counts its starts whose
    outcomes were read.
    ``approved`` holds by group who approved. ``health`` holds the conditions of the stage's ``until``.

    What outlives a stage: ``moved`` and ``moved_ms`` are the last hold, pause, step back or resume and its time;
    ``backs`` counts by stage how often was stepped back from it. ``edited`` is the share that people had set where the
    guardian wanted to set one, until somebody agrees (``agreed`` is that share then) or an advance finds it as it
    was; it is looked for from ``look_ms`` on, after ``looks`` looks in vain. ``refused`` is the advance that met it, until
    the next one: who carries decisions out may die before it has noted the answer, ask once more, and be heard.
    """

    status: Status = Status.PLANNED
    stage: int = 0
    since_ms: Millis = 0
    grants: list[dict[str, float]] = []
    awaits: str = ""
    ran_ms: Millis = 0
    starts: int = 0
    approved: dict[str, str] = {}
    health: list[Shown] = []
    moved: str = ""
    moved_ms: Millis = 0
    backs: dict[int, int] = {}
    edited: float | None = None
    agreed: float | None = None
    looks: int = 0
    look_ms: Millis = 0
    refused: str = ""

    def enter(self) -> None:
        """Begin a stage: everything that is counted in one is counted anew."""
        self.awaits, self.ran_ms, self.starts, self.approved, self.health = "", 0, 0, {}, []

    def go(self, stage: int, at_ms: Millis, grant: dict[str, float]) -> None:
        """Begin another stage, in which the variation is to have ``grant``."""
        self.stage, self.since_ms, self.refused = stage, at_ms, ""
        self.grants = [*self.grants[-1:], grant]
        self.enter()

    def move(self, action: str, at_ms: Millis) -> None:
        """Remember a hold, a pause, a step back or a resume, for the cooldown."""
        self.moved, self.moved_ms = action, at_ms

    def find(self, share: float, at_ms: Millis) -> None:
        """People have set this share: nothing is laid over it unless they agree, and it is looked at again ever later."""
        self.edited, self.agreed = share, None
        self.look_ms = at_ms + min(LOOK_FIRST_MS << self.looks, LOOK_LAST_MS)
        self.looks = min(self.looks + 1, LOOKS_MAX)

    def agree(self) -> None:
        """Somebody wants the rollout to go on from the share that people have set."""
        if self.edited is not None:
            self.agreed, self.edited, self.looks = self.edited, None, 0

    def settle(self) -> None:
        """The store has set the guardian's share: what people had set before is history."""
        self.edited, self.agreed, self.looks = None, None, 0

    def run(self, since_ms: Millis, now_ms: Millis) -> None:
        """Count the time since telemetry last came (or the stage began), as far as telemetry was fresh in it."""
        self.ran_ms += min(max(now_ms - since_ms, 0), FRESH_MS)
