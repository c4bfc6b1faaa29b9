"""
Whether treatment is slower than control anywhere, with all quantiles weighed together.

`latency_block` looks at one quantile. Here the edges at several quantiles of control's *past* cut the latencies of a
block into ordered classes, and the classes of both arms are compared at once: a general slowdown moves requests over
every edge, and what the edges say together is worth more than what the best of them says alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from guardian.sequential.checks import (
    ARM_MIN,
    COUNT_MAX,
    Floats,
    as_floats,
    check_arms,
    check_counts,
    check_units,
    spread,
)
from guardian.sequential.latency import ACCURACY, Buckets, Histogram, counts_above, cuts, margin_shift

#: The quantiles of control's past at which latencies are cut.
DEFAULT_TAUS: Floats = np.array([0.25, 0.5, 0.75, 0.9, 0.97, 0.995])
DEFAULT_TAUS.setflags(write=False)


class Slowdown(NamedTuple):
    """
    An alternative: a ``part`` of the requests is slower by ``by`` standard deviations of the log latency.
    """

    part: float
    by: float


#: Everything slower, by a little or by much, and a few requests much slower: the components of the test.
DEFAULT_SLOWDOWNS: tuple[Slowdown, ...] = (
    Slowdown(1.0, 0.12),
    Slowdown(1.0, 0.25),
    Slowdown(1.0, 0.5),
    Slowdown(1.0, 1.0),
    Slowdown(0.01, 3.0),
    Slowdown(0.03, 2.0),
    Slowdown(0.08, 2.0),
    Slowdown(0.2, 2.0),
)

#: Imagined requests of control's past that lie exactly as the quantiles say.
_PRIOR_REQUESTS = 20.0

_BY_MAX = 8.0


def slowness_block(
    past: Buckets | Histogram,
    treatment: Buckets,
    control: Buckets,
    *,
    margin: float = 1.0,
    accuracy: float = ACCURACY,
    taus: Sequence[float] | Floats = DEFAULT_TAUS,
    slowdowns: Sequence[Slowdown] = DEFAULT_SLOWDOWNS,
) -> Floats:
    """
    Return log e-values, one a slowdown, of one block of latencies of both arms, histograms as in `latency`.

    The null: at each edge y, the quantiles ``taus`` of control's ``past`` (earlier blocks only), ``P(T > margin y)
    <= P(C > y)`` in the block. It holds whenever treatment is stochastically no slower than ``margin`` times control.
    See `slowness_blocks`. Shape ``(K,)``, natural logs; zeros for an empty arm or without a past.
    """
    levels = _taus(taus)
    keys, above = cuts(past, levels)
    weight = past.total if isinstance(past, Histogram) else math.fsum(past.values())
    shift = margin_shift(margin, accuracy)
    columns = _columns(tuple(slowdowns))
    if not keys:
        return np.zeros(len(columns[0]))
    n_t, n_c = math.fsum(treatment.values()), math.fsum(control.values())
    edges = np.array(keys)
    x_t, x_c = counts_above(treatment, edges + shift), counts_above(control, edges)
    beyond = above / weight
    if not (_falls(n_t, x_t) and _falls(n_c, x_c) and _falls(1.0, beyond) and 0.0 <= weight <= COUNT_MAX):
        # It knows the words for what is wrong.
        return slowness_blocks(n_t, x_t, n_c, x_c, beyond=beyond, weight=weight, taus=levels, slowdowns=slowdowns)
    if n_t < ARM_MIN or n_c < ARM_MIN:
        return np.zeros(len(columns[0]))
    rho = _ratios((weight * beyond + _PRIOR_REQUESTS * (1.0 - levels)) / (weight + _PRIOR_REQUESTS), columns)
    return _log_e(_classes(n_t, x_t), _classes(n_c, x_c), n_t / (n_t + n_c), rho)


def _falls(whole: float, beyond: Floats) -> bool:
    """
    Say whether the counts beyond the edges of ``whole`` fall from edge to edge, none of them below 0.
    """
    return all(lower >= higher for lower, higher in pairwise((COUNT_MAX, whole, *beyond.tolist(), 0.0)))


def slowness_blocks(
    n_t: Any,
    x_t: Any,
    n_c: Any,
    x_c: Any,
    *,
    beyond: Any,
    weight: Any,
    taus: Sequence[float] | Floats = DEFAULT_TAUS,
    slowdowns: Sequence[Slowdown] = DEFAULT_SLOWDOWNS,
) -> Floats:
    """
    Return `slowness_block` for many streams at once, from counts: ``n`` of shape ``S`` gives ``S + (K,)``.

    ``x_t`` and ``x_c``, of shape ``S + (J,)``, say how many of the ``n`` requests of an arm exceed each of the J
    edges, lowest first; ``beyond`` says which part of control's past did, ``weight`` how many requests that past holds.

        rho_j = P_j(slowed down)/P_j(past)      never falling from a class to the slower next one
        log e = sum_j count_t[j] log(rho_j/(w rho_j + 1-w)) - count_c[j] log(w rho_j + 1-w)

    with ``w = n_t/(n_t + n_c)`` and j the classes between the edges. In every class the factors of the two arms satisfy
    ``w f_t + (1-w) f_c = 1``, so that ``f_t = 1 + (1-w) h`` and ``f_c = 1 - w h`` with an h that never falls from class
    to class. Under the null ``E_t[h] <= E_c[h]``, so the average of the arms' means is at most 1, and the inequality of
    the means gives ``E[e] <= 1``: the argument of Turner, Ly and Grünwald (2024, arXiv 2106.02693) for ordered classes.
    The past only shapes the alternatives: a wrong one costs power.

    Raises ValueError unless ``0 <= x <= n <= 2**53`` falls from edge to edge, ``beyond`` lies in [0, 1], and the taus
    rise within (0, 1).
    """
    levels = _taus(taus)
    x_t, x_c, beyond = (np.asarray(values, dtype=np.float64) for values in (x_t, x_c, beyond))
    for name, values in (("x_t", x_t), ("x_c", x_c), ("beyond", beyond)):
        _check_falling(name, values, levels.size)
    check_units("beyond", beyond)
    n_t, n_c, weight = spread({"n_t": n_t, "n_c": n_c, "weight": weight})
    check_counts("weight", weight)
    for arm, n, x in (("t", n_t, x_t), ("c", n_c, x_c)):
        check_arms(arm, *spread({f"n_{arm}": n[..., np.newaxis], f"x_{arm}": x}))
    past = (weight[..., np.newaxis] * beyond + _PRIOR_REQUESTS * (1.0 - levels)) / (
        weight[..., np.newaxis] + _PRIOR_REQUESTS
    )
    rho = _ratios(past, _columns(tuple(slowdowns)))
    silent = (n_t < ARM_MIN) | (n_c < ARM_MIN)
    w = np.where(silent, 0.5, n_t / np.where(silent, 1.0, n_t + n_c))[..., np.newaxis, np.newaxis]
    count_t, count_c = (_classes(n, x)[..., np.newaxis, :] for n, x in ((n_t, x_t), (n_c, x_c)))
    return np.asarray(np.where(silent[..., np.newaxis], 0.0, _log_e(count_t, count_c, w, rho)))


def _log_e(count_t: Floats, count_c: Floats, w: Any, rho: Floats) -> Floats:
    """
    Return the formula of `slowness_blocks` from counts by class, treatment's part of them and the ratios.
    """
    cost = np.log1p(w * (rho - 1.0))
    gained = np.add.reduce(count_t * (np.log(rho) - cost), axis=-1)
    return np.asarray(gained - np.add.reduce(count_c * cost, axis=-1))


def _check_falling(name: str, values: Floats, edges: int) -> None:
    if values.ndim == 0 or values.shape[-1] != edges:
        raise ValueError(f"{name} has shape {values.shape}: it must end with {edges}, one number an edge")
    rising = np.diff(values, axis=-1) > 0.0
    if rising.any():
        where = np.argwhere(rising)[0]
        row = values[tuple(where[:-1])].tolist()
        raise ValueError(f"{name} is {row!r}: no more requests can exceed a higher edge than exceed a lower one")


@lru_cache(maxsize=16)
def _columns(slowdowns: tuple[Slowdown, ...]) -> tuple[Floats, Floats, Floats]:
    """
    Return the parts, what they leave of 1, and the shifts as columns, shape ``(K, 1)``, or raise ValueError.
    """
    part = np.array([slowdown.part for slowdown in slowdowns], dtype=np.float64)
    by = np.array([slowdown.by for slowdown in slowdowns], dtype=np.float64)
    if not part.size or not ((part > 0.0) & (part <= 1.0) & (by > 0.0) & (by <= _BY_MAX)).all():
        raise ValueError(
            f"slowdowns is {list(slowdowns)!r}: each needs a part above 0 up to 1 and a shift above 0 up to {_BY_MAX:g}"
        )
    return part[:, np.newaxis], 1.0 - part[:, np.newaxis], by[:, np.newaxis]


def _ratios(past: Floats, columns: tuple[Floats, Floats, Floats]) -> Floats:
    """
    Return by how much likelier each class is made, shape ``S + (K, J + 1)``, given the part of the past beyond an edge.

    Both arms are thought of as normal in the scale in which control's past is; the part ``p`` beyond an edge becomes
    ``ndtr(ndtri(p) + by)``.
    """
    past, (part, rest, by) = past[..., np.newaxis, :], columns
    slowed = rest * past + part * ndtr(ndtri(past) + by)
    classes, base = _classes(1.0, slowed), _classes(1.0, past)
    if np.minimum.reduce(base, axis=None, initial=1.0) > 1e-12:
        ratio = classes / base
    else:
        ratio = np.where(base > 1e-12, classes / np.maximum(base, 1e-12), 0.0)
    # In exact arithmetic these rise by themselves; an empty class, or a rounding, must not spoil it.
    return np.asarray(np.maximum(np.maximum.accumulate(ratio, axis=-1), 1e-9))


def _classes(n: Any, x: Floats) -> Floats:
    """
    Return the counts between the edges from the counts beyond them.
    """
    beyond = np.empty((*x.shape[:-1], x.shape[-1] + 2))
    beyond[..., 0], beyond[..., 1:-1], beyond[..., -1] = n, x, 0.0
    return np.asarray(beyond[..., :-1] - beyond[..., 1:])


def _taus(taus: Sequence[float] | Floats) -> Floats:
    if taus is DEFAULT_TAUS:
        return DEFAULT_TAUS
    levels = as_floats("taus", taus)
    if not ((levels > 0.0) & (levels < 1.0)).all() or (np.diff(levels) <= 0.0).any():
        raise ValueError(f"taus is {levels.tolist()!r}: the quantiles must rise within (0, 1)")
    return levels
