"""The lanes of one guardrail over many runs: what ``guardian.watch`` does for one, by the same functions in arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.forecast.assumed import Assumed
from guardian.policy import Guardrail
from guardian.sequential import (
    DEFAULT_TAUS,
    StreamBank,
    additive_margin_blocks,
    count_blocks,
    slowness_blocks,
    threshold_blocks,
    two_sample_blocks,
)
from guardian.sequential.checks import Bools, Floats
from guardian.watch import CONTROL_HALF_LIFE_S, lane_parts

K = 8


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


class Lanes:
    """The accounts of one guardrail, one a run and lane."""

    def __init__(self, guardrail: Guardrail, runs: int, assumed: Assumed) -> None:
        """Open empty accounts for so many runs."""
        self.condition: Condition = guardrail.when
        self.then = guardrail.then
        self._edges = DEFAULT_TAUS.size if _is_slowness(self.condition) else 1
        self._parts = lane_parts(self.condition.bound, assumed.by_exposures)
        if self.condition.signal.kind != "error_rate":
            self._parts = self._parts._replace(full=1.0, fast=0.0)
        self._full = StreamBank(runs, K)
        self._fast = StreamBank(runs, K) if self._parts.fast > 0.0 else None
        self._read_full, self._read_fast = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)

    @property
    def is_alone(self) -> bool:
        """Whether its blocks need no control."""
        return isinstance(self.condition.bound, Absolute)

    def deposit(self, amount: Floats) -> None:
        """Deposit each run's amount, split over the lanes; decided before any new evidence is read."""
        self._full.deposit(amount * self._parts.full)
        if self._fast is not None:
            self._fast.deposit(amount * self._parts.fast)

    def read_blocks(self, block: Sums, closed: Bools, p_hat: Floats, weight: Floats) -> None:
        """Read the blocks that closed; ``p_hat`` and ``weight`` (requests remembered) are of control's *past*."""
        log_e = np.zeros((closed.size, K))
        log_e[closed] = _block_log_e(self.condition, block.of(closed), p_hat[closed], weight[closed])
        self._full.update(log_e)
        self._read_full |= closed

    def read_failures(self, x_t: Floats, x_c: Floats, share: Floats, steady: Bools) -> None:
        """Read failures as they come, in the runs whose epoch is old enough."""
        bound = self.condition.bound
        if self._fast is None or not isinstance(bound, Relative):
            return
        rows = steady & (x_t + x_c > 0.0)
        log_e = np.zeros((rows.size, K))
        log_e[rows] = count_blocks(x_t[rows], x_c[rows], share[rows], margin=bound.factor)
        self._fast.update(log_e)
        self._read_fast |= rows

    def alarms(self) -> tuple[Bools, Bools]:
        """Say of each run whether the full and the fast lane cry."""
        full = self._read_full & self._full.crossed()
        if self._fast is None:
            return full, np.zeros_like(full)
        return full, self._read_fast & self._fast.crossed()

    def evidence(self) -> Floats:
        """Return the most evidence of harm that a lane of each run holds, in nats over what was deposited."""
        return np.maximum(*(_log_e(bank) for bank in (self._full, self._fast or self._full)))

    @property
    def has_read(self) -> Bools:
        """Whether a lane of the run has read anything yet."""
        return self._read_full | self._read_fast

    @property
    def deposited(self) -> Floats:
        """What each run was paid in so far, over its lanes: the bound on its expected number of false alarms."""
        paid = self._full.total_deposited
        return paid if self._fast is None else paid + self._fast.total_deposited

    def reset(self, rows: Bools) -> None:
        """Empty the accounts of these runs, after an alarm that was acted on."""
        for bank in (self._full, self._fast):
            if bank is not None:
                bank.reset(rows)

    def drop(self, rows: Bools) -> None:
        """Take these runs out."""
        for bank in (self._full, self._fast):
            if bank is not None:
                bank.remove(rows)
        self._read_full, self._read_fast = self._read_full[~rows], self._read_fast[~rows]


def new_memory(runs: int) -> StreamBank:
    """Return what remembers control's rate in each run, as ``guardian.watch`` does."""
    return StreamBank(runs, 1, half_life_s=CONTROL_HALF_LIFE_S)


def _is_slowness(condition: Condition) -> bool:
    return condition.signal.kind == "latency" and isinstance(condition.bound, Relative)


def _block_log_e(condition: Condition, block: Sums, p_hat: Floats, weight: Floats) -> Floats:
    bound, first = condition.bound, (block.n_t, block.x_t[:, 0], block.n_c, block.x_c[:, 0])
    if isinstance(bound, Absolute):
        # "p95 > 300 ms" is "more than 5 % take longer than 300 ms".
        p0 = 1.0 - (condition.signal.quantile or 0.95) if condition.signal.kind == "latency" else bound.value
        return threshold_blocks(first[0], first[1], p0=p0)
    if _is_slowness(condition):
        return slowness_blocks(
            block.n_t, block.x_t, block.n_c, block.x_c, beyond=1.0 - DEFAULT_TAUS, weight=weight
        )
    if isinstance(bound, Relative):
        return two_sample_blocks(*first, p_hat=p_hat, margin=bound.factor)
    if isinstance(bound, Margin):
        return additive_margin_blocks(*first, p_hat=p_hat, delta=bound.delta)
    raise TypeError(f"guardrail {condition.text!r} has no block test")


def _log_e(bank: StreamBank) -> Floats:
    log_s, paid = bank.log_s(), bank.total_deposited
    known = (log_s > -np.inf) & (paid > 0.0)
    return np.where(known, log_s - np.log(np.where(paid > 0.0, paid, 1.0)), 0.0)
