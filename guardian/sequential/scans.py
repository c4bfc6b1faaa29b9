"""
Intervals for the difference and the ratio of two rates that hold at every moment, and through drift.

The intervals of `intervals` need constant rates. Here each block compares the arms with each other, as the tests do:
a margin is outside the interval once a test of that very margin has enough evidence against it. So an incident that
hits both arms, a season or a ramp moves nothing. The price is a grid of margins, each with a few numbers of state.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from guardian.sequential.checks import ARM_MIN, Bools, Floats, as_floats, check_arm, check_open_unit
from guardian.sequential.control_rate import ControlRate
from guardian.sequential.differences import additive_margin_blocks
from guardian.sequential.grid import ratio_grid
from guardian.sequential.proportions import two_sample_blocks

#: Alternatives of every margin: close ones too, for at the ends of an interval the effect is always small.
_ALTERNATIVES: Floats = ratio_grid(8, 1.02, 12.0)

#: Ratios from a twentieth to twenty, 2 % apart near 1 and 15 % far from it.
DEFAULT_RATIOS: Floats = np.exp(np.sinh(np.linspace(-math.asinh(9.0), math.asinh(9.0), 121)) / 3.0)
DEFAULT_RATIOS.setflags(write=False)

_UP = np.geomspace(1e-4, 0.5, 60)
#: Differences from -50 to 50 percentage points, the smallest 0.01 apart from none.
DEFAULT_DIFFERENCES: Floats = np.concatenate([-_UP[::-1], [0.0], _UP])
DEFAULT_DIFFERENCES.setflags(write=False)


class _Scan(ABC):
    """
    For every margin of a rising grid, evidence that treatment is above it and evidence that treatment is below it.
    """

    __slots__ = ("_above", "_below", "_control", "_treatment", "alpha", "margins")

    def __init__(self, margins: Floats, alpha: float, half_life_s: float) -> None:
        check_open_unit("alpha", alpha)
        if (np.diff(margins) <= 0.0).any():
            raise ValueError(f"margins is {margins.tolist()!r}: they must rise")
        self.alpha, self.margins = alpha, margins
        self._above: Floats = np.zeros((margins.size, _ALTERNATIVES.size))
        self._below: Floats = np.zeros((margins.size, _ALTERNATIVES.size))
        self._control = ControlRate(half_life_s=half_life_s)
        self._treatment = ControlRate(half_life_s=half_life_s)

    def update(self, n_t: float, x_t: float, n_c: float, x_c: float, elapsed_s: float = 0.0) -> None:
        """
        Read one block: units and events of both arms; ``elapsed_s`` seconds after the block before.

        Raises ValueError unless ``0 <= x <= n <= 2**53`` in each arm and ``elapsed_s`` is at least 0.
        """
        check_arm("t", n_t, x_t)
        check_arm("c", n_c, x_c)
        if n_t >= ARM_MIN and n_c >= ARM_MIN:
            self._above = self._above + self._test_above((n_t, x_t, n_c, x_c), self._control.p_hat)
            self._below = self._below + self._test_below((n_c, x_c, n_t, x_t), self._treatment.p_hat)
        self._control.remember(n_c, x_c, elapsed_s)
        self._treatment.remember(n_t, x_t, elapsed_s)

    def interval(self) -> tuple[float | None, float | None]:
        """
        Return ``(lo, hi)``; None where no margin of the grid is excluded on that side.

        An end is a margin of the grid: the last one excluded before the first one that is not.
        """
        lo, hi = leading(exceeded(self._above, self.alpha)), leading(exceeded(self._below[::-1], self.alpha))
        return (
            float(self.margins[lo - 1]) if lo else None,
            float(self.margins[-hi]) if hi else None,
        )

    @abstractmethod
    def _test_above(self, block: tuple[float, float, float, float], p_hat: float) -> Floats:
        """
        Return log e-values, one a margin and alternative, against "treatment is at most the margin".
        """

    @abstractmethod
    def _test_below(self, swapped: tuple[float, float, float, float], p_hat: float) -> Floats:
        """
        Return those against "treatment is at least the margin", given the block with its arms swapped.
        """

    def to_state(self) -> list[float]:
        """
        Return the state as numbers, bit for bit: two memories of two, then the evidence of each margin.
        """
        return [
            *self._control.to_state(),
            *self._treatment.to_state(),
            *self._above.ravel().tolist(),
            *self._below.ravel().tolist(),
        ]

    def restore(self, state: Sequence[float]) -> Self:
        """
        Take the state that `to_state` returned of a scan with the same margins; return this scan.
        """
        numbers = as_floats("state", state)
        size = self._above.size
        if numbers.size != 4 + 2 * size:
            raise ValueError(f"state has {numbers.size} numbers: a scan of these margins has {4 + 2 * size}")
        half_life_s = self._control.half_life_s
        self._control = ControlRate.from_state(numbers[:2].tolist(), half_life_s=half_life_s)
        self._treatment = ControlRate.from_state(numbers[2:4].tolist(), half_life_s=half_life_s)
        self._above = numbers[4 : 4 + size].reshape(self._above.shape)
        self._below = numbers[4 + size :].reshape(self._below.shape)
        return self


class RatioScan(_Scan):
    """
    An interval for the ratio of treatment's rate to control's.

    If the ratio is the same r in every block, whatever control's rate does, then at all times at once r lies in
    `interval` but for a chance ``alpha``. If the ratio moves too, the interval still meets the range over which it
    moved: ``lo`` is at most the largest ratio of any block so far, ``hi`` at least the smallest, each but for
    ``alpha/2``. Each margin is excluded by its own e-process (`two_sample_block`, mixed over alternatives) reaching
    ``2/alpha`` (Ville); below it for ``hi``, with the arms swapped. Margins are excluded from the outside in, so there
    is nothing to correct for the number of them.
    """

    __slots__ = ()

    def __init__(
        self, alpha: float = 0.05, *, ratios: Sequence[float] | Floats = DEFAULT_RATIOS, half_life_s: float = 60.0
    ) -> None:
        """
        Begin without data. ``ratios`` must rise within [1e-6, 1e6].
        """
        margins = as_floats("ratios", ratios)
        if not (margins.min() >= 1e-6 and margins.max() <= 1e6):
            raise ValueError(f"ratios is {margins.tolist()!r}: ratios of rates must lie in [1e-6, 1e6]")
        super().__init__(margins, alpha, half_life_s)

    def _test_above(self, block: tuple[float, float, float, float], p_hat: float) -> Floats:
        return two_sample_blocks(*block, p_hat=p_hat, margin=self.margins, grid=_ALTERNATIVES)

    def _test_below(self, swapped: tuple[float, float, float, float], p_hat: float) -> Floats:
        return two_sample_blocks(*swapped, p_hat=p_hat, margin=1.0 / self.margins, grid=_ALTERNATIVES)


class DifferenceScan(_Scan):
    """
    An interval for treatment's rate less control's, as `RatioScan` for the ratio (`additive_margin_block`).
    """

    __slots__ = ()

    def __init__(
        self,
        alpha: float = 0.05,
        *,
        differences: Sequence[float] | Floats = DEFAULT_DIFFERENCES,
        half_life_s: float = 60.0,
    ) -> None:
        """
        Begin without data. ``differences`` must rise within (-1, 1).
        """
        margins = as_floats("differences", differences)
        if not (margins.min() > -1.0 and margins.max() < 1.0):
            raise ValueError(f"differences is {margins.tolist()!r}: differences of rates lie above -1 and below 1")
        super().__init__(margins, alpha, half_life_s)

    def _test_above(self, block: tuple[float, float, float, float], p_hat: float) -> Floats:
        return beyond_difference(block, p_hat, self.margins, _ALTERNATIVES)

    def _test_below(self, swapped: tuple[float, float, float, float], p_hat: float) -> Floats:
        return beyond_difference(swapped, p_hat, -self.margins, _ALTERNATIVES)


def beyond_difference(block: tuple[Any, Any, Any, Any], p_hat: float, delta: Floats, grid: Floats) -> Floats:
    """
    Return `additive_margin_blocks` for margins of either sign, with a guess that leaves every one an alternative.
    """
    # "Lower by 20 points" needs a control rate above 20 %: a lower guess would leave the test without an alternative.
    floor = np.where(delta < 0.0, 0.1 * np.minimum(-delta, 1.0 + delta) - delta, 0.0)
    return additive_margin_blocks(*block, p_hat=np.maximum(p_hat, floor), delta=delta, grid=grid)


def exceeded(log_e: Any, alpha: float) -> Bools:
    """
    Say which margins are excluded at ``alpha/2``, given log e-values with one alternative each on the last axis.
    """
    # The ufuncs themselves: the methods of arrays spend as much again on the few numbers of one stream.
    largest = np.maximum.reduce(log_e, axis=-1)
    mean = largest + np.log(np.add.reduce(np.exp(log_e - largest[..., np.newaxis]), axis=-1) / log_e.shape[-1])
    return np.asarray(mean >= math.log(2.0 / alpha))


def leading(excluded: Bools) -> int:
    """
    Return how many margins from the first on are excluded without a gap.
    """
    return int(excluded.argmin()) if not excluded.all() else int(excluded.size)
