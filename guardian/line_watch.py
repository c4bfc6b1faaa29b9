"""One line watched for one variation: its open blocks, what came before them, and the accounts of its guardrails."""

from __future__ import annotations

import math

import msgspec

from guardian.betting import Past
from guardian.levels import BEST, WORST, Floats
from guardian.names import Millis
from guardian.remembered import Remembered
from guardian.tally import Pair, Tally
from guardian.watch import Watch, is_full, is_full_alone

Blocks = list[Pair]


class Story(msgspec.Struct, gc=False):
    """
    Since when the evidence has been growing, and the sums since then: what people are told, never what is tested.

    The start is the last zero of Page's CUSUM of the mixed log e-values (Biometrika 1954), the likeliest start of
    the harm (Hinkley 1970). It is read seldom and kept for long, so its sums are kept packed.
    """

    gain: float = 0.0
    from_ms: Millis = 0
    to_ms: Millis = 0
    t: Remembered = msgspec.field(default_factory=Remembered)
    c: Remembered = msgspec.field(default_factory=Remembered)

    @property
    def pair(self) -> Pair:
        """Return the sums of both arms since the start."""
        return Pair(self.from_ms, self.to_ms, self.t.tally(), self.c.tally())

    def read(self, block: Pair, values: Floats) -> None:
        """Read a block and its log e-values."""
        told = values.tolist()
        largest = max(told)
        mixed = largest + math.log(sum([math.exp(value - largest) for value in told]) / len(told))
        if self.gain <= 0.0:
            self.gain, self.from_ms, self.to_ms = 0.0, block.from_ms, block.to_ms
            self.t, self.c = Remembered(), Remembered()
        self.gain += mixed
        self.t.add(block.t)
        self.c.add(block.c)
        self.from_ms, self.to_ms = min(self.from_ms, block.from_ms), max(self.to_ms, block.to_ms)


class LineWatch(msgspec.Struct, gc=False):
    """
    A line, or a line in one segment, for one variation.

    ``open`` holds by the start of its epoch the block that fills: what comes late joins the block of its own epoch.
    ``alone`` is the block for fixed bounds, which know no other arm and no epoch. Either is there where a guardrail
    reads it. ``watches`` and ``stories`` are by the guardrail's place in the policy.
    """

    watches: dict[int, Watch]
    stories: dict[int, Story]
    open: dict[int, Pair] = {}
    alone: Pair | None = None
    past: Past = msgspec.field(default_factory=Past)

    def add(
        self, epoch_ms: Millis, span: tuple[Millis, Millis], t: Tally | None, c: Tally | None, fixed: frozenset[int]
    ) -> None:
        """Add what started in ``span``, of either arm; ``fixed`` are the guardrails with a fixed bound (``Line.fixed``)."""
        if not fixed.issuperset(self.watches):
            block = self.open.get(epoch_ms)
            if block is None:
                block = self.open[epoch_ms] = Pair(*span)
            block.add(span[1], t, c)
        if not fixed.isdisjoint(self.watches):
            if self.alone is None:
                self.alone = Pair(*span)
            self.alone.add(span[1], t, c)

    def take_full(self, oldest_ms: Millis, least_ms: Millis) -> tuple[Blocks, Pair | None]:
        """
        Take out the blocks that are full, the oldest epoch first, and the one for fixed bounds if that is full.

        A block spans ``least_ms`` at least. What an epoch before ``oldest_ms`` left over is given up: both arms will
        not come together any more.
        """
        full = [
            at for at, pair in self.open.items()
            if pair.span_ms >= least_ms and is_full(pair.t.n, pair.c.n, pair.span_ms)
        ]  # fmt: skip
        blocks = [self.open.pop(at) for at in sorted(full)]
        for at in [at for at in self.open if at < oldest_ms]:
            del self.open[at]
        alone = self.alone
        if alone is None or alone.span_ms < least_ms or not is_full_alone(alone.t.n, alone.span_ms):
            return blocks, None
        self.alone = None
        return blocks, alone

    def take_split(self) -> Blocks:
        """Take out the blocks of a line that counts who is new: they are full by their sum, as one arm may be silent."""
        full = [at for at, pair in sorted(self.open.items()) if is_full_alone(pair.t.n + pair.c.n, pair.span_ms)]
        return [self.open.pop(at) for at in full]

    def remember(self, block: Pair) -> None:
        """Add a tested block to the past."""
        self.past.remember(block, (WORST, BEST))
