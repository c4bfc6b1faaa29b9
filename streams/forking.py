"""Where children come from: a process that imports once what they share, and is forked for each of them."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing import forkserver
from typing import Any

FORKS = sys.platform == "linux"
"""Elsewhere forking is not safe with the libraries used, and each child imports by itself."""


def context() -> Any:
    """How processes are started here."""
    chosen: Any = multiprocessing.get_context("forkserver" if FORKS else "spawn")
    return chosen


def warm_up() -> None:
    """Let the shared imports begin now, beside whatever the caller does next."""
    if FORKS:
        context().set_forkserver_preload(["__main__", "streams.preload"])
        forkserver.ensure_running()
