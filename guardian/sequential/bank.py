"""
Many accounts in step: the state of N streams of K components, in arrays.

A stream is one guardrail watching one variation. A bank does for all streams of a tick what `Account` and
`ControlRate` do for one, with the same numbers: deposit, test with the guess of `StreamBank.p_hat`, update, ask
`StreamBank.crossed`, remember. Which row is whose stream is for the caller to know.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardian.sequential.account import log_weights_of
from guardian.sequential.checks import Bools, Floats, check_arms, check_positive, spread
from guardian.sequential.control_rate import FORGOTTEN, PRIOR_UNITS

Rows = NDArray[np.intp]

_EMPTY = -math.inf
_FORMAT = b"GSB1"
_HEAD = struct.Struct(">4sIId")
_COLUMNS = 4


class StreamBank:
    """
    N streams of K components, in 8 (K + 4) bytes each.

    Per tick: `deposit` budgets, test every stream's block with a guess from `p_hat`, `update` with the log e-values,
    act on `crossed`, `remember` control's sums. A stream without a block this tick passes zeros: its e-value is 1.
    Deposits must be predictable, as for `Account`. Log wealth may lie anywhere between -1e300 and 1e300.
    """

    __slots__ = ("_columns", "_log_weights", "_wealth", "half_life_s")

    def __init__(
        self, streams: int, k: int = 8, *, half_life_s: float = 60.0, weights: Sequence[float] | None = None
    ) -> None:
        """
        Open ``streams`` empty accounts of ``k`` components, of equal weight or of ``weights`` (positive, of sum 1).

        ``half_life_s`` is how long control's rate is remembered, in seconds.
        """
        if streams != int(streams) or streams < 0:
            raise ValueError(f"streams is {streams!r}: a bank holds a whole number of streams, at least 0")
        if k != int(k) or k < 1:
            raise ValueError(f"k is {k!r}: an account needs a whole number of components, at least 1")
        check_positive("half_life_s", half_life_s)
        self.half_life_s = float(half_life_s)
        self._wealth: Floats = np.full((int(streams), int(k)), _EMPTY)
        self._columns: Floats = _new_columns(int(streams))
        self._log_weights: Floats = log_weights_of(weights, int(k))

    def __len__(self) -> int:
        return int(self._wealth.shape[0])

    @property
    def k(self) -> int:
        """
        The number of components of every stream.
        """
        return int(self._wealth.shape[1])

    @property
    def components(self) -> Floats:
        """
        A copy of the log wealth, shape ``(N, K)``, ``-inf`` where empty.
        """
        return self._wealth.copy()

    @property
    def total_deposited(self) -> Floats:
        """
        What was ever paid into each stream, shape ``(N,)``: the bound on its expected number of false kills so far.
        """
        return np.array(self._columns[0])

    @property
    def peak_log_s(self) -> Floats:
        """
        The largest ``log S`` of each stream at any `update`, shape ``(N,)``: what an anytime p-value is made of.
        """
        return np.array(self._columns[1])

    @property
    def p_hat(self) -> Floats:
        """
        The guess of control's rate for the next block, shape ``(N,)``; 0 as long as no control event was seen.
        """
        _, _, dx, dn = self._columns
        return np.asarray(np.divide(dx, dn, out=np.zeros_like(dx), where=dn > FORGOTTEN))

    def deposit(self, eta: Any) -> None:
        """
        Pay ``eta`` into every stream: a number, or one a stream, shape ``(N,)``. Zero changes nothing.

        Raises ValueError for another shape, or unless ``0 <= eta < 1``.
        """
        paid = self._per_stream("eta", eta)
        right = (paid >= 0.0) & (paid < 1.0)
        if not right.all():
            wrong = float(paid[~right][0])
            raise ValueError(f"eta is {wrong!r}: a deposit is an expected number of false kills, from 0 to below 1")
        rows = np.flatnonzero(paid)
        if rows.size == len(self):
            self._wealth = np.logaddexp(self._wealth, np.log(paid)[:, np.newaxis])
        elif rows.size:
            self._wealth[rows] = np.logaddexp(self._wealth[rows], np.log(paid[rows])[:, np.newaxis])
        self._columns[0] += paid

    def update(self, log_e: Any) -> Floats:
        """
        Multiply every stream by its block's e-values, given as natural logs of shape ``(N, K)``; return `log_s`.

        Raises ValueError for another shape, NaN or ``+inf``, and changes nothing then. ``-inf`` empties a component.
        """
        values = np.asarray(log_e, dtype=np.float64)
        if values.shape != self._wealth.shape:
            raise ValueError(f"log_e has shape {values.shape}: this bank holds {self._wealth.shape} log e-values")
        # One comparison catches both: it is false for NaN and for +inf.
        if values.size and not values.max() < math.inf:
            row = int(np.argmin((values < math.inf).all(axis=1)))
            raise ValueError(f"log_e[{row}] is {values[row].tolist()!r}: every log e-value must be below infinity")
        self._wealth += values
        log_s = self.log_s()
        np.maximum(self._columns[1], log_s, out=self._columns[1])
        return log_s

    def log_s(self) -> Floats:
        """
        Return ``log S`` of each stream, shape ``(N,)``; ``-inf`` where nothing was deposited.
        """
        weighted = self._wealth + self._log_weights
        largest = weighted.max(axis=1)
        shift = np.where(largest == _EMPTY, 0.0, largest)
        total = np.exp(weighted - shift[:, np.newaxis]).sum(axis=1)
        return np.asarray(shift + np.log(total, out=np.full(len(self), _EMPTY), where=total > 0.0))

    def crossed(self) -> Bools:
        """
        Say of each stream whether its budget says kill, ``S >= 1``; shape ``(N,)``.
        """
        return np.asarray(self.log_s() >= 0.0)

    def remember(self, n_c: Any, x_c: Any, elapsed_s: Any) -> None:
        """
        Add a block that has just been tested: ``x_c`` events among ``n_c`` control units of each stream.

        ``elapsed_s`` is the time since the stream's previous block. Each is a number or one a stream. Raises
        ValueError unless ``0 <= x_c <= n_c <= 2**53`` and ``elapsed_s`` is finite and at least 0.
        """
        sizes, events, elapsed = (
            self._per_stream(name, value) for name, value in (("n_c", n_c), ("x_c", x_c), ("elapsed_s", elapsed_s))
        )
        check_arms("c", sizes, events)
        if not ((elapsed >= 0.0) & (elapsed < math.inf)).all():
            wrong = float(elapsed[~((elapsed >= 0.0) & (elapsed < math.inf))][0])
            raise ValueError(f"elapsed_s is {wrong!r}: it must be a finite number of seconds, at least 0")
        keep = 0.5 ** (elapsed / self.half_life_s)
        dx, dn = self._columns[2:]
        kept = keep * dn + sizes
        self._columns[2], self._columns[3] = np.minimum(keep * dx + events, kept), kept

    def reset(self, rows: Any) -> None:
        """
        Empty the accounts in ``rows`` (positions or a mask) after their kills; what was deposited is not refunded.
        """
        self._wealth[self._rows(rows)] = _EMPTY

    def grow(self, streams: int) -> range:
        """
        Add empty streams at the end; return their rows.
        """
        more = StreamBank(streams, self.k)
        began = len(self)
        self._wealth = np.concatenate([self._wealth, more._wealth])
        self._columns = np.concatenate([self._columns, more._columns], axis=1)
        return range(began, len(self))

    def remove(self, rows: Any) -> None:
        """
        Take out the streams in ``rows`` (positions or a mask); those behind move up and keep their order.
        """
        gone = self._rows(rows)
        self._wealth = np.delete(self._wealth, gone, axis=0)
        self._columns = np.delete(self._columns, gone, axis=1)

    def to_bytes(self) -> bytes:
        """
        Return the whole state; `from_bytes` gives it back bit for bit on any machine.
        """
        head = _HEAD.pack(_FORMAT, len(self), self.k, self.half_life_s)
        parts = (self._log_weights, self._columns, self._wealth)
        return head + b"".join(np.ascontiguousarray(part, dtype="<f8").tobytes() for part in parts)

    @classmethod
    def from_bytes(cls, state: bytes) -> StreamBank:
        """
        Return the bank that `to_bytes` wrote. Raises ValueError for anything else.
        """
        magic, streams, k, half_life_s = _HEAD.unpack_from(state) if len(state) >= _HEAD.size else (b"", 0, 0, 0.0)
        sizes = (k, _COLUMNS * streams, streams * k)
        if magic != _FORMAT or len(state) != _HEAD.size + 8 * sum(sizes):
            raise ValueError(f"state is {len(state)} bytes from {state[:4]!r}: it is not the state of a bank")
        numbers = np.frombuffer(state, dtype="<f8", offset=_HEAD.size).astype(np.float64)
        if np.isnan(numbers).any():
            raise ValueError(f"state holds NaN at number {int(np.isnan(numbers).argmax())}: numbers are needed")
        bank = cls(streams, k, half_life_s=half_life_s)
        weights, columns, wealth = np.split(numbers, np.cumsum(sizes)[:-1])
        bank._log_weights, bank._columns = weights, columns.reshape(_COLUMNS, streams)
        bank._wealth = wealth.reshape(streams, k)
        return bank

    def _per_stream(self, name: str, value: Any) -> Floats:
        given, _ = spread({name: value, "streams": np.empty(len(self))})
        if given.shape != (len(self),):
            raise ValueError(f"{name} has shape {given.shape}: a number or one a stream, ({len(self)},), is needed")
        return given

    def _rows(self, rows: Any) -> Rows:
        given = np.asarray(rows)
        if given.dtype == np.bool_ and given.shape == (len(self),):
            return np.flatnonzero(given)
        positions = given.astype(np.intp) if given.size else np.empty(0, dtype=np.intp)
        if given.dtype == np.bool_ or not (np.array_equal(positions, given) and given.ndim <= 1):
            raise ValueError(f"rows is {rows!r}: positions, or a mask of shape ({len(self)},), are needed")
        if positions.size and not (positions.min() >= 0 and positions.max() < len(self)):
            raise ValueError(f"rows is {rows!r}: this bank has the rows 0 to {len(self) - 1}")
        return np.atleast_1d(positions)


def _new_columns(streams: int) -> Floats:
    """
    Return what a stream has besides its wealth: total deposited, largest log S, control's events and units.
    """
    return np.repeat(np.array([[0.0], [_EMPTY], [0.0], [PRIOR_UNITS]]), streams, axis=1)
