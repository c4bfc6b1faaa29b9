"""What was counted, in arrays: sums of both arms in each run, the blocks that fill, and what earlier blocks said."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from guardian.betting import HALF_LIFE_S
from guardian.sequential import StreamBank
from guardian.sequential.checks import Bools, Floats
from guardian.watch import is_full, is_full_alone


@dataclass(slots=True)
class Sums:
    """Units and events of both arms in each run: ``n`` of shape ``(N,)``, ``x`` beyond each edge, ``(N, J)``."""

    n_t: Floats
    x_t: Floats
    n_c: Floats
    x_c: Floats

    @classmethod
    def empty(cls, runs: int, edges: int) -> Sums:
        """Return zeros."""
        return cls(np.zeros(runs), np.zeros((runs, edges)), np.zeros(runs), np.zeros((runs, edges)))

    def add(self, other: Sums) -> None:
        """Add the other's sums."""
        self.n_t += other.n_t
        self.x_t += other.x_t
        self.n_c += other.n_c
        self.x_c += other.x_c

    def clear(self, rows: Bools) -> None:
        """Begin anew in these runs."""
        for held in (self.n_t, self.x_t, self.n_c, self.x_c):
            held[rows] = 0.0

    def of(self, rows: Bools) -> Sums:
        """Return these runs alone."""
        return Sums(self.n_t[rows], self.x_t[rows], self.n_c[rows], self.x_c[rows])

    @property
    def given(self) -> tuple[Floats, Floats]:
        """How many of each arm lie between the edges, ``(N, J + 1)``, lowest first."""
        return _between(self.n_t, self.x_t), _between(self.n_c, self.x_c)


def _between(n: Floats, x: Floats) -> Floats:
    return np.asarray(-np.diff(np.column_stack([n, x, np.zeros(n.size)]), axis=1))


class When(Enum):
    """When a block is full: ``BOTH`` arms are in it, treatment ``ALONE`` is, or ``EITHER`` (one may be silent)."""

    BOTH = "both"
    ALONE = "alone"
    EITHER = "either"


class Blocks:
    """The open block of each run."""

    def __init__(self, runs: int, edges: int, when: When) -> None:
        self.open, self.since_s = Sums.empty(runs, edges), np.zeros(runs)
        self._when = when

    def add(self, drawn: Sums, to_s: float) -> Bools:
        """Add what was drawn up to ``to_s``; say which blocks are full."""
        self.open.add(drawn)
        held, span_ms = self.open, (to_s - self.since_s) * 1_000.0
        if self._when == When.BOTH:
            return np.asarray(is_full(held.n_t, held.n_c, span_ms))
        return np.asarray(is_full_alone(held.n_t if self._when == When.ALONE else held.n_t + held.n_c, span_ms))

    def begin(self, rows: Bools, at_s: float) -> None:
        """Begin anew in these runs, and in those that have nothing yet."""
        held = self.open.n_t if self._when == When.ALONE else self.open.n_t + self.open.n_c
        begun = rows | (held == 0.0)
        self.open.clear(begun)
        self.since_s[begun] = at_s

    def give_up(self, rows: Bools, at_s: float) -> None:
        """Begin anew where the shares changed; fixed bounds know no shares."""
        if self._when != When.ALONE:
            self.open.clear(rows)
            self.since_s[rows] = at_s

    def drop(self, rows: Bools) -> None:
        """Take these runs out."""
        self.open, self.since_s = self.open.of(~rows), self.since_s[~rows]


class Past:
    """
    What earlier blocks of each run said, fading, as ``guardian.betting.Past``.

    ``weight`` is control's units, ``given`` both arms' scores by position where scores are counted, ``(2, N, L)``.
    """

    def __init__(self, runs: int, positions: int) -> None:
        self._memory = StreamBank(runs, 1, half_life_s=HALF_LIFE_S)
        self.weight, self._to_s = np.zeros(runs), np.zeros(runs)
        self.given = np.zeros((2, runs, positions))

    @property
    def p_hat(self) -> Floats:
        """The guess of control's rate, ``(N,)``."""
        return self._memory.p_hat

    def remember(self, block: Sums, rows: Bools, to_s: float) -> None:
        """Add the blocks of these runs, that have just been tested."""
        elapsed_s = np.where(rows, to_s - self._to_s, 0.0)
        n_c = np.where(rows, block.n_c, 0.0)
        self._memory.remember(n_c, np.where(rows, block.x_c[:, 0], 0.0), elapsed_s)
        keep = 0.5 ** (elapsed_s / HALF_LIFE_S)
        self.weight = self.weight * keep + n_c
        if self.given.size:
            fresh = np.stack(block.given)
            self.given = self.given * keep[:, np.newaxis] + np.where(rows[:, np.newaxis], fresh, 0.0)
        self._to_s[rows] = to_s

    def drop(self, rows: Bools) -> None:
        """Take these runs out."""
        self._memory.remove(rows)
        self.weight, self._to_s, self.given = self.weight[~rows], self._to_s[~rows], self.given[:, ~rows]
