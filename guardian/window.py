"""
Sums of the last minutes or hours of start time, of every arm, in at most 60 steps: what literal rules are read from.

A step that is over is held as bytes. So a window is a few kilobytes, in memory as in a snapshot, whatever it spans.
"""

from __future__ import annotations

import msgspec

from guardian.names import Millis
from guardian.sequential import bucket_edge
from guardian.summaries import TICK_MS
from guardian.tally import Tally

STEPS_MAX = 60
BUCKETS_MAX = 63
"""Latency buckets of an arm in a window; of more, neighbours are merged two by two (UDDSketch, Epicoco et al. 2020)."""

Arms = dict[str, Tally]


class Window(msgspec.Struct, gc=False):
    """
    A sliding window over one line: ``size`` steps of ``step_ms``, aligned to the epoch, the last of them still open.

    A tick belongs to the step in which it ends. ``line`` is the ``Line.key`` that it reads, ``from_ms`` when it began
    to, ``last`` the number of the open step, -1 before the first tick. ``sums`` are those of all steps together,
    ``steps`` those of the ones that are over (``pack``). ``merged`` is how often latency buckets were merged; the upper
    edge of bucket ``anchor`` stays an edge however often.
    """

    line: str
    step_ms: Millis
    size: int
    from_ms: Millis
    anchor: int = 0
    merged: int = 0
    last: int = -1
    open: Arms = {}
    sums: Arms = {}
    steps: dict[int, bytes] = {}

    @property
    def span_ms(self) -> Millis:
        """How long a time it covers."""
        return self.size * self.step_ms

    @property
    def end_ms(self) -> Millis:
        """When its open step is over."""
        return (self.last + 1) * self.step_ms

    def add(self, end_ms: Millis, variation: str, tally: Tally) -> None:
        """Add what a tick that ends at ``end_ms`` brought; nothing where its step has left the window."""
        step = (end_ms - 1) // self.step_ms
        if self.last < 0 or (step > self.last and not self.sums):
            self.last = step
        if step <= self.last - self.size:
            return
        grouped = self._grouped(tally)
        if step >= self.last:
            _tally_of(self.open, variation).add(grouped)
        else:
            arms = unpack(self.steps.get(step, b""))
            _tally_of(arms, variation).add(grouped)
            self.steps[step] = pack(arms)
        _tally_of(self.sums, variation).add(grouped)
        while len(self.sums[variation].counts) > BUCKETS_MAX:
            self._merge()

    def slide(self) -> None:
        """Open the next step; the one that it pushes out of the window takes its sums along."""
        if self.open:
            self.steps[self.last], self.open = pack(self.open), {}
        self.last += 1
        gone = self.steps.pop(self.last - self.size, None)
        if gone is None:
            return
        for variation, tally in unpack(gone).items():
            self.sums[variation].take_away(tally)
        if not self.steps:
            self.sums = {}

    def _merge(self) -> None:
        self.merged += 1
        self.steps = {step: pack(self._regrouped(unpack(raw))) for step, raw in self.steps.items()}
        self.open, self.sums = self._regrouped(self.open), self._regrouped(self.sums)

    def _regrouped(self, arms: Arms) -> Arms:
        return {variation: self._grouped(tally) for variation, tally in arms.items()}

    def _grouped(self, tally: Tally) -> Tally:
        """Return a copy whose latency buckets are as wide as this window's; each is named by the last in it."""
        width = 1 << self.merged
        counts: dict[int, float] = {}
        for key, count in tally.counts.items():
            to = self.anchor - (self.anchor - key) // width * width
            counts[to] = counts.get(to, 0.0) + count
        return Tally(float(tally.n), float(tally.x), counts, float(tally.left))


class Windows(msgspec.Struct, gc=False):
    """All windows of a rollout by their names; ``from_ms`` is the start of the first tick read under the policy."""

    from_ms: Millis = -1
    held: dict[str, Window] = {}

    @property
    def due_ms(self) -> Millis | None:
        """When the next step of a window that holds anything is over; None where none does."""
        return min((window.end_ms for window in self.held.values() if window.sums), default=None)


def window_of(line: str, for_s: float, from_ms: Millis, anchor: int = 0) -> Window:
    """Return an empty window over so many seconds: steps of a sixtieth of it, 200 ms at least."""
    for_ms = round(for_s * 1_000)
    step_ms = max(-(-for_ms // STEPS_MAX), TICK_MS)
    return Window(line, step_ms, -(-for_ms // step_ms), from_ms, anchor)


def pack(arms: Arms) -> bytes:
    """Return the sums of a step as bytes, whole numbers in as few as they need."""
    return _encoder.encode({
        name: (_lean(one.n), _lean(one.x), {key: _lean(count) for key, count in one.counts.items()}, _lean(one.left))
        for name, one in arms.items()
    })  # fmt: skip


def unpack(raw: bytes) -> Arms:
    """Return what ``pack`` was given, bit for bit; nothing for no bytes."""
    return _decoder.decode(raw) if raw else {}


def quantile(buckets: dict[int, float], tau: float, merged: int) -> float:
    """
    Return the quantile in milliseconds of at least one latency, in buckets that were merged so often.

    Between the edges of its bucket, latencies are taken for spread evenly on the log scale.
    """
    wanted, below, last = tau * sum(buckets.values()), 0.0, 0
    for key in sorted(buckets):
        count, last = buckets[key], key
        if below + count >= wanted * (1.0 - 1e-12):
            part = min(max((wanted - below) / count, 0.0), 1.0)
            low, high = bucket_edge(key - (1 << merged)), bucket_edge(key)
            return float(low * (high / low) ** part)
        below += count
    return bucket_edge(last)


def _tally_of(arms: Arms, variation: str) -> Tally:
    tally = arms.get(variation)
    if tally is None:
        tally = arms[variation] = Tally()
    return tally


def _lean(value: float) -> float:
    return int(value) if value.is_integer() else value


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Arms)
