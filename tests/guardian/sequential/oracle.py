"""
The same formulas written a second time, straight from their definitions, in 60 digits.

Nothing here shares code or algebra with the product: projections are found by bisection on the derivative of the
divergence, logs are taken of exact quotients, integrals are summed. Slow and obvious, to hold the fast one to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mpmath import mp, mpf  # type: ignore[import-untyped]

__all__ = ["account", "bisect", "close", "count", "dirichlet", "mp", "mpf", "odds_lifted", "ratings", "share"]
__all__ += ["threshold", "threshold_mixture", "two_sample", "two_sample_additive"]

mp.dps = 60


def bisect(increasing: Callable[[Any], Any], lo: Any, hi: Any) -> Any:
    for _ in range(220):
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if increasing(middle) < 0 else (lo, middle)
    return (lo + hi) / 2


def odds_lifted(rate: Any, g: float) -> Any:
    return g * rate / (1 - rate + g * rate)


def two_sample(n_t: float, x_t: float, n_c: float, x_c: float, *, p_hat: float, r: float, g: float) -> Any:
    n_t, x_t, n_c, x_c, p, r, g = map(mpf, (n_t, x_t, n_c, x_c, p_hat, r, g))
    w, theta_t = n_t / (n_t + n_c), odds_lifted(r * p, g)

    def slope(q):
        return w * (r * q - theta_t) / (q * (1 - r * q)) + (1 - w) * (q - p) / (q * (1 - q))

    q = bisect(slope, p, min(theta_t / r, mpf(1)))
    return against_boundary((n_t, x_t, n_c, x_c), theta_t, p, r * q, q)


def two_sample_additive(
    n_t: float, x_t: float, n_c: float, x_c: float, *, theta_t: Any, theta_c: Any, delta: float
) -> tuple[Any, Any]:
    n_t, x_t, n_c, x_c, theta_t, theta_c, d = map(mpf, (n_t, x_t, n_c, x_c, theta_t, theta_c, delta))
    w = n_t / (n_t + n_c)

    def slope(q):
        return w * (q + d - theta_t) / ((q + d) * (1 - q - d)) + (1 - w) * (q - theta_c) / (q * (1 - q))

    q = bisect(slope, theta_c, min(theta_t - d, mpf(1)))
    return q, against_boundary((n_t, x_t, n_c, x_c), theta_t, theta_c, q + d, q)


def against_boundary(counts: Sequence[Any], theta_t: Any, theta_c: Any, t: Any, q: Any) -> Any:
    n_t, x_t, n_c, x_c = counts
    treatment = x_t * mp.log(theta_t / t) + (n_t - x_t) * mp.log((1 - theta_t) / (1 - t))
    return treatment + x_c * mp.log(theta_c / q) + (n_c - x_c) * mp.log((1 - theta_c) / (1 - q))


def count(x_t: float, x_c: float, share: float, r: float, g: float) -> Any:
    x_t, x_c, w, r, g = map(mpf, (x_t, x_c, share, r, g))
    th0, th1 = w * r / (w * r + 1 - w), w * r * g / (w * r * g + 1 - w)
    return x_t * mp.log(th1 / th0) + x_c * mp.log((1 - th1) / (1 - th0))


def threshold(n: float, x: float, p0: float, g: float) -> Any:
    n, x, p0, g = map(mpf, (n, x, p0, g))
    p1 = odds_lifted(p0, g)
    return x * mp.log(p1 / p0) + (n - x) * mp.log((1 - p1) / (1 - p0))


def beta_above(a: Any, b: Any, p: Any) -> Any:
    """
    Return the log of the part above p of the beta integral: all of it less a series from below, or one from above.
    """
    if p > a / (a + b):
        return tail_of_beta(b, a, 1 - p)
    return mp.log(mp.beta(a, b) - mp.exp(tail_of_beta(a, b, p)))


def tail_of_beta(a: Any, b: Any, x: Any) -> Any:
    """
    Return the log of the part below x, as a series of positive terms (DLMF 8.17.8 with 15.2.1).
    """
    term, total, k = mpf(1), mpf(1), 0
    while term > total * mpf(10) ** -40:
        term *= x * (a + b + k) / (a + 1 + k)
        total += term
        k += 1
    return mp.log(total) + a * mp.log(x) + b * mp.log(1 - x) - mp.log(a)


def threshold_mixture(n: float, x: float, p0: float, a: float, b: float) -> Any:
    n, x, p0, a, b = map(mpf, (n, x, p0, a, b))
    likelihood = x * mp.log(p0) + (n - x) * mp.log(1 - p0)
    return beta_above(a + x, b + n - x, p0) - beta_above(a, b, p0) - likelihood


def ratings(
    levels_t: Sequence[float],
    levels_c: Sequence[float],
    count_t: Sequence[float],
    count_c: Sequence[float],
    m: float,
    drop: float,
    c: float,
) -> Any:
    n_t, n_c = mp.fsum(count_t), mp.fsum(count_c)
    w, m, drop = n_t / (n_t + n_c), mpf(m), mpf(drop)
    gmax = min(1 / (1 - m + drop), (1 - w) / (w * m))
    bet = c * gmax
    return mp.fsum(k * mp.log(1 + bet * (m - drop - y)) for y, k in zip(levels_t, count_t, strict=True)) + mp.fsum(
        k * mp.log(1 + bet * w / (1 - w) * (y - m)) for y, k in zip(levels_c, count_c, strict=True)
    )


def share(n_t: float, n_c: float, w0: Any, h: float) -> Any:
    w0 = mpf(w0)
    th = h * w0 / (h * w0 + 1 - w0)
    return n_t * mp.log(th / w0) + n_c * mp.log((1 - th) / (1 - w0))


def dirichlet(counts: Sequence[float], theta: Sequence[float], k: float) -> Any:
    a = [mpf(k) * t for t in theta]
    total, n = mp.fsum(a), mp.fsum(counts)
    prior = mp.loggamma(total) - mp.fsum(mp.loggamma(x) for x in a)
    posterior = mp.fsum(mp.loggamma(x + c) for x, c in zip(a, counts, strict=True)) - mp.loggamma(total + n)
    return prior + posterior - mp.fsum(c * mp.log(t) for c, t in zip(counts, theta, strict=True))


def account(log_e: Sequence[Sequence[float]], eta: Sequence[float], weights: Sequence[float]) -> list[Any]:
    """
    Log S after each block as the double sum over components and start blocks, each start's product from scratch.
    """
    answer = []
    for b in range(len(log_e)):
        terms = [
            mpf(weight) * mpf(eta[j]) * mp.exp(mp.fsum(block[k] for block in log_e[j : b + 1]))
            for k, weight in enumerate(weights)
            for j in range(b + 1)
        ]
        total = mp.fsum(terms)
        answer.append(mp.log(total) if total > 0 else mpf("-inf"))
    return answer


def close(got: Any, exact: Any, tolerance: float = 1e-9) -> bool:
    """
    Say whether they agree: relatively, absolutely below 1.
    """
    return bool(abs(mpf(float(got)) - exact) <= tolerance * max(1, abs(exact)))
