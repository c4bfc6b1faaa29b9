"""How a processor says whether it is ready: a line of JSON to its supervisor, once a second or when it changes."""

from __future__ import annotations

import json
import os
import time
from typing import Any


class Status:
    """
    What one processor says of itself.

    ``ready(ok, why, **numbers)`` may be called as often as one likes: it
    writes to the supervisor's pipe when readiness changed or a second has
    passed. Without a pipe (a processor run on its own in a test) the last
    values are kept and can be read as attributes.
    """

    def __init__(self, name: str, pipe_fd: int | None = None) -> None:
        self.name = name
        self.is_ready = False
        self.why = "starting"
        self.numbers: dict[str, Any] = {}
        self._pipe_fd = pipe_fd
        self._said_s = 0.0

    def ready(self, ok: bool, why: str = "", **numbers: Any) -> None:
        """Say whether the processor does its work now, and if not, why; ``numbers`` are shown by ``/readyz``."""
        changed = ok != self.is_ready or (not ok and why != self.why)
        self.is_ready, self.why = ok, why
        self.numbers.update(numbers)
        now_s = time.monotonic()
        if self._pipe_fd is not None and (changed or now_s - self._said_s >= 1.0):
            self._said_s = now_s
            line = json.dumps({"name": self.name, "ready": ok, "why": why, "numbers": self.numbers}) + "\n"
            try:
                os.write(self._pipe_fd, line.encode())
            except (BrokenPipeError, BlockingIOError):
                pass  # the supervisor is gone or busy; the next line says the same
