"""
The projection of `projection`, on the line of an absolute margin: ``t(q) = q + delta``.

It has no closed form. Newton inside a shrinking bracket finds it, for one alternative on floats or for all alternatives
of all streams at once on arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from guardian.sequential.projection import Arithmetic

_NEWTON_STEPS_MAX = 100
_NEWTON_DONE = 1e-12
_ALL_THE_WAY = 1e300


class Split(NamedTuple):
    """
    A boundary point by its gaps: ``rise = q - theta_c``, ``fall = theta_t - t`` and ``q_rest = 1 - q``.
    """

    rise: Any
    fall: Any
    q_rest: Any


class Line(NamedTuple):
    """
    An alternative with its line ``t(q) = q + delta``; numbers, or arrays that broadcast.

    Beside its rates it holds what subtraction would spoil: ``boundary = theta_c + delta``, ``gap = theta_t -
    boundary`` and ``rest = 1 - theta_t``. ``theta_c``, ``boundary``, ``gap`` and ``rest`` must be above 0 and ``delta``
    must not be 0.
    """

    theta_c: Any
    delta: Any
    boundary: Any
    gap: Any
    rest: Any

    def split(self, odds: Any, on: Arithmetic) -> Split:
        """
        Return the point at which ``rise`` is ``odds`` times the smaller of ``fall`` and ``q_rest``.

        These two differ by ``rest + delta``, so that the larger is the smaller plus a number above 0.
        """
        between = self.rest + self.delta
        total = on.least(self.gap, 1.0 - self.theta_c)
        least = total / (1.0 + odds)
        return Split(total * (odds / (1.0 + odds)), least - on.least(between, 0.0), least + on.most(between, 0.0))

    def tau(self, point: Split, on: Arithmetic) -> tuple[Any, Any]:
        """
        Return the right side of the equation in `project_difference`, and how steep its log is there.
        """
        rise, fall, q_rest = point
        q, t, t_rest = self.theta_c + rise, self.boundary + rise, self.rest + fall
        least, most = on.least(fall, q_rest), on.most(fall, q_rest)
        bend = on.choose(self.rest + self.delta >= 0.0, self.delta, -self.rest)
        slope = self.delta / (q * t) + bend / (most * t_rest)
        return (q / t) * (most / t_rest), slope * rise * least / (rise + least)


def project_difference(odds: Any, line: Line, on: Arithmetic) -> Split:
    """
    Return the projection on ``t(q) = q + delta``, where ``odds = w/v``.

    Stationarity is ``rise/least = odds * tau(q)`` with ``tau = q most / (t (1-t))``, where least and most are
    the smaller and the larger of ``fall`` and ``1 - q``. In the log of the left side it is increasing, with a
    slope between 0 and 1 for ``delta > 0`` and of at least 1 for ``delta < 0``, and tau is monotone: Newton
    inside a shrinking bracket always arrives, mostly in three or four steps.
    """
    base = on.log(odds)

    def excess(y: Any) -> tuple[Any, Any]:
        tau, slope = line.tau(line.split(on.exp(y), on), on)
        return y - base - on.log(tau), 1.0 - slope

    start = base + on.log(line.tau(line.split(0.0, on), on)[0])
    end = base + on.log(line.tau(line.split(_ALL_THE_WAY, on), on)[0])
    rising = line.delta > 0.0
    lo, hi, step = on.choose(rising, start, start - 1.0), on.choose(rising, end, start), 2.0
    # With a negative margin tau falls, and its value at the far end may be 0: feel for the lower end instead.
    while on.any(low := on.choose(rising, False, excess(lo)[0] > 0.0)):
        lo, step = on.choose(low, lo - step, lo), 2.0 * step
    y = on.least(on.most(base, lo), hi)
    moving = lo == lo  # noqa: PLR0124 - true everywhere, in the shape of the answer
    for _ in range(_NEWTON_STEPS_MAX):
        value, slope = excess(y)
        lo, hi = on.choose(value < 0.0, y, lo), on.choose(value < 0.0, hi, y)
        following = y - value / on.most(slope, 1e-9)
        following = on.choose((lo <= following) & (following <= hi), following, 0.5 * (lo + hi))
        moved, y = abs(following - y), on.choose(moving, following, y)
        moving = moving & (moved >= _NEWTON_DONE)
        if not on.any(moving):
            break
    # One evaluation of the equation itself takes the rounding of exp(y) out again.
    return line.split(odds * line.tau(line.split(on.exp(y), on), on)[0], on)


def difference_log_e(counts: Sequence[Any], line: Line, on: Arithmetic) -> tuple[Any, Any]:
    """
    Return ``(q, log e)`` of blocks ``n_t, x_t, n_c, x_c`` against the boundary ``t(q) = q + delta``; shapes broadcast.
    """
    n_t, x_t, n_c, x_c = counts
    rise, fall, q_rest = project_difference(n_t / n_c, line, on)
    treatment = x_t * on.log1p(fall / (line.boundary + rise)) - (n_t - x_t) * on.log1p(fall / line.rest)
    control = (n_c - x_c) * on.log1p(rise / q_rest) - x_c * on.log1p(rise / line.theta_c)
    return line.theta_c + rise, treatment + control
