"""Names of which there were too many, told in the log: some of them, and how many events, once in a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from streams.fold import Counts
from streams.folding.admission import WHAT

log = structlog.get_logger()

EVERY_S = 60.0
TEXT_MAX = 80
"""Characters of a name that are shown."""


class Excess:
    """What one source leaves out."""

    def __init__(self, source: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock_s = clock_s
        self._told_s = -EVERY_S
        self._told: dict[str, int] = {}

    def tell(self, counts: Counts, examples: Mapping[int, Sequence[str]]) -> None:
        """Tell of what was left out since it was told last, if that is a minute ago."""
        now = too_many(counts)
        if now == self._told or not any(now.values()) or self._clock_s() - self._told_s < EVERY_S:
            return
        more = {name: number - self._told.get(name, 0) for name, number in now.items()}
        named = {WHAT[what]: [name[:TEXT_MAX] for name in names] for what, names in examples.items()}
        right = "somebody makes names up, or there are more flags than are watched: those with a policy are never left out"
        log.warning("too_many_names", source=self._source, events=more, examples=named, meaning=right)
        self._told_s, self._told = self._clock_s(), now


def too_many(counts: Counts) -> dict[str, int]:
    """Return how many events named something that was left out, by what it is of."""
    return {"flags": counts.too_many_flags, "variations": counts.too_many_variations, "services": counts.too_many_services}
