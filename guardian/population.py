"""
Who was exposed to what, by allocation epoch, and the ticks that wait for their outcomes.

An epoch is a time of constant shares: the start of the rollout, a stage, a
person's change each open one, and so does a share that visibly moved without
anybody telling us. A block never mixes epochs (docs/statistics.md, "epochs").
"""

from __future__ import annotations

import msgspec

from guardian.company import Table, add
from guardian.names import Millis
from guardian.served import Shares
from guardian.summaries import TICK_MS
from guardian.tally import Tally

EPOCHS_MAX = 8
MOVED = "the share moved"
"""Why an epoch was opened that nobody told of."""
MOVES = frozenset({MOVED, "advance", "step_back", "resume", "kill", "kill_flag"})
"""Why epochs are opened that begin with other shares; whatever else happens leaves them as they were."""


class Cell(msgspec.Struct, array_like=True, gc=False):
    """
    Sums of one variation: requests exposed, finished, failed, and first failures of units (the evidence).

    Of failures without a unit ``first`` holds a part, as they may be one's; ``left`` is what it leaves out.
    """

    exposures: int = 0
    outcomes: int = 0
    errors: int = 0
    first: float = 0.0
    left: float = 0.0

    def add(self, other: Cell) -> None:
        """Add the other's sums."""
        self.exposures += other.exposures
        self.outcomes += other.outcomes
        self.errors += other.errors
        self.first += other.first
        self.left += other.left

    def take_away(self, other: Cell) -> None:
        """Take the other's sums away; nothing falls below zero."""
        self.exposures = max(self.exposures - other.exposures, 0)
        self.outcomes = max(self.outcomes - other.outcomes, 0)
        self.errors = max(self.errors - other.errors, 0)
        self.first = max(self.first - other.first, 0.0)
        self.left = max(self.left - other.left, 0.0)

    def starts(self, by_exposures: bool) -> int:
        """Return how many starts are known."""
        return self.exposures if by_exposures else self.outcomes


Cells = dict[str, Cell]


def cell_of(cells: Cells, variation: str) -> Cell:
    """Return the variation's cell, made on first use."""
    cell = cells.get(variation)
    if cell is None:
        cell = cells[variation] = Cell()
    return cell


class Epoch(msgspec.Struct, gc=False):
    """
    Everybody who started while the shares stood still.

    ``arms`` sums all starts of the epoch as they become known. ``shares`` are
    the shares that were configured: one, or two from the decision to change
    it on until it is known that the store has done so; none where nobody said.
    ``served`` is what stores have told of it, likewise: parts of all traffic by variation, empty ones where these cannot be
    known; none where no store tells, or none has yet since the change that began the epoch.
    """

    start_ms: Millis
    why: str
    arms: Cells = {}
    shares: list[float] = []
    served: list[Shares] = []

    def size(self, variation: str, by_exposures: bool) -> int:
        """Return how many starts of the variation are known."""
        cell = self.arms.get(variation)
        return 0 if cell is None else cell.starts(by_exposures)

    def shown_share(self, variation: str, by_exposures: bool) -> float | None:
        """Return the variation's part of all starts of the epoch, for people; ``None`` while there are none."""
        total = sum(self.size(name, by_exposures) for name in self.arms)
        return self.size(variation, by_exposures) / total if total else None


class Waiting(msgspec.Struct, array_like=True, gc=False):
    """
    One tick, all arms, until its outcomes are mature.

    ``lines`` holds by ``Line.key`` and variation what else it brought, ``company`` by the other flag.
    """

    start_ms: Millis
    arms: Cells = {}
    lines: dict[str, dict[str, Tally]] = {}
    company: dict[str, Table] = {}


class Population(msgspec.Struct, gc=False):
    """All starts of a rollout: its epochs, and the ticks whose outcomes are still awaited."""

    epochs: list[Epoch] = []
    waiting: dict[int, Waiting] = {}
    closed_ms: Millis = 0
    by_exposures: bool = False
    looked_ms: Millis = 0

    def open(self, at_ms: Millis, why: str, share: float | None = None, served: list[Shares] | None = None) -> Epoch:
        """
        Open an epoch at the next tick boundary; the eight latest are kept.

        ``share`` is what is configured from now on, ``served`` what stores serve; None leaves that as it was.
        """
        start_ms = -(-at_ms // TICK_MS) * TICK_MS
        last = self.epochs[-1] if self.epochs else None
        shares = [share] if share is not None else list(last.shares) if last else []
        told = list(served) if served is not None else list(last.served) if last else []
        epoch = Epoch(start_ms=start_ms, why=why, shares=shares, served=told)
        self.epochs = [*[e for e in self.epochs if e.start_ms < start_ms][-(EPOCHS_MAX - 1) :], epoch]
        return epoch

    def will_change(self, share: float) -> None:
        """The share is about to be ``share``: from now on until the next told epoch either may be in force."""
        if self.epochs and share not in self.epochs[-1].shares:
            self.epochs[-1].shares = [*self.epochs[-1].shares[-1:], share]

    def may_serve(self, shares: Shares) -> None:
        """Stores serve these shares since a moment of the standing epoch: in what is read of it either may be in force."""
        if self.epochs and shares not in self.epochs[-1].served:
            self.epochs[-1].served = [*self.epochs[-1].served[-1:], shares]

    def epoch_of(self, start_ms: Millis) -> Epoch | None:
        """Return the epoch that a start belongs to; ``None`` before the first."""
        for epoch in reversed(self.epochs):
            if epoch.start_ms <= start_ms:
                return epoch
        return None

    @property
    def now(self) -> Epoch | None:
        """Return the standing epoch."""
        return self.epochs[-1] if self.epochs else None

    def wait(self, start_ms: Millis, end_ms: Millis, variation: str, cell: Cell) -> None:
        """Keep a tick's sums until its outcomes are mature."""
        cell_of(self._tick(start_ms, end_ms).arms, variation).add(cell)

    def wait_line(self, start_ms: Millis, end_ms: Millis, key: str, variation: str, tally: Tally) -> None:
        """Keep a tick's sums of a line until its outcomes are mature."""
        lines = self._tick(start_ms, end_ms).lines
        arms = lines.get(key)
        if arms is None:
            lines[key] = {variation: tally}
        elif variation in arms:
            arms[variation].add(tally)
        else:
            arms[variation] = tally

    def wait_company(self, start_ms: Millis, end_ms: Millis, told: dict[str, Table]) -> None:
        """Keep what a tick tells of other flags until its outcomes are mature."""
        company = self._tick(start_ms, end_ms).company
        for flag, table in told.items():
            add(company.setdefault(flag, {}), table)

    def _tick(self, start_ms: Millis, end_ms: Millis) -> Waiting:
        tick = self.waiting.get(end_ms)
        if tick is None:
            tick = self.waiting[end_ms] = Waiting(start_ms)
        elif start_ms < tick.start_ms:
            tick.start_ms = start_ms
        return tick

    def mature(self, until_ms: Millis) -> list[tuple[int, Waiting]]:
        """Take out, oldest first, the ticks that end by ``until_ms``; what comes for them later is late."""
        if until_ms <= self.closed_ms:
            return []
        self.closed_ms = until_ms
        ends = sorted(end for end in self.waiting if end <= until_ms)
        return [(end, self.waiting.pop(end)) for end in ends]
