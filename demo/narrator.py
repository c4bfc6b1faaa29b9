"""Prints the story as it happens, each step with the seconds since the demo began."""

from __future__ import annotations

import time
from datetime import datetime


class Narrator:
    """One line a step: when, who, what."""

    def __init__(self) -> None:
        self.began_ms = now_ms()

    def tell(self, who: str, what: str, at_ms: int | None = None) -> None:
        """Print a step that happened now, or at ``at_ms`` (epoch milliseconds)."""
        when_s = self.since_s(now_ms() if at_ms is None else at_ms)
        print(f"{when_s:7.2f} s  {who:<9} {what}", flush=True)

    def since_s(self, at_ms: int) -> float:
        """Return the seconds from the demo's beginning to ``at_ms``."""
        return (at_ms - self.began_ms) / 1000


def now_ms() -> int:
    """Return the time, milliseconds since the epoch."""
    return int(time.time() * 1000)


def ms_of(rfc3339: str) -> int:
    """Return the milliseconds since the epoch of ``2026-11-21T01:00:00.100Z``."""
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1000)
