"""
Noticing that shares moved although nobody said so: a person changed them, or another tool did.

Reads exposures only, so that opening an epoch never depends on how requests end.
"""

from __future__ import annotations

from math import lgamma

from guardian.history import STEP_MS, History
from guardian.names import Millis
from guardian.population import MOVED, Cell, Population

LOOK_MS = 1_000
LOOK_BACK_S = 60
MOVED_NATS = 9.0
"""Log Bayes factor of "two shares" over "one share" that opens an epoch: a needless one costs little."""


def look(population: Population, history: History, variations: list[str], control: str, now_ms: Millis) -> bool:
    """
    Open an epoch at the second since which a variation's share is another one; say whether that was needed.

    Compares, once a second, for each of the last 60 seconds s of the epoch,
    the Krichevsky-Trofimov probability of the starts before and after s with
    that of one constant share. The starts since s move to the new epoch.
    """
    epoch = population.now
    if epoch is None or now_ms - population.looked_ms < LOOK_MS:
        return False
    population.looked_ms = now_ms
    found = max((_best(population, history, v, control, epoch.start_ms) for v in variations), default=(0.0, 0))
    if found[0] < MOVED_NATS:
        return False
    _split(population, history, found[1])
    return True


def _best(
    population: Population, history: History, variation: str, control: str, from_ms: Millis
) -> tuple[float, Millis]:
    epoch, by_exposures = population.now, population.by_exposures
    assert epoch is not None
    n_t, n_c = epoch.size(variation, by_exposures), epoch.size(control, by_exposures)
    one = _log_probability(n_t, n_c)
    best, best_ms, new_t, new_c = 0.0, 0, 0, 0
    fine, seconds = history.fine, [at for at in history.fine.numbers()[:LOOK_BACK_S] if at * STEP_MS > from_ms]
    began = (fine.starts(seconds, name, by_exposures) for name in (variation, control))
    for second, of_t, of_c in zip(seconds, *began, strict=True):
        new_t += of_t
        new_c += of_c
        if new_t + new_c > n_t + n_c or new_t > n_t or new_c > n_c:
            break
        gain = _log_probability(new_t, new_c) + _log_probability(n_t - new_t, n_c - new_c) - one
        if gain > best:
            best, best_ms = gain, second * STEP_MS
    return best, best_ms


def _log_probability(n_t: int, n_c: int) -> float:
    """Krichevsky & Trofimov 1981: a sequence with these counts under a Beta(1/2, 1/2) share."""
    return lgamma(n_t + 0.5) + lgamma(n_c + 0.5) - lgamma(n_t + n_c + 1.0)


def _split(population: Population, history: History, at_ms: Millis) -> None:
    old = population.now
    assert old is not None
    new = population.open(at_ms, MOVED)
    for second in history.fine.numbers():
        if second * STEP_MS >= at_ms:
            for variation, cell in (history.fine.cells(second) or {}).items():
                new.arms.setdefault(variation, Cell()).add(cell)
    for variation, cell in new.arms.items():
        if variation in old.arms:
            old.arms[variation].take_away(cell)
