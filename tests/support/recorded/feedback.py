"""What people say of their requests: ratings, nps, thumbs and reports, as columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tests.support.recorded.requests import UNHARMED, Bools, Floats, Ints, Requests
from tests.support.recorded.world import Feedback, Harm, World

PROMOTER, PASSIVE, DETRACTOR = 10, 8, 3


class Said(NamedTuple):
    """Feedback of one kind: the numbers of the requests that it is about, its scores (None: it has none), its times."""

    kind: str
    at: Ints
    scores: Ints | None
    time_s: Floats


def feedback(world: World, made: Requests, rng: np.random.Generator) -> Iterator[Said]:
    """Yield all feedback on requests that ended, kind by kind."""
    law, harm = world.feedback, world.harm or UNHARMED
    for kind, rate in (("rating", law.ratings), ("nps", law.nps), ("thumb", law.thumbs)):
        at = np.flatnonzero(made.is_ended & (rng.random(made.user.size) < rate))
        yield Said(kind, at, _SCORES[kind](law, harm, rng, made.is_harmed[at]), _time_s(law, made, at, rng))
    rates = law.reports * np.where(made.is_harmed, harm.reports, 1.0)
    at = np.flatnonzero(made.is_ended & (rng.random(made.user.size) < rates))
    yield Said("report", at, None, _time_s(law, made, at, rng))


def _time_s(law: Feedback, made: Requests, at: Ints, rng: np.random.Generator) -> Floats:
    return made.start_s[at] + made.latency_ms[at] / 1_000.0 + rng.exponential(law.after_s, at.size)


def _ratings(law: Feedback, harm: Harm, rng: np.random.Generator, harmed: Bools) -> Ints:
    levels = 1 + np.searchsorted(np.cumsum(law.levels)[:-1], rng.random(harmed.size), side="right")
    falls = harmed & (rng.random(harmed.size) < harm.csat_drop)
    return np.maximum(levels - falls, 1)


def _nps(law: Feedback, harm: Harm, rng: np.random.Generator, harmed: Bools) -> Ints:
    dice = rng.random(harmed.size)
    scores = np.where(dice < law.promoters, PROMOTER, np.where(dice >= 1.0 - law.detractors, DETRACTOR, PASSIVE))
    turns = harmed & (scores == PROMOTER) & (rng.random(harmed.size) < harm.nps_drop)
    return np.where(turns, DETRACTOR, scores)


def _thumbs(law: Feedback, harm: Harm, rng: np.random.Generator, harmed: Bools) -> Ints:
    down = law.down * np.where(harmed, harm.thumbs_down, 1.0)
    return (rng.random(harmed.size) >= down).astype(np.int64)


_SCORES = {"rating": _ratings, "nps": _nps, "thumb": _thumbs}
