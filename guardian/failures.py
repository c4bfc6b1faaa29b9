"""
First failures as they come, each against those who started beside it: what the fast lane reads.

Given the starts of a moment and who of them has failed so far, the next of
them to fail is the variation's with its part of those still at risk, if it
does no harm (sampling without replacement). That holds whatever the shares
did before or after, and however late the failure comes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from guardian.history import STEP_MS, History
from guardian.names import Millis
from guardian.population import Cell

ENOUGH = 5
"""Starts of each arm that a moment needs; a thinner one is widened, second by second, on both sides."""
WIDEST_S = 30
PATIENCE_MS = 10_000
"""How long a failure waits for the exposures beside it, which may travel on another partition."""


class Failures(msgspec.Struct, gc=False):
    """First failures not tested yet: by second of start and treatment, the treatment's and control's."""

    fresh: dict[int, dict[str, list[float]]] = {}

    def add(self, start_ms: Millis, variation: str, x: float, control: str, treatments: Iterable[str]) -> None:
        """Note first failures; control's are compared with every treatment."""
        held = self.fresh.setdefault(start_ms // STEP_MS, {})
        for treatment in treatments if variation == control else (variation,):
            held.setdefault(treatment, [0.0, 0.0])[variation == control] += x

    def take_readable(
        self, history: History, control: str, by_exposures: bool, passed_ms: Millis
    ) -> list[tuple[str, float, float, float]]:
        """
        Take out, by second and name, ``(treatment, its failures, control's, its share of those at risk)``.

        What lacks its exposures stays for ten seconds after the watermark has
        passed it; then it is dropped, as there is nothing to compare it with.
        """
        taken = []
        for second in sorted(self.fresh):
            for treatment in sorted(self.fresh[second]):
                x_t, x_c = self.fresh[second][treatment]
                share = _share_at_risk(history, second, (treatment, x_t), (control, x_c), by_exposures)
                if share is not None:
                    taken.append((treatment, x_t, x_c, share))
                elif passed_ms < second * STEP_MS + PATIENCE_MS:
                    continue
                del self.fresh[second][treatment]
            if not self.fresh[second]:
                del self.fresh[second]
        return taken


def _share_at_risk(
    history: History, second: int, arm: tuple[str, float], base: tuple[str, float], by_exposures: bool
) -> float | None:
    """Return the treatment's part of the starts around ``second`` that may still fail, before its fresh failures."""
    if history.recent(0, arm[0]).starts(by_exposures) < max(arm[1], 1.0):
        # However wide: a name that somebody makes up costs next to nothing.
        return None
    around = (Cell(), Cell())
    width = 0
    while True:
        _sum(history, second, width, (arm[0], base[0]), around)
        thin = min(cell.starts(by_exposures) for cell in around) < ENOUGH
        if not thin or width >= WIDEST_S:
            break
        width += max(width, 1)
    n_t = around[0].starts(by_exposures) - (around[0].first - arm[1])
    n_c = around[1].starts(by_exposures) - (around[1].first - base[1])
    if n_t < max(arm[1], 1.0) or n_c < max(base[1], 1.0):
        return None
    return n_t / (n_t + n_c)


def _sum(history: History, second: int, width: int, names: tuple[str, str], into: tuple[Cell, Cell]) -> None:
    for cell in into:
        cell.exposures = cell.outcomes = cell.errors = 0
        cell.first = cell.left = 0.0
    for at in range(second - width, second + width + 1):
        history.add_to(zip(names, into, strict=True), at)
