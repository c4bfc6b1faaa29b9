"""No entry of the journal is dated later than Kafka kept it: a worker whose clock is ahead must not pull everybody's."""

from __future__ import annotations

import msgspec

from guardian.journal import Beat, Entry, Summary
from guardian.names import Millis

AHEAD_MS = 10_000
"""
A clock that is no further ahead is left alone: outcomes are waited for by how late they come, which evens that out
(``guardian.lag``), and brokers' clocks may differ by as much.
"""


def dated(entry: Entry, kept_ms: Millis | None) -> Entry:
    """
    Return the entry, dated back where it is further ahead of when Kafka kept it (``kept_ms``) than clocks may be.

    ``kept_ms`` is by the broker's clock; None where Kafka has noted the writer's. What a source says that it has passed
    goes back by as much, unless it is no later than that.
    """
    if kept_ms is None or entry.at_ms <= kept_ms + AHEAD_MS:
        return entry
    if isinstance(entry, Summary | Beat) and entry.passed_ms > kept_ms:
        passed_ms = entry.passed_ms - (entry.at_ms - kept_ms)
        return msgspec.structs.replace(entry, at_ms=kept_ms, passed_ms=passed_ms)
    return msgspec.structs.replace(entry, at_ms=kept_ms)
