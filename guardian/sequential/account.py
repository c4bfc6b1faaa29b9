"""
The account that turns e-values into a kill with a budget of false alarms.

    S <- (S + eta) * e        kill when S >= 1

``eta`` is the false-kill budget paid in before the block, ``e`` the block's e-value. The expected number of
false kills up to any block is at most the sum of what was paid in by then, in any dependence between blocks:
a kill takes at least 1 out of an account into which, under the null, only deposits flow. Paid in once, alpha
makes the account an ordinary e-process of level alpha (Ville). Paid in steadily, it is the Shiryaev-Roberts
e-detector (Shin, Ramdas, Rinaldo 2024, arXiv 2203.03532), which finds a late bug without
first undoing a long good history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from guardian.sequential.checks import Floats, as_floats

_EMPTY = -math.inf


def advance(log_s: Floats, log_eta: Any, log_e: Floats) -> Floats:
    """
    Return ``log((S + eta) e)`` component by component, in log space; ``-inf`` is empty. Broadcasts.
    """
    return np.asarray(np.logaddexp(log_s, log_eta) + log_e)


def log_weighted_sum(log_values: Floats, log_weights: Floats) -> float:
    """
    Return ``log(sum(weight * exp(value)))`` without overflow; ``-inf`` if every value is ``-inf``.
    """
    weighted = log_values + log_weights
    # A list, and the ufuncs themselves: the methods of arrays spend more on these few numbers than the numbers take.
    largest: float = max(weighted.tolist())
    if largest == _EMPTY:
        return _EMPTY
    return largest + math.log(float(np.add.reduce(np.exp(weighted - largest))))


class Account:
    """
    The deposit account of one stream: K components, each the wealth of one alternative.

    Per block: `deposit` the budget, then `update` with the block's log e-values, then ask `crossed`. A
    deposit must be *predictable*: decided from clocks, stages and earlier blocks, never from the outcomes of
    the block it precedes. Log wealth may lie anywhere between -1e300 and 1e300; nothing overflows.
    """

    __slots__ = ("_log_s", "_log_weights", "_mixed", "_total_deposited")

    def __init__(self, k: int = 8, weights: Sequence[float] | None = None) -> None:
        """
        Open an empty account of ``k`` components, of equal weight or of ``weights`` (positive, of sum 1).
        """
        if k != int(k) or k < 1:
            raise ValueError(f"k is {k!r}: an account needs a whole number of components, at least 1")
        self._log_s: Floats = np.full(int(k), _EMPTY)
        self._log_weights: Floats = log_weights_of(weights, int(k))
        # What `log_s` returned since the components last moved: it is asked for several times between two blocks.
        self._mixed: float | None = None
        self._total_deposited = 0.0

    @property
    def k(self) -> int:
        """
        The number of components.
        """
        return int(self._log_s.size)

    @property
    def total_deposited(self) -> float:
        """
        All that was ever paid in, over resets too: the bound on the expected number of false kills so far.

        Good for display, ``log e = log_s - log(total_deposited)``. At a time chosen by looking at the data
        that quotient is no e-value: reports use the whole budget of the horizon (see
        `multiplicity.anytime_p`).
        """
        return self._total_deposited

    @property
    def components(self) -> Floats:
        """
        A copy of the log wealth of each component, ``-inf`` where empty.
        """
        return self._log_s.copy()

    def deposit(self, eta: float) -> None:
        """
        Pay ``eta`` into every component, before the block it covers: S grows by eta. Zero changes nothing.

        Raises ValueError unless ``0 <= eta < 1``: a deposit of 1 would kill without any evidence.
        """
        if not 0.0 <= eta < 1.0:
            raise ValueError(f"eta is {eta!r}: a deposit is an expected number of false kills, from 0 to below 1")
        if eta > 0.0:
            self._log_s, self._mixed = np.logaddexp(self._log_s, math.log(eta)), None
            self._total_deposited += eta

    def update(self, log_e: Floats) -> None:
        """
        Multiply each component by its e-value of the block, given as natural logs of shape ``(K,)``.

        Raises ValueError for another shape, NaN or ``+inf``. ``-inf``, an e-value of 0, empties its
        component.
        """
        log_e = np.asarray(log_e, dtype=np.float64)
        if log_e.shape != self._log_s.shape:
            raise ValueError(f"log_e has shape {log_e.shape}: this account has {self.k} components, shape ({self.k},)")
        # One comparison catches both: it is false for NaN and for +inf.
        if not all(value < math.inf for value in log_e.tolist()):
            raise ValueError(f"log_e is {log_e.tolist()!r}: every log e-value must be a number below infinity")
        self._log_s, self._mixed = self._log_s + log_e, None

    def log_s(self) -> float:
        """
        Return ``log S``, the log of the weighted mean of the components; ``-inf`` for an empty account.
        """
        if self._mixed is None:
            self._mixed = log_weighted_sum(self._log_s, self._log_weights)
        return self._mixed

    def crossed(self) -> bool:
        """
        Say whether the budget says kill: ``S >= 1``.
        """
        return self.log_s() >= 0.0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Account):
            return NotImplemented
        return self.to_state() == other.to_state() and np.array_equal(self._log_weights, other._log_weights)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Account(log_s={self.log_s():.6g}, total_deposited={self._total_deposited:.6g}, k={self.k})"

    def reset(self) -> None:
        """
        Empty the account after a kill. The next deposit opens a new budget: nothing is refunded.
        """
        self._log_s, self._mixed = np.full(self.k, _EMPTY), None

    def lower(self, most: float) -> None:
        """
        Leave each component at most ``most``: what it has won beyond that is forgone. The bound holds as before.

        Raises ValueError where ``most`` is negative or NaN.
        """
        if not most >= 0.0:
            raise ValueError(f"most is {most!r}: an account is lowered to a wealth, which is not negative")
        self._log_s = np.minimum(self._log_s, math.log(most) if most > 0.0 else _EMPTY)

    def to_state(self) -> list[float | None]:
        """
        Return ``[total_deposited, log wealth...]``, None for an empty component; JSON keeps it bit for bit.
        """
        wealth = [None if value == _EMPTY else value for value in self._log_s.tolist()]
        return [self._total_deposited, *wealth]

    @classmethod
    def from_state(cls, state: Sequence[float | None], weights: Sequence[float] | None = None) -> Account:
        """
        Return the account that `to_state` described, with the weights it was made with.
        """
        if len(state) < 2 or state[0] is None or not 0.0 <= state[0] < math.inf:
            raise ValueError(f"state is {list(state)!r}: it must be [total_deposited, log wealth of each component]")
        account = cls(len(state) - 1, weights)
        account._log_s = as_floats("state", [_EMPTY if value is None else value for value in state[1:]])
        account._total_deposited = float(state[0])
        return account


@cache
def _equal_log_weights(k: int) -> Floats:
    """
    Return one array for all accounts of ``k`` components; nobody may write into it.
    """
    values = np.full(k, -math.log(k))
    values.flags.writeable = False
    return values


def log_weights_of(weights: Sequence[float] | None, k: int) -> Floats:
    """
    Return the logs of ``k`` weights, equal ones for None, or raise ValueError unless they are positive and of sum 1.
    """
    if weights is None:
        return _equal_log_weights(k)
    values = as_floats("weights", weights)
    if values.size != k or not (values > 0.0).all() or abs(float(values.sum()) - 1.0) > 1e-9:
        raise ValueError(f"weights is {list(weights)!r}: {k} positive numbers of sum 1 are needed")
    return np.log(values)
