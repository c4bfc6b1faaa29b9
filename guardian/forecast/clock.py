"""
The steps in which a forecast goes through time: those of live ticks after a change, longer ones as nothing changes.

A step is a few percent of the time since the last change, or of the time until harm begins, so it delays a finding by
a few percent at most. Longer blocks hold the same evidence: what a test says of them is the sum over their parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardian.summaries import TICK_MS

TICK_S = TICK_MS / 1_000.0
FINE, COARSE, NEAR = 0.03, 0.1, 0.06
"""Steps as a part of the time since a change, while harm is looked for and before it began; of the time until it."""


def instants(changes_s: Sequence[float], until_s: float, *, onset_s: float = 0.0, most_s: float = 3_600.0) -> Iterator[float]:
    """
    Yield the ends of the steps, up to ``until_s``; every change and the onset are among them.

    The steps are fine after each change and around the onset, and none is longer than ``most_s``.
    """
    marks = sorted({*(c for c in changes_s if 0.0 < c < until_s), *([onset_s] if 0.0 < onset_s < until_s else []), until_s})
    now, last = 0.0, 0.0
    for mark in marks:
        while now < mark:
            step = (FINE if now >= onset_s else COARSE) * (now - last)
            if now < onset_s:
                step = min(step, NEAR * (onset_s - now))
            step = min(max(step, TICK_S), most_s)
            # What would be left over is no step of its own.
            now = mark if now + 1.5 * step >= mark else now + step
            yield now
        last = mark
