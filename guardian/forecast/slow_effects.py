"""Harm to latencies, which are taken for lognormal."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, ndtri

from guardian.betting import later
from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.forecast.harm import FACTORS, MOST_EFFECTS, Effect, Harm
from guardian.sequential import DEFAULT_TAUS, bucket_edge, bucket_key, margin_shift
from guardian.sequential.latency import gamma

SIGMA = 0.8
"""Standard deviation of the logs of latencies."""
CONTROL_TO_BOUND = 0.5
"""Control's quantile as a part of a fixed latency bound: twice as fast as it must be."""


def slower(condition: Condition, median_ms: float) -> Harm:
    """Return variations slower than the guardrail allows, where control's median is ``median_ms``."""
    bound = condition.bound
    if isinstance(bound, Absolute):
        return _above(bound.value, condition.signal.quantile or 0.5)
    if isinstance(bound, Margin) and bound.delta > 0.0:
        return _slower_by(bound.delta, median_ms)
    return _slower(bound.factor if isinstance(bound, Relative) else 1.0)


def _above(bound_ms: float, quantile: float) -> Harm:
    """Return variations whose quantile is beyond a fixed bound; control's is at half of it."""
    z = float(ndtri(quantile))
    made = [(v, f"{v * bound_ms:.4g}ms") for v in FACTORS[:MOST_EFFECTS]]
    effects = [Effect(v, text, v * bound_ms, f"a p{100 * quantile:g} of {text}") for v, text in made]
    control = np.array([_beyond(CONTROL_TO_BOUND, z)])
    ill = np.array([[_beyond(v, z)] for v, _ in made])
    return Harm(tuple(effects), control, control, ill, ill[:, 0], is_seen=True)


def _beyond(factor: float, z: float) -> float:
    """The part beyond a bound, of latencies whose quantile (of score z) is ``factor`` times that bound."""
    return float(ndtr(math.log(factor) / SIGMA - z))


def _slower(margin: float) -> Harm:
    """Return variations all of whose requests are slower; treatment's edges lie ``margin`` above control's."""
    factors = [v for v in FACTORS if v > margin][:MOST_EFFECTS]
    if not factors:
        factors = [1.5 * margin]
    effects = [Effect(v, f"{v:g}x", v, f"everything {v:g} times slower") for v in factors]
    z = ndtri(DEFAULT_TAUS)
    # The margin as the test takes it: in whole buckets.
    shift = margin_shift(margin) * math.log(gamma())
    well = ndtr(-z - shift / SIGMA)
    ill = ndtr((np.log(factors)[:, np.newaxis] - shift) / SIGMA - z)
    return Harm(tuple(effects), 1.0 - DEFAULT_TAUS, well, ill, np.ones(len(factors)))


def _slower_by(delta_ms: float, median_ms: float) -> Harm:
    """Return variations all of whose requests take some milliseconds more; treatment's edges lie ``delta_ms`` higher."""
    keys = [bucket_key(median_ms * math.exp(SIGMA * z)) for z in ndtri(DEFAULT_TAUS).tolist()]
    edges, edges_t = (np.array([bucket_edge(key) for key in of]) for of in (keys, later(keys, delta_ms)))

    def beyond(more_ms: float, of: np.ndarray) -> np.ndarray:
        # What takes more than so much longer than nothing is beyond every edge below that.
        return np.asarray(ndtr(-np.log(np.maximum(of - more_ms, 1e-9) / median_ms) / SIGMA))

    added = [v * delta_ms for v in FACTORS[:MOST_EFFECTS]]
    effects = [
        Effect(v, f"+{ms:.4g}ms", ms, f"everything {ms:.4g} ms slower")
        for v, ms in zip(FACTORS, added, strict=False)
    ]  # fmt: skip
    ill = np.array([beyond(ms, edges_t) for ms in added])
    return Harm(tuple(effects), beyond(0.0, edges), beyond(0.0, edges_t), ill, np.ones(len(added)))
