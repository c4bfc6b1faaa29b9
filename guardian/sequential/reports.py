"""
What to tell people after an alarm: which guardrails it rests on, and since when.

Neither decides anything. Attribution reads the accounts that were pooled; the onset is an estimate from evidence that
was read anyway.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guardian.sequential.checks import Floats
from guardian.sequential.multiplicity import pooled_log_s

_NEVER = -1


@dataclass(frozen=True, slots=True)
class Attribution:
    """
    One guardrail's part in a pooled alarm.

    ``share`` is its part of the pooled S, from 0 to 1. ``on_its_own`` says whether its account alone reached 1: only
    then may it be said *of this guardrail*, within its own budget, that it was broken. What the sum says is that some
    guardrail was.
    """

    name: str
    log_s: float
    share: float
    on_its_own: bool


def attribute(log_s: Mapping[str, float]) -> list[Attribution]:
    """
    Return the part of each account in the sum of all, the largest first, equals by name.

    ``log_s`` holds log S of accounts that share one budget (`pooled_log_s`), by the name of their guardrail; an empty
    account is ``-inf``. All shares are 0 when all accounts are empty. Raises ValueError for NaN or ``+inf``.
    """
    for name, value in log_s.items():
        if not value < math.inf:
            raise ValueError(f"log_s[{name!r}] is {value!r}: the log of an account is a number below infinity, or -inf")
    pooled = pooled_log_s(list(log_s.values()))
    parts = [
        Attribution(name, value, math.exp(value - pooled) if value > -math.inf else 0.0, value >= 0.0)
        for name, value in log_s.items()
    ]
    return sorted(parts, key=lambda part: (-part.log_s, part.name))


class Onset:
    """
    Since when the evidence has been growing: the likeliest start of the harm, block by block, in O(K) numbers.

    For each component the start that maximises the product of e-values since then (Page's CUSUM, Biometrika 1954; its
    last zero is the maximum likelihood estimate of the change, Hinkley 1970), and of the components the one with the
    largest product. An estimate without an interval: off by about as many blocks as the harm takes to show.
    """

    __slots__ = ("_best", "_since")

    def __init__(self, k: int = 8) -> None:
        """
        Begin without evidence, for ``k`` components.
        """
        if k != int(k) or k < 1:
            raise ValueError(f"k is {k!r}: a whole number of components is needed, at least 1")
        self._best: Floats = np.zeros(int(k))
        self._since: list[int] = [_NEVER] * int(k)

    def update(self, began: int, log_e: Any) -> None:
        """
        Read a block that began at ``began`` (milliseconds, or a block's number, at least 0 and never falling).

        ``log_e`` are its log e-values, shape ``(K,)``. Raises ValueError for another shape, NaN, ``+inf``, or a time
        before 0.
        """
        values = np.asarray(log_e, dtype=np.float64)
        if values.shape != self._best.shape:
            raise ValueError(f"log_e has shape {values.shape}: {self._best.size} log e-values are needed")
        if not values.max() < math.inf:
            raise ValueError(f"log_e is {values.tolist()!r}: every log e-value must be a number below infinity")
        if not began >= 0:
            raise ValueError(f"began is {began!r}: it must be a number of at least 0")
        self._since = [
            began if best <= 0.0 else since for best, since in zip(self._best.tolist(), self._since, strict=True)
        ]
        self._best = np.maximum(self._best, 0.0) + values

    def since(self) -> int | None:
        """
        Return the ``began`` of the block with which the harm likeliest started; None while nothing points at harm.
        """
        component = int(self._best.argmax())
        return self._since[component] if self._best[component] > 0.0 else None

    def to_state(self) -> list[float]:
        """
        Return the starts and the evidence since them, for JSON.
        """
        return [*map(float, self._since), *self._best.tolist()]

    @classmethod
    def from_state(cls, state: Sequence[float]) -> Onset:
        """
        Return the estimate that `to_state` described.
        """
        if len(state) < 2 or len(state) % 2:
            raise ValueError(f"state has {len(state)} numbers: two a component are needed")
        k = len(state) // 2
        onset = cls(k)
        onset._since = [int(value) for value in state[:k]]
        onset._best = np.array(state[k:], dtype=np.float64)
        return onset
