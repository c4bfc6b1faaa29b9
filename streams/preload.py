"""
What almost every processor imports, imported once: the supervisor's fork server loads this, and children begin with it.

Nothing here may start a thread or open a connection: a fork would break it. What only one processor needs is not
here, so that children import it side by side; but what judge needs is: of the time until a killed one judges again, the
half second that its imports take is a third, and on a machine that has no processor to spare several times as much.
"""

from __future__ import annotations

import gc
import os

# Before numpy is imported, whose linear algebra would start a thread for each processor, and needs none.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import streams.judge
import streams.wiring

__all__: list[str] = []

_ = streams
# The collector leaves alone what will never be freed, so the pages stay shared.
gc.collect()
gc.freeze()
