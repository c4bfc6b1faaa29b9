"""One line watched for one variation: its open blocks, what came before them, and the accounts of its guardrails."""

from __future__ import annotations

import math

import msgspec

from guardian.betting import Past
from guardian.levels import BEST, WORST, Floats
from guardian.names import Millis
from guardian.tally import Pair, Tally
from guardian.watch import Watch, is_full, is_full_alone

Blocks = list[Pair]


class Story(msgspec.Struct):
    """
    Since when the evidence has been growing, and the sums since then: what people are told, never what is tested.

    The start is the last zero of Page's CUSUM of the mixed log e-values (Biometrika 1954), the likeliest start of
    the harm (Hinkley 1970).
    """

    gain: float = 0.0
    pair: Pair = msgspec.field(default_factory=lambda: Pair(0, 0))

    def read(self, block: Pair, values: Floats) -> None:
        """Read a block and its log e-values."""
        told = values.tolist()
        largest = max(told)
        mixed = largest + math.log(sum([math.exp(value - largest) for value in told]) / len(told))
        if self.gain <= 0.0:
            self.gain, self.pair = 0.0, Pair(block.from_ms, block.to_ms)
        self.gain += mixed
        self.pair.add(block.to_ms, block.t, block.c)
        self.pair.from_ms = min(self.pair.from_ms, block.from_ms)


class LineWatch(msgspec.Struct):
    """
    A line, or a line in one segment, for one variation.

    ``open`` holds by the start of its epoch the block that fills: what comes late joins the block of its own epoch.
    ``alone`` is the block for fixed bounds, which know no other arm and no epoch. ``watches`` and ``stories`` are
    by the guardrail's place in the policy.
    """

    watches: dict[int, Watch]
    stories: dict[int, Story]
    open: dict[int, Pair] = {}
    alone: Pair | None = None
    past: Past = msgspec.field(default_factory=Past)

    def add(self, epoch_ms: Millis, span: tuple[Millis, Millis], t: Tally | None, c: Tally | None) -> None:
        """Add what started in ``span``, of either arm."""
        block = self.open.get(epoch_ms)
        if block is None:
            block = self.open[epoch_ms] = Pair(*span)
        block.add(span[1], t, c)
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
            at for at, pair in sorted(self.open.items())
            if pair.span_ms >= least_ms and is_full(pair.t.n, pair.c.n, pair.span_ms)
        ]  # fmt: skip
        blocks = [self.open.pop(at) for at in full]
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
