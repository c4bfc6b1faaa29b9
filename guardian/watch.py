"""
One guardrail watching one variation: its accounts, one per lane, and what they say.

*full* lane: mature blocks with all their outcomes (LB2, additive margin,
threshold). *fast* lane: first failures as they come over the starts of their
own epoch (LB1), no waiting. Each lane is an account of its own with its part
of the budget, so the expected number of false alarms is what was deposited.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec

from guardian.conditions import Absolute, Bound, Condition, Margin, Relative
from guardian.evidence import Breach, Clear, Inconclusive, NoData, Verdict
from guardian.lines import is_of_requests
from guardian.policy import Guardrail, Policy
from guardian.sequential import (
    Account,
    additive_margin_block,
    count_block,
    threshold_block,
    two_sample_block,
)
from guardian.sequential.checks import Floats

FULL, FAST = "full", "fast"
_FAST_PART = {True: 0.5, False: 0.1}
"""The fast lane's part of the budget: half where exposures are events of their own; else it only sees what is late."""


class Parts(NamedTuple):
    """How a guardrail's budget is split over its lanes; 0 for a lane that it does not have."""

    full: float
    fast: float


def lane_parts(bound: Bound, by_exposures: bool) -> Parts:
    """Return the lanes' parts of a guardrail's budget; only relative guardrails have a fast lane."""
    fast = _FAST_PART[by_exposures] if isinstance(bound, Relative) else 0.0
    return Parts(1.0 - fast, fast)


CONTROL_HALF_LIFE_S = 60.0
"""How long control's rate is remembered."""


BLOCK_UNITS = 4
BLOCK_MS = 1_000
"""A block closes once both arms are in it and it holds this many treated outcomes, or spans this long."""


def is_full(n_t: Any, n_c: Any, span_ms: Any) -> Any:
    """Say whether a block closes that holds so many outcomes of both arms and spans so long; numbers or arrays."""
    return (n_c >= 1) & is_full_alone(n_t, span_ms)


def is_full_alone(n_t: Any, span_ms: Any) -> Any:
    """Say the same of a block for fixed bounds: it needs no control, and so is tested at a share of 100 %, too."""
    return (n_t >= 1) & ((n_t >= BLOCK_UNITS) | (span_ms >= BLOCK_MS))


class Block(msgspec.Struct, gc=False):
    """Sums of one variation and control over the same starts: ``n`` finished, ``x`` first failures, ``left`` as in `Cell`."""

    from_ms: int = 0
    to_ms: int = 0
    n_t: int = 0
    x_t: float = 0.0
    n_c: int = 0
    x_c: float = 0.0
    left_t: float = 0.0
    left_c: float = 0.0

    @property
    def is_nameless(self) -> bool:
        """Whether failures without a unit are among them."""
        return self.left_t + self.left_c > 0.0


class Guesses(NamedTuple):
    """
    What past blocks say: control's rate, with failures without a unit as parts, and with all of them whole.

    ``is_nameless`` says that there were such failures, of either arm.
    """

    named: float
    whole: float
    is_nameless: bool


ANEW_MOST = 0.5
"""An account begins anew with no more, though years of deposits may have come to more: 1 is what kills."""


class Lane(msgspec.Struct, gc=False):
    """
    An account and how much of the variation's budget it has been offered.

    ``paid`` was deposited since the account was last emptied; ``crossed`` says whether it reached 1 since the last
    known change.
    """

    account: Account
    offered: float = 0.0
    paid: float = 0.0
    read: bool = False
    peak: float = -math.inf
    crossed: bool = False

    def deposit(self, offered: float, part: float) -> None:
        """Deposit this lane's part of what its variation was offered since the last time; never looks at outcomes."""
        fresh = offered - self.offered
        self.offered = offered
        if fresh > 0.0 and part > 0.0:
            self.account.deposit(fresh * part)
            self.paid += fresh * part

    def reset(self) -> None:
        """Empty the account: what was deposited is spent."""
        self.account.reset()
        self.paid = 0.0

    def rewind(self) -> None:
        """Forgo what was won: the account has what was deposited since it was emptied, and begins anew with it."""
        self.account.lower(min(self.paid, ANEW_MOST))

    def update(self, log_e: Floats) -> None:
        """Read a block's log e-values."""
        self.account.update(log_e)
        self.read = True
        log_s = self.account.log_s()
        self.peak = max(self.peak, log_s)
        self.crossed = self.crossed or log_s >= 0.0

    def numbers(self) -> tuple[float, float]:
        """Return ``(log_e, log_threshold)``: evidence over what was deposited, and what it must reach."""
        total = self.account.total_deposited
        threshold = -math.log(total) if total > 0.0 else math.inf
        log_s = self.account.log_s()
        return (log_s + threshold if log_s > -math.inf else 0.0), threshold


class Watch(msgspec.Struct, gc=False):
    """The lanes of one guardrail for one variation."""

    full: Lane
    fast: Lane | None

    @classmethod
    def begin(cls, condition: Condition) -> Watch:
        """Return a watch with empty accounts; only relative guardrails have a fast lane (LB1 knows no bound)."""
        fast = Lane(Account()) if isinstance(condition.bound, Relative) else None
        return cls(full=Lane(Account()), fast=fast)

    def deposit(self, bound: Bound, offered: float, part: float, by_exposures: bool) -> None:
        """Split the guardrail's ``part`` of what the variation was offered over the lanes, before any new evidence."""
        parts = lane_parts(bound, by_exposures)
        self.full.deposit(offered, part * parts.full)
        if self.fast is not None:
            self.fast.deposit(offered, part * parts.fast)

    def read_block(self, condition: Condition, block: Block, guesses: Guesses, cluster: float) -> None:
        """
        Read a mature block, with guesses from *past* blocks.

        Where units are not named, ``cluster`` failures may be one's. Against control each counts as its part of one,
        which leaves the ratio as it is. An amount would be missed by that: there they count whole, and the evidence
        of the block is taken to the power ``1/cluster``, whose mean is at most 1 as well (Hölder).
        """
        bound = condition.bound
        if isinstance(bound, Relative):
            self.full.update(
                two_sample_block(block.n_t, block.x_t, block.n_c, block.x_c, p_hat=guesses.named, margin=bound.factor)
            )
            return
        x_t, x_c = min(block.x_t + block.left_t, block.n_t), min(block.x_c + block.left_c, block.n_c)
        if isinstance(bound, Margin):
            log_e = additive_margin_block(block.n_t, x_t, block.n_c, x_c, p_hat=guesses.whole, delta=bound.delta)
        elif isinstance(bound, Absolute):
            log_e = threshold_block(block.n_t, x_t, p0=bound.value)
        else:
            raise TypeError(f"guardrail {condition.text!r} has no block test")
        self.full.update(log_e / cluster if guesses.is_nameless or block.is_nameless else log_e)

    def read_failures(self, condition: Condition, x_t: float, x_c: float, share: float) -> None:
        """Read first failures as they came; ``share`` is the variation's part of the starts still at risk."""
        if self.fast is None or not isinstance(condition.bound, Relative):
            return
        self.fast.update(count_block(x_t, x_c, share, margin=condition.bound.factor))

    def verdict(self, enough_units: bool) -> Verdict:
        """Return what the lane with most evidence says; a breach needs ``enough_units`` besides."""
        lane = self._most_evident
        if lane is None:
            return NoData("no block with both variations yet")
        log_e, threshold = lane.numbers()
        if lane.account.crossed():
            if enough_units:
                return Breach(log_e, threshold, self._name_of(lane))
            return Inconclusive(log_e, threshold, "too few units failed to act on it")
        return Inconclusive(log_e, threshold) if log_e > 1.0 else Clear(log_e, threshold)

    def breach(self) -> Breach | None:
        """Return the breach of ``verdict(True)`` alone; None where it says anything else, as it nearly always does."""
        lane = self._most_evident
        return Breach(*lane.numbers(), self._name_of(lane)) if lane is not None and lane.account.crossed() else None

    @property
    def _most_evident(self) -> Lane | None:
        """The lane with most evidence of those that have read anything, of two that hold as much the full one."""
        full, fast = self.full, self.fast
        if fast is None or not fast.read:
            return full if full.read else None
        return fast if not full.read or fast.account.log_s() > full.account.log_s() else full

    def _name_of(self, lane: Lane) -> str:
        return FULL if lane is self.full else FAST

    @property
    def has_crossed(self) -> bool:
        """Whether either account reached 1 since the last known change."""
        return self.full.crossed or (self.fast is not None and self.fast.crossed)

    def forget(self) -> None:
        """Something is known to have changed: that an account reached 1 before says nothing any more."""
        for lane in (self.full, self.fast):
            if lane is not None:
                lane.crossed = False

    def reset(self) -> None:
        """Empty both accounts after an alarm that was acted on; what was deposited is spent."""
        for lane in (self.full, self.fast):
            if lane is not None:
                lane.reset()

    def rewind(self) -> None:
        """Forgo what both accounts have won: it tells of what was acted on before; what was deposited since is kept."""
        for lane in (self.full, self.fast):
            if lane is not None:
                lane.rewind()


def tested(policy: Policy) -> list[Guardrail]:
    """Return the guardrails that test the failures among all requests, in the order they are written."""
    return [guardrail for guardrail in policy.guardrails if is_of_requests(guardrail, policy)]
