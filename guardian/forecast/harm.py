"""Harm as numbers: what is counted of each arm while all is well and while it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardian.sequential.checks import Floats

FACTORS = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
MOST_EFFECTS = 6


class Effect(NamedTuple):
    """A size of harm: its factor, how it is written, what it makes of the signal, and how one says it."""

    factor: float
    text: str
    value: float
    said: str


@dataclass(frozen=True, slots=True)
class Harm:
    """
    What is counted under each effect: chances beyond the edges, control's, the variation's while well and while not.

    Whatever the signal, an arm's requests are counted beyond J edges: failures (one edge), requests slower than
    control's past quantiles, scores above each of their levels but the highest. ``control`` and ``well`` have shape
    ``(J,)``, ``ill`` one row an effect, ``(E, J)``; chances never rise from edge to edge. ``fails`` is the part of the
    variation's requests that are worse off for it, ``(E,)``; ``is_seen`` says that these are just those counted beyond
    the first edge.

    ``part`` is the part of the requests that bring anything to count; with ``is_narrow`` harm meets no others. Scores
    lie at ``positions``, ``(J + 1,)``, lowest first. ``lost`` is the part of the variation's starts that never arrive,
    ``(E,)``.
    """

    effects: tuple[Effect, ...]
    control: Floats
    well: Floats
    ill: Floats
    fails: Floats
    is_seen: bool = False
    part: float = 1.0
    is_narrow: bool = False
    positions: NDArray[np.int64] | None = None
    lost: Floats | None = None

    def first(self) -> Harm:
        """Return the harm with its first effect alone."""
        lost = None if self.lost is None else self.lost[:1]
        return Harm(
            self.effects[:1], self.control, self.well, self.ill[:1], self.fails[:1], self.is_seen, self.part,
            self.is_narrow, self.positions, lost,
        )  # fmt: skip
