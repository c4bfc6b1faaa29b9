"""Log buckets for whole arrays; the same buckets as ``guardian.sequential.latency`` and ``guardian.lag``."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from guardian.events import LATENCY_MS_MAX
from guardian.lag import DELAY_GAMMA
from guardian.sequential.latency import VALUE_MIN, bucket_edge, bucket_key, gamma

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_LOWEST = bucket_key(VALUE_MIN)
_HIGHEST = bucket_key(LATENCY_MS_MAX)
_EDGES = np.array([bucket_edge(key) for key in range(_LOWEST - 1, _HIGHEST + 2)])
_PER_LOG = 1.0 / math.log(gamma())
_PER_LOG_DELAY = 1.0 / math.log(DELAY_GAMMA)


def latency_buckets(latency_ms: Floats) -> Int64s:
    """Return the bucket of each latency (milliseconds, at most a day): ``bucket_key`` of each, exactly."""
    value = np.maximum(latency_ms, VALUE_MIN)
    keys = np.ceil(np.log(value) * _PER_LOG).astype(np.int64)
    np.clip(keys, _LOWEST, _HIGHEST, out=keys)
    # The quotient of logs may miss an edge by a rounding; the edges themselves decide.
    at = keys - (_LOWEST - 1)
    keys += value > _EDGES[at]
    keys -= value <= _EDGES[at - 1]
    return keys


def delay_buckets(delay_ms: Int64s) -> Int64s:
    """Return the bucket of each delay (milliseconds): ``guardian.lag.delay_bucket`` of each."""
    value = np.maximum(delay_ms, 1).astype(np.float64)
    return np.maximum(np.ceil(np.log(value) * _PER_LOG_DELAY - 1e-9), 0.0).astype(np.int64)
