"""
Who was exposed to what, by allocation epoch, and the ticks that wait for their outcomes.

An epoch is a time of constant shares: the start of the rollout, a stage, a
person's change each open one, and so does a share that visibly moved without
anybody telling us. A block never mixes epochs (docs/statistics.md, "epochs").
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from guardian.names import Millis
from guardian.summaries import TICK_MS

EPOCHS_MAX = 8
_DRIFT_ODDS = (0.25, 0.5, 0.8, 1.25, 2.0, 4.0)
_DRIFT_NATS = 14.0
_DRIFT_FROM = 500


class Cell(msgspec.Struct, array_like=True):
    """Sums of one variation: requests exposed, finished, failed, and first failures of units (the evidence)."""

    exposures: int = 0
    outcomes: int = 0
    errors: int = 0
    first: float = 0.0

    def add(self, other: Cell) -> None:
        """Add the other's sums."""
        self.exposures += other.exposures
        self.outcomes += other.outcomes
        self.errors += other.errors
        self.first += other.first


Cells = dict[str, Cell]


def cell_of(cells: Cells, variation: str) -> Cell:
    """Return the variation's cell, made on first use."""
    cell = cells.get(variation)
    if cell is None:
        cell = cells[variation] = Cell()
    return cell


class Epoch(msgspec.Struct):
    """
    Everybody who started while the shares stood still.

    ``arms`` sums all starts of the epoch as they become known. ``fresh``
    holds, per variation, the first failures (its own, control's) that the
    fast lane has not tested yet. ``drift`` watches, per variation, whether
    its share moves (exposures only).
    """

    start_ms: Millis
    why: str
    arms: Cells = {}
    fresh: dict[str, list[float]] = {}
    drift: dict[str, list[float]] = {}
    drift_seen: dict[str, list[int]] = {}

    def size(self, variation: str, by_exposures: bool) -> int:
        """Return how many starts of the variation are known."""
        cell = self.arms.get(variation)
        if cell is None:
            return 0
        return cell.exposures if by_exposures else cell.outcomes

    def shown_share(self, variation: str, by_exposures: bool) -> float | None:
        """Return the variation's part of all starts of the epoch, for people; ``None`` while there are none."""
        total = sum(self.size(name, by_exposures) for name in self.arms)
        return self.size(variation, by_exposures) / total if total else None

    def failed(self, variation: str, x: float, control: str, treatments: Iterable[str]) -> None:
        """Note first failures for the fast lane; control's are compared with every treatment."""
        for treatment in treatments if variation == control else (variation,):
            fresh = self.fresh.setdefault(treatment, [0.0, 0.0])
            fresh[variation == control] += x

    def share_at_risk(self, variation: str, control: str, by_exposures: bool) -> float | None:
        """
        Return the variation's part of all starts that may still fail, less those already known to have failed.

        Given who has failed so far, the next first failure is the
        variation's with this probability if the variation does no harm
        (sampling without replacement). ``None`` while a side is empty or
        smaller than its fresh failures: its exposures are still on the way.
        """
        x_t, x_c = self.fresh.get(variation, (0.0, 0.0))
        n_t = self._at_risk(variation, x_t, by_exposures)
        n_c = self._at_risk(control, x_c, by_exposures)
        if n_t < max(x_t, 1.0) or n_c < max(x_c, 1.0):
            return None
        share = n_t / (n_t + n_c)
        if by_exposures:
            return share
        # Starts are known only by their outcomes here, and who is late is not among them yet:
        # two standard errors towards more of the variation keep chance in the share from looking like harm.
        return min(share + 2.0 * math.sqrt(share * (1.0 - share) / (n_t + n_c)), 1.0)

    def _at_risk(self, variation: str, fresh: float, by_exposures: bool) -> float:
        cell = self.arms.get(variation)
        return 0.0 if cell is None else self.size(variation, by_exposures) - (cell.first - fresh)

    def moved(self, variation: str, control: str, by_exposures: bool) -> bool:
        """
        Say whether the variation's share left what the epoch began with.

        A mixture of likelihood ratios over odds against the share of all
        earlier starts of the epoch, restarted at its floor (CUSUM form);
        reads exposures only, so that opening an epoch never depends on outcomes.
        """
        n_t, n_c = self.size(variation, by_exposures), self.size(control, by_exposures)
        seen = self.drift_seen.setdefault(variation, [n_t, n_c])
        if seen[0] + seen[1] < _DRIFT_FROM or seen[0] < 20 or seen[1] < 20:
            self.drift_seen[variation] = [n_t, n_c]
            return False
        new_t, new_c = n_t - seen[0], n_c - seen[1]
        if new_t + new_c <= 0:
            return False
        share = seen[0] / (seen[0] + seen[1])
        held = self.drift.setdefault(variation, [0.0] * len(_DRIFT_ODDS))
        for i, odds in enumerate(_DRIFT_ODDS):
            moved = odds * share / (odds * share + 1.0 - share)
            gain = new_t * math.log(moved / share) + new_c * math.log((1.0 - moved) / (1.0 - share))
            held[i] = max(held[i], 0.0) + gain
        self.drift_seen[variation] = [n_t, n_c]
        return max(held) > _DRIFT_NATS


class Waiting(msgspec.Struct, array_like=True):
    """One tick, all arms, until its outcomes are mature."""

    start_ms: Millis
    arms: Cells = {}


class Population(msgspec.Struct):
    """All starts of a rollout: its epochs, and the ticks whose outcomes are still awaited."""

    epochs: list[Epoch] = []
    waiting: dict[int, Waiting] = {}
    closed_ms: Millis = 0
    by_exposures: bool = False

    def open(self, at_ms: Millis, why: str) -> Epoch:
        """Open an epoch at the next tick boundary; the eight latest are kept."""
        start_ms = -(-at_ms // TICK_MS) * TICK_MS
        epoch = Epoch(start_ms=start_ms, why=why)
        self.epochs = [*[e for e in self.epochs if e.start_ms < start_ms][-(EPOCHS_MAX - 1) :], epoch]
        return epoch

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
        tick = self.waiting.get(end_ms)
        if tick is None:
            tick = self.waiting[end_ms] = Waiting(start_ms)
        elif start_ms < tick.start_ms:
            tick.start_ms = start_ms
        cell_of(tick.arms, variation).add(cell)

    def mature(self, until_ms: Millis) -> list[tuple[int, Waiting]]:
        """Take out, oldest first, the ticks that end by ``until_ms``; what comes for them later is late."""
        if until_ms <= self.closed_ms:
            return []
        self.closed_ms = until_ms
        ends = sorted(end for end in self.waiting if end <= until_ms)
        return [(end, self.waiting.pop(end)) for end in ends]
