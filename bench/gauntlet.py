"""How often the guardian is right in nasty worlds, and how much later than the same tests over the whole stream."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.gauntlet.judging import Verdict, judged
from tests.gauntlet.rollouts import harmful, healthy
from tests.gauntlet.scoring import Scored, by, scored

SEEDS = int(os.environ.get("BENCH_SEEDS", "2"))
"""Seeds of each harmful rollout; of the healthy ones four times as many."""


def run() -> dict[str, Any]:
    """
    Judge labelled rollouts (``tests.gauntlet``) by the real fold and engine: each harm in each world, and none.

    ``events``: starts read until harm is found, over those that the same tests need offline; ``time``: the same of the
    time until the decision; ``arrived``: the same over the time until all had arrived that is needed offline. Ratios of
    mean delays.
    """
    began_s = time.process_time()
    found = [judged(one) for one in (*healthy(range(1, 4 * SEEDS + 1)), *harmful(range(1, SEEDS + 1)))]
    return {**told(found), "processor seconds": time.process_time() - began_s}


def told(found: list[Verdict]) -> dict[str, Any]:
    """Return the figures of all, of each harm, and of each world."""
    harms = by((one for one in found if one.rollout.harm), lambda one: one.rollout.harm)
    worlds = by(found, lambda one: f"in {one.rollout.nasty}")
    return {
        "unit": "found/harmful rollouts, false alarms; over offline: in events, in time, arrived",
        **{name: _line(one) for name, one in ({"all": scored(found)} | harms | worlds).items()},
        "precision": scored(found).precision,
        "recall": scored(found).recall,
    }


def _line(one: Scored) -> str:
    return f"{one.right}/{one.harmful}, {len(one.false)} false; {one.in_events:.2f}, {one.in_time:.2f}, {one.in_arrivals:.2f}"
