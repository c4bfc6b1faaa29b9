"""
Beta integrals against a point, in log space.

Both closed-form mixtures, the one-sided one for a threshold and the two-sided one for an interval, are
integrals of ``(t/p)**a ((1-t)/(1-p))**b`` over ``dt/(t(1-t))``. Written as a sum of log-gammas such an
integral at a million samples is the small difference of numbers near ten million. Written as below, it is a
sum of small terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_CONTINUED_FRACTION_STEPS_MAX = 200_000
_TINY = 1e-300
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
_STIRLING_FROM = 12.0
_SERIES_BELOW = 0.1


def log_full(a: float, b: float, p: float, q: float) -> float:
    """
    Return ``log B(a, b) - a log p - b log q`` for ``a, b > 0`` and ``0 < p < 1``, where ``q = 1 - p``.
    """
    return log_dirichlet((a, b), (p, q))


def log_dirichlet(weights: Sequence[float], theta: Sequence[float]) -> float:
    """
    Return ``sum(log Gamma(b_i)) - log Gamma(sum b_i) - sum(b_i log theta_i)``, all above 0, theta of sum 1.

    By Stirling, with ``B = sum b_i``: ``sum b_i log(b_i / (B theta_i))``, a Kullback-Leibler divergence times
    B, plus ``(1/2) log(B (2 pi)^(m-1) / prod b_i)`` plus the remainders.
    """
    total = math.fsum(weights)
    terms = [deviance(b, total * t) for b, t in zip(weights, theta, strict=True)]
    terms += [_HALF_LOG_2PI - 0.5 * math.log(b) + stirling_remainder(b) for b in weights]
    terms += [0.5 * math.log(total) - _HALF_LOG_2PI, -stirling_remainder(total)]
    # What the deviances assume and a rounded theta does not quite keep: a sum of exactly 1.
    terms.append(-total * math.fsum((*theta, -1.0)))
    return math.fsum(terms)


def log_above(a: float, b: float, p: float) -> float:
    """
    Return the ``log`` of the part of `log_full`'s integral that lies above ``p``.

    Where little lies above, the continued fraction of the incomplete beta function gives the part directly:
    the complete beta function and the powers of p cancel before anything is computed.
    """
    if p * (a + b + 2.0) > a + 1.0:
        return math.log(_continued_fraction(b, a, 1.0 - p)) - math.log(b)
    full = log_full(a, b, p, 1.0 - p)
    below = math.log(_continued_fraction(a, b, p)) - math.log(a)
    return full + math.log1p(-math.exp(below - full))


def deviance(x: float, mean: float) -> float:
    """
    Return ``x log(x/mean) + mean - x`` without cancellation (Loader's ``bd0``).
    """
    if x <= 0.0:
        return mean
    if abs(x - mean) >= _SERIES_BELOW * (x + mean):
        return x * math.log(x / mean) + mean - x
    v = (x - mean) / (x + mean)
    total = (x - mean) * v
    term, odd = 2.0 * x * v, 1
    while True:
        term *= v * v
        odd += 2
        following = total + term / odd
        if following == total:
            return total
        total = following


def stirling_remainder(z: float) -> float:
    """
    Return ``log Gamma(z) - ((z - 1/2) log z - z + (1/2) log 2 pi)``, which falls like ``1/(12 z)``.
    """
    if z < _STIRLING_FROM:
        return math.lgamma(z) - ((z - 0.5) * math.log(z) - z + _HALF_LOG_2PI)
    inverse, square = 1.0 / z, 1.0 / (z * z)
    total = 0.0
    for coefficient in reversed(_STIRLING):
        total = total * square + coefficient
    return total * inverse


def _continued_fraction(a: float, b: float, x: float) -> float:
    """
    Return h of ``I_x(a, b) = x**a (1-x)**b h / (a B(a, b))``, by Lentz; fast for ``x < (a+1)/(a+b+2)``.
    """
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    h = d
    for m in range(1, _CONTINUED_FRACTION_STEPS_MAX):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + numerator * d
            c = 1.0 + numerator / c
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = c if abs(c) > _TINY else _TINY
            factor = d * c
            h *= factor
        if abs(factor - 1.0) < 1e-16:
            break
    return h
