"""
The error-rate test of one stream, whole: ticks, blocks, guess, e-value, account, kill.

Replay, simulation and the reference vectors run this; it is also the shortest complete answer to "what
happens to a tick". Ticks are merged into a block until both arms have enough units (never by looking at
outcomes); the block is tested with a guess from earlier blocks; the account is paid for the ticks it covers
and multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from guardian.sequential.account import Account
from guardian.sequential.checks import Floats, check_arm
from guardian.sequential.control_rate import ControlRate
from guardian.sequential.grid import DEFAULT_GRID
from guardian.sequential.proportions import two_sample_block


@dataclass(frozen=True, slots=True)
class BlockResult:
    """
    One closed block: its number from 0, its sums, the guess it was tested with, and the account after it.
    """

    block: int
    ticks: int
    n_t: float
    x_t: float
    n_c: float
    x_c: float
    p_hat: float
    log_s: float
    crossed: bool


@dataclass(slots=True)
class ErrorRateStream:
    """
    Treatment against control, tick by tick.

    ``eta_first_block`` is paid before the first block, ``eta_per_tick`` for every tick a block covers. The
    account is not reset on a kill: what a kill means is for the caller to say.
    """

    margin: float = 1.0
    grid: Floats = field(default_factory=lambda: DEFAULT_GRID)
    eta_first_block: float = 1e-3
    eta_per_tick: float = 0.0
    decay: float = 0.99
    n_t_min: float = 1.0
    n_c_min: float = 1.0
    account: Account = field(init=False)
    control: ControlRate = field(init=False)
    blocks: int = field(init=False, default=0)
    _open: list[float] = field(init=False, default_factory=lambda: [0.0] * 4)
    _open_ticks: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        for name, least in (("n_t_min", self.n_t_min), ("n_c_min", self.n_c_min)):
            if not 0.0 < least < float("inf"):
                raise ValueError(f"{name} is {least!r}: a block needs more than 0 units in each arm")
        self.account = Account(len(self.grid))
        self.control = ControlRate(decay=self.decay)

    def tick(self, n_t: float, x_t: float, n_c: float, x_c: float) -> BlockResult | None:
        """
        Add one tick; return the block that it closes, or None while an arm has too few units.

        Raises ValueError unless ``0 <= x <= n <= 2**53`` in each arm.
        """
        check_arm("t", n_t, x_t)
        check_arm("c", n_c, x_c)
        self._open = [a + b for a, b in zip(self._open, (n_t, x_t, n_c, x_c), strict=True)]
        self._open_ticks += 1
        if self._open[0] < self.n_t_min or self._open[2] < self.n_c_min:
            return None
        return self._close()

    def _close(self) -> BlockResult:
        n_t, x_t, n_c, x_c = self._open
        ticks = self._open_ticks
        self._open, self._open_ticks = [0.0] * 4, 0
        p_hat = self.control.p_hat
        first = self.eta_first_block if self.blocks == 0 else 0.0
        self.account.deposit(first + self.eta_per_tick * ticks)
        self.account.update(two_sample_block(n_t, x_t, n_c, x_c, p_hat=p_hat, margin=self.margin, grid=self.grid))
        self.control.remember(n_c, x_c)
        self.blocks += 1
        log_s = self.account.log_s()
        return BlockResult(self.blocks - 1, ticks, n_t, x_t, n_c, x_c, p_hat, log_s, log_s >= 0.0)
