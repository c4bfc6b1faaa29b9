"""
The point of the null that is hardest to tell from an alternative, and what each outcome is worth against it.

A two-sample alternative is a pair (theta_c, theta_t) above the boundary of the null. Its reverse information
projection is the boundary point q that minimises ``w KL(theta_t || t(q)) + v KL(theta_c || q)``, where ``w``
and ``v = 1 - w`` are the shares of the arms and ``t(q)`` is ``r q`` (relative margin) or ``q + delta``
(absolute margin). Likelihood ratios against that point have expectation 1 all along the boundary (Turner, Ly,
Grünwald 2024, arXiv 2106.02693, for r = 1; the same argument, through the inequality of the means, for any
line).

Subtracting nearly equal probabilities loses digits just where a rollout lives: small rates, tiny shares. So
no log here is taken of a quotient near 1. The projection is carried as two positive gaps,

    rise = q - theta_c        fall = theta_t - t(q)

each computed without cancellation, and every log ratio is a ``log1p`` of a quotient of them:

    log(theta_t/t(q)) =  log1p(fall/t(q))         log((1-theta_t)/(1-t(q))) = -log1p(fall/(1-theta_t))
    log(theta_c/q)    = -log1p(rise/theta_c)      log((1-theta_c)/(1-q))    =  log1p(rise/(1-q))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

_NEWTON_STEPS_MAX = 100
_NEWTON_DONE = 1e-12
_ALL_THE_WAY = 1e300


class Arithmetic(NamedTuple):
    """
    One formula, two arithmetics: a block a time runs on floats, many streams a time on arrays.
    """

    sqrt: Callable[[Any], Any]
    log1p: Callable[[Any], Any]
    choose: Callable[[Any, Any, Any], Any]


FLOATS = Arithmetic(math.sqrt, math.log1p, lambda condition, yes, no: yes if condition else no)
ARRAYS = Arithmetic(np.sqrt, np.log1p, np.where)


def ratio_fall(v: Any, steep: Any, z: Any, sqrt: Callable[[Any], Any], choose: Callable[..., Any]) -> Any:
    """
    Return ``phi = fall/(1 - theta_t)`` of the projection on ``t(q) = r q``.

    Then ``rise = w (1-theta_c) phi/(v + phi)``. With ``u = 1 - r theta_c``: ``z = (theta_t - r theta_c)/(1 -
    theta_t)`` is the alternative, ``steep = w (r-1)/u`` the margin. Stationarity reads ``w fall (1-q) = v
    rise (1 - r q)`` and becomes ``phi**2 + s phi - v z = 0``, solved for its positive root in the form that
    does not cancel. For r = 1 it is ``phi = v z``.
    """
    s = (1.0 + steep) + (steep - v) * z
    product = v * z
    larger = abs(s) + sqrt(s * s + 4.0 * product)
    return choose(s >= 0.0, 2.0 * product / larger, 0.5 * larger)


def ratio_log_e(
    counts: tuple[Any, Any, Any, Any],
    theta_c: Any,
    margin: float,
    room: Any,
    grid: Sequence[float],
    on: Arithmetic,
) -> list[Any]:
    """
    Return log e of a block for each ratio of ``grid``, against the boundary ``t(q) = margin * q``.

    ``counts`` is ``n_t, x_t, n_c, x_c``. The alternative has odds g times those of the boundary rate ``margin
    * theta_c``. (Lifted from ``theta_c`` itself it could fall inside the null for margins above 1, and its
    e-value would exceed 1 on average.) ``room`` is ``1 - margin * theta_c``, passed on its own since it may
    be known to more digits than the subtraction leaves.
    """
    n_t, x_t, n_c, x_c = counts
    sqrt, log1p, choose = on
    w, v = n_t / (n_t + n_c), n_c / (n_t + n_c)
    ok_t, ok_c, odds = n_t - x_t, n_c - x_c, n_t / n_c
    boundary = margin * theta_c
    steep = w * (margin - 1.0) / room
    scale = w * (1.0 - theta_c) / theta_c
    answer = []
    for g in grid:
        z = (g - 1.0) * boundary
        phi = v * z if margin == 1.0 else ratio_fall(v, steep, z, sqrt, choose)
        lift = scale * phi / (v + phi)
        answer.append(
            (x_t * log1p(room * phi / ((1.0 + z) * (boundary * (1.0 + lift)))) - ok_t * log1p(phi))
            + (ok_c * log1p(odds * phi / (1.0 + phi)) - x_c * log1p(lift))
        )
    return answer


class Split(NamedTuple):
    """
    A boundary point by its gaps: ``rise = q - theta_c``, ``fall = theta_t - t`` and ``q_rest = 1 - q``.
    """

    rise: float
    fall: float
    q_rest: float


class Difference(NamedTuple):
    """
    One alternative and the line ``t(q) = q + delta``.

    Beside its rates it holds what subtraction would spoil: ``boundary = theta_c + delta``, ``gap = theta_t -
    boundary`` and ``rest = 1 - theta_t``. ``theta_c`` and ``boundary`` must be above 0, ``gap`` and ``rest``
    too.
    """

    theta_c: float
    delta: float
    boundary: float
    gap: float
    rest: float

    def split(self, odds: float) -> Split:
        """
        Return the point at which ``rise`` is ``odds`` times the smaller of ``fall`` and ``q_rest``.

        These two differ by ``rest + delta``, so that the larger is the smaller plus a number above 0.
        """
        between = self.rest + self.delta
        total = min(self.gap, 1.0 - self.theta_c)
        least = total / (1.0 + odds)
        return Split(total * (odds / (1.0 + odds)), least - min(between, 0.0), least + max(between, 0.0))

    def tau(self, point: Split) -> tuple[float, float]:
        """
        Return the right side of the equation in `project_difference`, and how steep its log is there.
        """
        rise, fall, q_rest = point
        q, t, t_rest = self.theta_c + rise, self.boundary + rise, self.rest + fall
        least, most = min(fall, q_rest), max(fall, q_rest)
        bend = self.delta if self.rest + self.delta >= 0.0 else -self.rest
        slope = self.delta / (q * t) + bend / (most * t_rest)
        return (q / t) * (most / t_rest), slope * rise * least / (rise + least)


def project_difference(odds: float, line: Difference) -> Split:
    """
    Return the projection on ``t(q) = q + delta``, where ``odds = w/v``.

    Stationarity is ``rise/least = odds * tau(q)`` with ``tau = q most / (t (1-t))``, where least and most are
    the smaller and the larger of ``fall`` and ``1 - q``. In the log of the left side it is increasing, with a
    slope between 0 and 1 for ``delta > 0`` and of at least 1 for ``delta < 0``, and tau is monotone: Newton
    inside a shrinking bracket always arrives, here in three or four steps.
    """
    base = math.log(odds)

    def excess(y: float) -> tuple[float, float]:
        tau, slope = line.tau(line.split(math.exp(y)))
        return y - base - math.log(tau), 1.0 - slope

    lo, hi = _bracket(base, line, excess)
    y = min(max(base, lo), hi)
    for _ in range(_NEWTON_STEPS_MAX):
        value, slope = excess(y)
        lo, hi = (y, hi) if value < 0.0 else (lo, y)
        following = y - value / max(slope, 1e-9)
        if not lo <= following <= hi:
            following = 0.5 * (lo + hi)
        moved, y = abs(following - y), following
        if moved < _NEWTON_DONE:
            break
    # One evaluation of the equation itself takes the rounding of exp(y) out again.
    return line.split(odds * line.tau(line.split(math.exp(y)))[0])


def _bracket(base: float, line: Difference, excess: Callable[[float], tuple[float, float]]) -> tuple[float, float]:
    """
    Return logs of ``rise/least`` between which the projection lies: tau at the ends, where it is above 0.
    """
    start = base + math.log(line.tau(line.split(0.0))[0])
    if line.delta > 0.0:
        return start, base + math.log(line.tau(line.split(_ALL_THE_WAY))[0])
    lo, step = start, 1.0
    while excess(lo)[0] > 0.0:
        lo, step = lo - step, 2.0 * step
    return lo, start


def difference_log_e(counts: tuple[float, float, float, float], line: Difference) -> tuple[float, float]:
    """
    Return ``(q, log e)`` of a block (``n_t, x_t, n_c, x_c``) against the boundary ``t(q) = q + delta``.
    """
    n_t, x_t, n_c, x_c = counts
    rise, fall, q_rest = project_difference(n_t / n_c, line)
    treatment = x_t * math.log1p(fall / (line.boundary + rise)) - (n_t - x_t) * math.log1p(fall / line.rest)
    control = (n_c - x_c) * math.log1p(rise / q_rest) - x_c * math.log1p(rise / line.theta_c)
    return line.theta_c + rise, treatment + control
