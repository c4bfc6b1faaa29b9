"""
What earlier blocks said about control's rate.

The two-sample test needs a guess of control's rate made *before* the block it is used on. This memory holds
one: two decayed sums. Read `ControlRate.p_hat`, test the block, then `ControlRate.remember` the block: in
that order.
"""

from __future__ import annotations

from dataclasses import dataclass

from guardian.sequential.checks import check_arm, check_open_unit, check_positive

#: Units the memory starts with, all without an event: the first blocks are tested by the count test (p_hat =
#: 0).
PRIOR_UNITS = 500.0

#: A memory this faded is empty: its quotient would be noise.
FORGOTTEN = 1e-290


@dataclass(slots=True)
class ControlRate:
    """
    Decayed sums of control's events ``dx`` and units ``dn``; ``p_hat = dx/dn``.

    Give exactly one kind of forgetting: ``decay``, a factor a block, or ``half_life_s``, seconds after which
    a block counts half. The guess decides power only; any value keeps the test valid as long as it is from
    the past.
    """

    decay: float | None = None
    half_life_s: float | None = None
    dx: float = 0.0
    dn: float = PRIOR_UNITS

    def __post_init__(self) -> None:
        if (self.decay is None) == (self.half_life_s is None):
            raise ValueError(
                f"decay is {self.decay!r} and half_life_s is {self.half_life_s!r}: give exactly one of them"
            )
        if self.decay is not None and self.decay != 1.0:
            check_open_unit("decay", self.decay)
        if self.half_life_s is not None:
            check_positive("half_life_s", self.half_life_s)
        if not 0.0 <= self.dx <= self.dn < float("inf"):
            raise ValueError(f"dx is {self.dx!r} and dn is {self.dn!r}: they must satisfy 0 <= dx <= dn")

    @property
    def p_hat(self) -> float:
        """
        The guess for the next block, from 0 to 1; 0 as long as no control event was seen.
        """
        return self.dx / self.dn if self.dn > FORGOTTEN else 0.0

    def remember(self, n_c: float, x_c: float, elapsed_s: float = 0.0) -> None:
        """
        Add a block that has just been tested: ``x_c`` events among ``n_c`` control units.

        ``elapsed_s`` is the time since the previous block; it drives forgetting by half-life and is not used
        with a decay a block. Raises ValueError unless ``0 <= x_c <= n_c <= 2**53`` and ``elapsed_s >= 0``.
        """
        check_arm("c", n_c, x_c)
        keep = self._keep(elapsed_s)
        self.dx = min(keep * self.dx + x_c, keep * self.dn + n_c)
        self.dn = keep * self.dn + n_c

    def _keep(self, elapsed_s: float) -> float:
        if self.half_life_s is None:
            return float(self.decay or 0.0)
        if not 0.0 <= elapsed_s < float("inf"):
            raise ValueError(f"elapsed_s is {elapsed_s!r}: it must be a finite number of seconds, at least 0")
        return float(0.5 ** (elapsed_s / self.half_life_s))

    def to_state(self) -> list[float]:
        """
        Return ``[dx, dn]``, all that `from_state` needs besides the kind of forgetting.
        """
        return [self.dx, self.dn]

    @classmethod
    def from_state(
        cls, state: list[float], *, decay: float | None = None, half_life_s: float | None = None
    ) -> ControlRate:
        """
        Return the memory that `to_state` described.
        """
        if len(state) != 2:
            raise ValueError(f"state has {len(state)} numbers: a control rate is two, [dx, dn]")
        return cls(decay=decay, half_life_s=half_life_s, dx=float(state[0]), dn=float(state[1]))
