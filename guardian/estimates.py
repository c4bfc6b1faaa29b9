"""
By how much a variation differs from control: intervals that hold at every moment and through drift, for thousands.

The method is that of `sequential.scans`: for every margin of a grid, evidence that treatment is above it and evidence
that it is below; a margin is outside once its own test says so. What is read here is made cheap in two ways, neither of
which costs validity. Blocks are gathered before they are tested, for as long as sizes alone say. And the log e-value of
a block is linear in its counts as long as the share of the arms and the guess of the base rate are given: both are
rounded, and what a failure or a success is then worth at each margin is looked up.

Any guess is valid. A share is rounded towards even; the arm that is larger than it then says is counted as if it were
as large (each of its units by a power below 1 of its factor, whose mean is at most that power of the factor's mean).
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from guardian.decisions import Interval
from guardian.names import Millis
from guardian.sequential import ControlRate, ratio_grid, two_sample_blocks
from guardian.sequential.checks import ARM_MIN, Floats, check_arm
from guardian.sequential.control_rate import PRIOR_UNITS
from guardian.sequential.scans import beyond_difference, exceeded, leading

ESTIMATE_ALPHA = 0.05
"""The chance that an interval ever leaves out the truth."""

GATHER_S, GATHER_MOST_S = 1, 5
GROWTH = 0.1
"""A block is tested once it spans a second of starts and adds a tenth to the smaller arm so far, or spans five seconds."""

HALF_LIFE_S = 60.0
SHARE_STEP, GUESS_STEP = 0.2, 0.4
"""How finely shares and guesses are told apart, in log odds."""
SHARE_STEPS_MAX, GUESS_MIN = 60, 1e-9
"""Shares beyond six in a million count as that; guesses below one in a billion as none."""
TABLES_MAX = 512
"""Shares and guesses whose worth is remembered: 6 kB each."""
READ_MAX = 64
"""Rollouts' evidence whose reading is remembered: both intervals of one are asked for together."""

_BETS: Floats = ratio_grid(3, 1.07, 6.0)

RATIOS: Floats = np.exp(np.sinh(np.linspace(-math.asinh(9.0), math.asinh(9.0), 39)) / 3.0)
"""
Margins of the ratio, from a twentieth to twenty: 5 % apart near 1, half as much again far from it; the same turned over.
"""
_UP = np.geomspace(2e-4, 0.5, 19)
DIFFERENCES: Floats = np.concatenate([-_UP[::-1], [0.0], _UP])
"""Margins of the difference: 50 points either way, the smallest 0.02 from none."""
_MARGINS = RATIOS.size + DIFFERENCES.size

NOTHING = (0.0, 0.0, 0.0, 0.0)
Cells = NDArray[np.float32]
_FLOAT = np.dtype("<f4")


class Estimates(msgspec.Struct, array_like=True, gc=False):
    """
    What one variation's outcomes say of its rate over control's, and of its rate less control's.

    If the ratio (or the difference) is the same in every block, whatever the rates do, it stays inside its interval at
    all times at once but for a chance `ESTIMATE_ALPHA`; if it moves too, the interval still meets the range over which
    it moved. Plain values only, under 2 kB packed: restored from a snapshot it goes on bit for bit.

    ``cells`` holds the evidence as 32-bit floats: that treatment is above each margin, then that control is, for every
    bet. ``past_t`` and ``past_c`` hold decayed sums, ``dx, dn`` (`ControlRate`), ``seen`` the sizes of both arms.
    ``open`` holds what is gathered, ``n_t, x_t, n_c, x_c``, from the second ``from_s`` on.
    """

    cells: bytes = b""
    past_t: tuple[float, float] = (0.0, PRIOR_UNITS)
    past_c: tuple[float, float] = (0.0, PRIOR_UNITS)
    seen: tuple[float, float] = (0.0, 0.0)
    open: tuple[float, float, float, float] = NOTHING
    from_s: int = 0
    last_s: int = 0
    tested_s: int = 0
    epoch_ms: Millis = 0

    def read(self, n_t: float, x_t: float, n_c: float, x_c: float, at_ms: Millis, epoch_ms: Millis) -> None:
        """
        Read outcomes and failures of both arms that started in the second of ``at_ms``, in the epoch from ``epoch_ms``.

        How a second's outcomes are cut into calls does not matter; seconds come in order. What was gathered is tested
        when a later second or another epoch comes. Raises ValueError unless ``0 <= x <= n <= 2**53`` in each arm.
        """
        check_arm("t", n_t, x_t)
        check_arm("c", n_c, x_c)
        second = at_ms // 1_000
        if epoch_ms != self.epoch_ms:
            # Another epoch, another share: one block must not hold both.
            self._test()
            self.epoch_ms = epoch_ms
        elif second > self.last_s and self._is_due(second):
            self._test()
        if self.open == NOTHING:
            self.from_s = second
        self.last_s = max(second, self.last_s)
        self.open = (self.open[0] + n_t, self.open[1] + x_t, self.open[2] + n_c, self.open[3] + x_c)

    def ratio(self) -> Interval | None:
        """Return the interval of treatment's rate over control's; ends are None where unbounded, all before any data."""
        if not self.cells:
            return None
        lo, hi = _excluded(self.cells)[0]
        return float(RATIOS[lo - 1]) if lo else None, float(RATIOS[-hi]) if hi else None

    def difference(self) -> Interval | None:
        """Return the interval of treatment's rate less control's, both as parts of one; None as for `ratio`."""
        if not self.cells:
            return None
        lo, hi = _excluded(self.cells)[1]
        return float(DIFFERENCES[lo - 1]) if lo else None, float(DIFFERENCES[-hi]) if hi else None

    def _is_due(self, second: int) -> bool:
        # Sizes and clocks only: a block that ended because of its failures would not be a fair one.
        smaller = min(self.open[0], self.open[2])
        if smaller < ARM_MIN:
            return False
        span_s = second - self.from_s
        return span_s >= GATHER_MOST_S or (span_s >= GATHER_S and smaller >= GROWTH * min(self.seen))

    def _test(self) -> None:
        block, self.open = self.open, NOTHING
        n_t, x_t, n_c, x_c = block
        if min(n_t, n_c) < ARM_MIN:
            return
        control, treatment = _rate(self.past_c), _rate(self.past_t)
        gained = gain(block, control.p_hat, treatment.p_hat)
        self.cells = (_cells(self.cells) + gained).astype(_FLOAT).tobytes()
        elapsed_s = max(self.from_s - self.tested_s, 0) if self.tested_s else 0
        control.remember(n_c, x_c, elapsed_s)
        treatment.remember(n_t, x_t, elapsed_s)
        self.past_c, self.past_t = (control.dx, control.dn), (treatment.dx, treatment.dn)
        self.seen, self.tested_s = (self.seen[0] + n_t, self.seen[1] + n_c), self.from_s


def gain(block: tuple[float, float, float, float], p_c: float, p_t: float) -> Floats:
    """
    Return log e-values of a block ``n_t, x_t, n_c, x_c`` of two arms, with guesses of both rates from earlier blocks.

    Flat: treatment above each ratio, then each difference, then control above treatment by each, for every bet.
    """
    n_t, x_t, n_c, x_c = block
    step = max(-SHARE_STEPS_MAX, min(SHARE_STEPS_MAX, int(math.log(n_t / n_c) / SHARE_STEP)))
    share = _expit(step * SHARE_STEP)
    size, r_t, r_c = min(n_t / share, n_c / (1.0 - share)), x_t / n_t, x_c / n_c
    neither = 1.0 - r_t - r_c
    above, below = _worth(step, _guess_step(p_c)), _worth(-step, _guess_step(p_t))
    return size * np.concatenate(
        [
            neither * above[0] + r_t * above[1] + r_c * above[2],
            neither * below[0] + r_c * below[1] + r_t * below[2],
        ]
    )


def _rate(past: tuple[float, float]) -> ControlRate:
    return ControlRate(half_life_s=HALF_LIFE_S, dx=past[0], dn=past[1])


def _cells(raw: bytes) -> Cells:
    return np.frombuffer(raw, _FLOAT) if raw else np.zeros(2 * _MARGINS * _BETS.size, _FLOAT)


@lru_cache(maxsize=READ_MAX)
def _excluded(raw: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many margins are excluded from below and from above, of the ratio and of the difference."""
    out = exceeded(_cells(raw).reshape(2, _MARGINS, _BETS.size), ESTIMATE_ALPHA)
    ratios, differences = out[:, : RATIOS.size], out[:, RATIOS.size :]
    return (leading(ratios[0]), leading(ratios[1])), (leading(differences[0]), leading(differences[1]))


def _guess_step(p_hat: float) -> int | None:
    p = min(p_hat, 1.0 - GUESS_MIN)
    return round(math.log(p / (1.0 - p)) / GUESS_STEP) if p >= GUESS_MIN else None


@lru_cache(maxsize=TABLES_MAX)
def _worth(share_step: int, guess_step: int | None) -> Floats:
    """
    Return log e-values of an arm of size w beside another of size 1 - w: without events, its own full, the other full.

    One number for each margin by which the arm's rate may be above the other's, and each bet. Shape ``(3, cells)``.
    """
    w, p_hat = _expit(share_step * SHARE_STEP), 0.0 if guess_step is None else _expit(guess_step * GUESS_STEP)
    events = np.array([[0.0], [w], [0.0]]), np.array([[0.0], [0.0], [1.0 - w]])
    block = w, events[0], 1.0 - w, events[1]
    ratios = two_sample_blocks(*block, p_hat=p_hat, margin=RATIOS, grid=_BETS)
    differences = beyond_difference(block, p_hat, DIFFERENCES, _BETS)
    return np.concatenate([ratios, differences], axis=1).reshape(3, -1)


def _expit(y: float) -> float:
    return 1.0 / (1.0 + math.exp(-y))
