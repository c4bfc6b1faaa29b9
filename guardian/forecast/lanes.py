"""The lanes of one guardrail over many runs: what ``guardian.watch`` does for one, by the same functions in arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from guardian.conditions import Absolute, Relative
from guardian.forecast.assumed import Assumed
from guardian.forecast.bets import K, log_e, when_full
from guardian.forecast.harm import Harm
from guardian.forecast.scene import Watched
from guardian.forecast.sums import Past, Sums
from guardian.sequential import StreamBank, count_blocks
from guardian.sequential.checks import Bools, Floats
from guardian.watch import Parts, lane_parts

_BY_EVENTS = frozenset({"failures", "reports"})


class _Lane:
    """One account a run; its log S is asked for often, so it is kept from each reading to the next."""

    def __init__(self, runs: int) -> None:
        self.bank = StreamBank(runs, K)
        self.log_s = np.full(runs, -np.inf)
        self.read = np.zeros(runs, dtype=bool)

    def update(self, values: Floats, rows: Bools) -> None:
        found = np.zeros((rows.size, K))
        found[rows] = values
        self.log_s = self.bank.update(found)
        self.read |= rows

    def crossed(self) -> Bools:
        return np.asarray(self.read & (self.log_s >= 0.0))

    def evidence(self) -> Floats:
        paid = self.bank.total_deposited
        known = self.read & (self.log_s > -np.inf) & (paid > 0.0)
        return np.where(known, self.log_s - np.log(np.where(paid > 0.0, paid, 1.0)), 0.0)

    def reset(self, rows: Bools) -> None:
        self.bank.reset(rows)
        self.log_s[rows] = -np.inf

    def drop(self, rows: Bools) -> None:
        self.bank.remove(rows)
        self.log_s, self.read = self.log_s[~rows], self.read[~rows]


class Lanes:
    """The accounts of one guardrail, one a run and lane."""

    def __init__(self, watched: Watched, runs: int, assumed: Assumed, harm: Harm) -> None:
        """Open empty accounts for so many runs."""
        self.watched, self.then, self.when_full = watched, watched.guardrail.then, when_full(watched)
        self._harm = harm
        bound = watched.guardrail.when.bound
        self._parts = lane_parts(bound, assumed.by_exposures) if watched.line is None else Parts(1.0, 0.0)
        self._full = _Lane(runs)
        self._fast = _Lane(runs) if self._parts.fast > 0.0 else None
        self._gain, self._units = np.zeros(runs), np.zeros(runs)

    @property
    def is_alone(self) -> bool:
        """Whether it reads a fixed bound."""
        return isinstance(self.watched.guardrail.when.bound, Absolute)

    @property
    def is_fast(self) -> bool:
        """Whether it reads failures as they come, too."""
        return self._fast is not None

    def deposit(self, amount: Floats) -> None:
        """Deposit its part of what each run's variation is offered, split over the lanes, before new evidence is read."""
        self._full.bank.deposit(amount * (self.watched.part * self._parts.full))
        if self._fast is not None:
            self._fast.bank.deposit(amount * (self.watched.part * self._parts.fast))

    def read_blocks(self, block: Sums, rows: Bools, past: Past, share: Floats) -> None:
        """Read the blocks of these runs, ``block`` and ``share`` holding them alone; see ``bets.log_e``."""
        values = log_e(self.watched, self._harm, block, rows, past, share)
        self._full.update(values, rows)
        if self.watched.line is not None:
            self._tell(block, values, rows)

    def _tell(self, block: Sums, values: Floats, rows: Bools) -> None:
        """Since when the evidence grows, and the units since then, as ``guardian.line_watch.Story``."""
        largest = values.max(axis=1)
        mixed = largest + np.log(np.exp(values - largest[:, np.newaxis]).mean(axis=1))
        anew = self._gain[rows] <= 0.0
        self._gain[rows] = np.where(anew, 0.0, self._gain[rows]) + mixed
        by_events = self.watched.kind in _BY_EVENTS or self.watched.guardrail.when.signal.kind == "thumbs_down_rate"
        self._units[rows] = np.where(anew, 0.0, self._units[rows]) + (block.x_t[:, 0] if by_events else block.n_t)

    def read_failures(self, x_t: Floats, x_c: Floats, share: Floats, steady: Bools) -> None:
        """Read failures as they come, in the runs whose epoch is old enough."""
        bound = self.watched.guardrail.when.bound
        if self._fast is None or not isinstance(bound, Relative):
            return
        rows = steady & (x_t + x_c > 0.0)
        self._fast.update(count_blocks(x_t[rows], x_c[rows], share[rows], margin=bound.factor), rows)

    def enough(self, failed: Floats, least: int) -> Bools:
        """Say of each run whether as many units are behind it as the policy wants; ``failed`` of all requests' lately."""
        if self.watched.line is None:
            return failed >= least
        return np.ones(failed.size, dtype=bool) if self.watched.kind == "fresh" else self._units >= least

    def alarms(self) -> tuple[Bools, Bools]:
        """Say of each run whether the full and the fast lane cry."""
        full = self._full.crossed()
        return full, np.zeros_like(full) if self._fast is None else self._fast.crossed()

    @property
    def pooled(self) -> Floats:
        """What the full lane holds to be asked together with others, as log S; ``-inf`` before it has read anything."""
        return np.where(self._full.read, self._full.log_s, -np.inf)

    @property
    def is_asked_together(self) -> bool:
        """Whether it has the clock of the others: who is new is read ahead of outcomes."""
        return self.watched.kind != "fresh"

    def evidence(self) -> Floats:
        """Return the most evidence of harm that a lane of each run holds, in nats over what was deposited."""
        full = self._full.evidence()
        return full if self._fast is None else np.maximum(full, self._fast.evidence())

    @property
    def has_read(self) -> Bools:
        """Whether a lane of the run has read anything yet."""
        return self._full.read if self._fast is None else self._full.read | self._fast.read

    @property
    def deposited(self) -> Floats:
        """What each run was paid in so far, over its lanes: the bound on its expected number of false alarms."""
        paid = self._full.bank.total_deposited
        return paid if self._fast is None else paid + self._fast.bank.total_deposited

    def reset(self, rows: Bools) -> None:
        """Empty the accounts of these runs, after an alarm that was acted on."""
        self._full.reset(rows)
        if self._fast is not None:
            self._fast.reset(rows)

    def drop(self, rows: Bools) -> None:
        """Take these runs out."""
        self._full.drop(rows)
        if self._fast is not None:
            self._fast.drop(rows)
        self._gain, self._units = self._gain[~rows], self._units[~rows]


class Cries(NamedTuple):
    """Of each run, whether a full lane cries, a fast one, and one that reads who is new, ahead of outcomes."""

    full: Bools
    fast: Bools
    ahead: Bools


def cries_of(group: Sequence[Lanes], failed: Floats, least: int, *, is_ended: bool) -> Cries:
    """
    Say of each run which lanes of guardrails of one action cry, with ``least`` units behind it.

    Full lanes that do not cry alone are asked together, as ``guardian.standing`` does. Unless what cries ``is_ended`` by
    it, its accounts are emptied.
    """
    full, fast, ahead = (np.zeros(failed.size, dtype=bool) for _ in range(3))
    held = np.full(failed.size, -np.inf)
    for lanes in group:
        enough = lanes.enough(failed, least)
        alone, soon = (cries & enough for cries in lanes.alarms())
        fast |= soon
        if not lanes.is_asked_together:
            ahead |= alone
        else:
            full |= alone
            held = np.logaddexp(held, np.where(enough, lanes.pooled, -np.inf))
        if not is_ended:
            lanes.reset(alone | soon)
    together = (held >= 0.0) & ~full & ~fast & ~ahead
    if not is_ended:
        for lanes in group:
            if lanes.is_asked_together:
                lanes.reset(together)
    return Cries(full | together, fast, ahead)
