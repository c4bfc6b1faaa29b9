"""
The projection of `projection`, on the line of an absolute margin: ``t(q) = q + delta``.

It has no closed form. Newton inside a shrinking bracket finds it for all alternatives of all streams at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from guardian.sequential.checks import Floats

_NEWTON_STEPS_MAX = 100
_NEWTON_DONE = 1e-12
_ALL_THE_WAY = 1e300


class Split(NamedTuple):
    """
    Boundary points by their gaps: ``rise = q - theta_c``, ``fall = theta_t - t`` and ``q_rest = 1 - q``.
    """

    rise: Floats
    fall: Floats
    q_rest: Floats


class Lines(NamedTuple):
    """
    Alternatives, each with its line ``t(q) = q + delta``, in arrays that broadcast.

    Beside its rates an alternative holds what subtraction would spoil: ``boundary = theta_c + delta``, ``gap =
    theta_t - boundary`` and ``rest = 1 - theta_t``. ``theta_c``, ``boundary``, ``gap`` and ``rest`` must be above 0
    and ``delta`` must not be 0.
    """

    theta_c: Floats
    delta: Floats
    boundary: Floats
    gap: Floats
    rest: Floats

    def split(self, odds: Floats | float) -> Split:
        """
        Return the points at which ``rise`` is ``odds`` times the smaller of ``fall`` and ``q_rest``.

        These two differ by ``rest + delta``, so that the larger is the smaller plus a number above 0.
        """
        between = self.rest + self.delta
        total = np.minimum(self.gap, 1.0 - self.theta_c)
        least = total / (1.0 + odds)
        rise = total * (odds / (1.0 + odds))
        return Split(rise, least - np.minimum(between, 0.0), least + np.maximum(between, 0.0))

    def tau(self, point: Split) -> tuple[Floats, Floats]:
        """
        Return the right side of the equation in `project_difference`, and how steep its log is there.
        """
        rise, fall, q_rest = point
        q, t, t_rest = self.theta_c + rise, self.boundary + rise, self.rest + fall
        least, most = np.minimum(fall, q_rest), np.maximum(fall, q_rest)
        bend = np.where(self.rest + self.delta >= 0.0, self.delta, -self.rest)
        slope = self.delta / (q * t) + bend / (most * t_rest)
        return (q / t) * (most / t_rest), slope * rise * least / (rise + least)


def project_difference(odds: Floats, lines: Lines) -> Split:
    """
    Return the projection on ``t(q) = q + delta``, where ``odds = w/v``.

    Stationarity is ``rise/least = odds * tau(q)`` with ``tau = q most / (t (1-t))``, where least and most are
    the smaller and the larger of ``fall`` and ``1 - q``. In the log of the left side it is increasing, with a
    slope between 0 and 1 for ``delta > 0`` and of at least 1 for ``delta < 0``, and tau is monotone: Newton
    inside a shrinking bracket always arrives, mostly in three or four steps.
    """
    base = np.log(odds)

    def excess(y: Floats) -> tuple[Floats, Floats]:
        tau, slope = lines.tau(lines.split(np.exp(y)))
        return y - base - np.log(tau), 1.0 - slope

    start = base + np.log(lines.tau(lines.split(0.0))[0])
    end = base + np.log(lines.tau(lines.split(_ALL_THE_WAY))[0])
    rising = lines.delta > 0.0
    lo, hi, step = np.where(rising, start, start - 1.0), np.where(rising, end, start), 2.0
    # With a negative margin tau falls, and its value at the far end may be 0: feel for the lower end instead.
    while (low := ~rising & (excess(lo)[0] > 0.0)).any():
        lo, step = np.where(low, lo - step, lo), 2.0 * step
    y = np.minimum(np.maximum(np.broadcast_to(base, lo.shape), lo), hi)
    moving = np.ones(y.shape, dtype=bool)
    for _ in range(_NEWTON_STEPS_MAX):
        value, slope = excess(y)
        lo, hi = np.where(value < 0.0, y, lo), np.where(value < 0.0, hi, y)
        following = y - value / np.maximum(slope, 1e-9)
        following = np.where((lo <= following) & (following <= hi), following, 0.5 * (lo + hi))
        moved, y = np.abs(following - y), np.where(moving, following, y)
        moving = moving & (moved >= _NEWTON_DONE)
        if not moving.any():
            break
    # One evaluation of the equation itself takes the rounding of exp(y) out again.
    return lines.split(odds * lines.tau(lines.split(np.exp(y)))[0])


def difference_log_e(counts: Sequence[Floats], lines: Lines) -> tuple[Floats, Floats]:
    """
    Return ``(q, log e)`` of blocks ``n_t, x_t, n_c, x_c`` against the boundary ``t(q) = q + delta``; shapes broadcast.
    """
    n_t, x_t, n_c, x_c = counts
    rise, fall, q_rest = project_difference(n_t / n_c, lines)
    treatment = x_t * np.log1p(fall / (lines.boundary + rise)) - (n_t - x_t) * np.log1p(fall / lines.rest)
    control = (n_c - x_c) * np.log1p(rise / q_rest) - x_c * np.log1p(rise / lines.theta_c)
    return lines.theta_c + rise, treatment + control
