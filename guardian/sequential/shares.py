"""
Whether exposures arrive in the configured shares.

A sample ratio mismatch means that the experiment is broken: an SDK that fails to report, a variation that
never loads, a cache. It is counted in *first exposures of units*, not in events.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from guardian.sequential.beta import log_dirichlet
from guardian.sequential.checks import (
    Floats,
    as_floats,
    check_count,
    check_counts,
    check_open_unit,
    check_open_units,
    check_positive,
    spread,
)
from guardian.sequential.lift import head_and_tail

#: How the odds of treatment's share may be off: silent (0.02), a lost part, a surplus. Eight, as all tests have, so that
#: one bank holds the streams of all.
DEFAULT_LIFTS: Floats = np.array([0.02, 0.25, 0.5, 0.8, 0.9, 1 / 0.9, 1.4, 3.0])
DEFAULT_LIFTS.setflags(write=False)

_LIFT_MIN, _LIFT_MAX = 1e-9, 1e9


def share_block(
    n_t: float,
    n_c: float,
    share: float,
    *,
    tolerance: float = 0.0,
    lifts: Sequence[float] | Floats = DEFAULT_LIFTS,
) -> Floats:
    """
    Return log e-values, one a lift of the odds, of one block of first exposures against the configured share.

    The null: every exposure, given the past, is treatment's with a probability within a part ``tolerance`` of
    ``share``, the share configured for this block (it may change from block to block, by plan).

        th = h w0/(h w0 + 1 - w0),   log e = n_t log(th/w0) + n_c log((1-th)/(1-w0))

    With a tolerance, lifts below 1 are tested against ``share (1 - tolerance)`` and lifts above 1 against
    ``share (1 + tolerance)``; a component whose boundary reaches 1 says nothing (0).

    Shape ``(K,)``, natural logs. Raises ValueError for negative counts, a share outside (0, 1), a tolerance
    outside [0, 1), or lifts that are 1 or outside [1e-9, 1e9].
    """
    check_count("n_t", n_t)
    check_count("n_c", n_c)
    check_open_unit("share", share)
    return share_blocks(n_t, n_c, share, tolerance=tolerance, lifts=lifts)


def share_blocks(
    n_t: Any, n_c: Any, share: Any, *, tolerance: float = 0.0, lifts: Sequence[float] | Floats = DEFAULT_LIFTS
) -> Floats:
    """
    Return `share_block` for many streams at once: shapes that broadcast to ``S`` give ``S + (K,)``.

    Each stream may have a share of its own. Raises ValueError as `share_block` does, with the first value that is
    wrong.
    """
    n_t, n_c, share = spread({"n_t": n_t, "n_c": n_c, "share": share})
    check_counts("n_t", n_t)
    check_counts("n_c", n_c)
    check_open_units("share", share)
    if not 0.0 <= tolerance < 1.0:
        raise ValueError(f"tolerance is {tolerance!r}: it is a part of the share, from 0 to below 1")
    h = as_floats("lifts", lifts)
    if not ((h >= _LIFT_MIN) & (h <= _LIFT_MAX) & (h != 1.0)).all():
        raise ValueError(f"lifts is {h.tolist()!r}: every lift must lie in [1e-9, 1e9] and differ from 1")
    boundary = share[..., np.newaxis] * np.where(h < 1.0, 1.0 - tolerance, 1.0 + tolerance)
    silent = boundary >= 1.0
    boundary = np.where(silent, 0.5, boundary)
    head, tail_cost = head_and_tail(boundary / (1.0 - boundary), h)
    return np.asarray(np.where(silent, 0.0, n_t[..., np.newaxis] * head - n_c[..., np.newaxis] * tail_cost))


def share_log_bayes_factor(
    counts: Sequence[float] | Floats, shares: Sequence[float] | Floats, *, concentration: float = 100.0
) -> float:
    """
    Return the log Bayes factor of the exposures of any number of variations against their shares.

        log BF = log G(A) - sum log G(a_i) + sum log G(a_i + c_i) - log G(A + N) - sum c_i log share_i

    with ``a_i = concentration * share_i`` (Lindon and Malek 2022, arXiv 2011.03567). ``min(1,
    exp(-log BF))``, or its running minimum, is an anytime p-value as long as the shares are constant from the
    first exposure on. For shares that change, and for decisions, use `share_block`.

    Raises ValueError unless there are at least two shares, all above 0 and of sum 1, as many counts of at
    least 0, and a concentration above 0.
    """
    given, theta = as_floats("counts", counts), as_floats("shares", shares)
    if theta.size < 2 or not (theta > 0.0).all() or abs(math.fsum(theta) - 1.0) > 1e-9:
        raise ValueError(f"shares is {theta.tolist()!r}: at least two numbers above 0 of sum 1 are needed")
    if given.size != theta.size:
        raise ValueError(f"counts has {given.size} numbers: there are {theta.size} shares")
    for i, count in enumerate(given.tolist()):
        check_count(f"counts[{i}]", count)
    check_positive("concentration", concentration)
    prior = (concentration * theta).tolist()
    posterior = [a + c for a, c in zip(prior, given.tolist(), strict=True)]
    return log_dirichlet(posterior, theta.tolist()) - log_dirichlet(prior, theta.tolist())
