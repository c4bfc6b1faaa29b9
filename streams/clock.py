"""What time it is, as records have it."""

from __future__ import annotations

import time

from guardian.names import Millis


def now_ms() -> Millis:
    """Return the milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000
