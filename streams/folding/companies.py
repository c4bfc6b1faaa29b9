"""
Which watched flags one outcome ran under, numbered: a company is a set of arms, one of each flag.

Requests repeat their companies as they repeat their settings, but a number
given here stays good for as long as the names, and so for events that wait.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streams.folding.column import Column

Int64s = npt.NDArray[np.int64]

ALONE = 0
"""The company of an event that ran under fewer than two watched flags."""
FLAGS_MAX = 12
"""Watched flags of one outcome that are seen together: of two variations each they have 4,096 companies."""
COMPANIES_MAX = 65_536
"""Companies that are told apart; those that come later are counted as none until the names are forgotten."""


class Companies:
    """Numbers of companies, each given when it is first met."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, ...], int] = {(): ALONE}
        self._first, self._count, self._arms = Column(np.int64), Column(np.int64), Column(np.int64)
        self._append(())

    def __len__(self) -> int:
        return len(self._first)

    @property
    def is_full(self) -> bool:
        """Whether companies that come now are counted as none."""
        return len(self) >= COMPANIES_MAX

    def number(self, arms: Sequence[int]) -> int:
        """Return the number of these arms, at most ``FLAGS_MAX``, in an order that their flags alone decide."""
        key = tuple(arms)
        if len(key) < 2:
            return ALONE
        number = self._numbers.get(key)
        if number is None:
            if self.is_full:
                return ALONE
            number = self._numbers[key] = len(self)
            self._append(key)
        return number

    def _append(self, arms: tuple[int, ...]) -> None:
        self._first.append(len(self._arms))
        self._count.append(len(arms))
        self._arms.append(*arms)

    def of(self, company: Int64s) -> tuple[Int64s, Int64s]:
        """Return where each company's arms begin in ``arms``, and how many they are."""
        return self._first.array[company], self._count.array[company]

    @property
    def arms(self) -> Int64s:
        """The arms of all companies, one after the other."""
        return self._arms.array
