"""
What almost every processor imports, imported once: the supervisor's fork server loads this, and children begin with it.

Nothing here may start a thread or open a connection: a fork would break it. What only one processor needs is not
here, so that children import it side by side.
"""

from __future__ import annotations

import gc

import guardian.decisions
import guardian.journal
import streams.faust_app
import streams.outlet
import streams.telemetry
import streams.wiring

__all__: list[str] = []

_ = (guardian, streams)
# The collector leaves alone what will never be freed, so the pages stay shared.
gc.collect()
gc.freeze()
