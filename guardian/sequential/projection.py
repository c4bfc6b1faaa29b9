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


class Arithmetic(NamedTuple):
    """
    One formula, two arithmetics: a block a time runs on floats, many streams a time on arrays.
    """

    sqrt: Callable[[Any], Any]
    log: Callable[[Any], Any]
    log1p: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    least: Callable[[Any, Any], Any]
    most: Callable[[Any, Any], Any]
    choose: Callable[[Any, Any, Any], Any]
    any: Callable[[Any], bool]


FLOATS = Arithmetic(
    sqrt=math.sqrt,
    log=math.log,
    log1p=math.log1p,
    exp=math.exp,
    least=min,
    most=max,
    choose=lambda condition, yes, no: yes if condition else no,
    any=bool,
)
ARRAYS = Arithmetic(
    sqrt=np.sqrt,
    log=np.log,
    log1p=np.log1p,
    exp=np.exp,
    least=np.minimum,
    most=np.maximum,
    choose=np.where,
    any=lambda condition: bool(condition.any()),
)


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
    margin: Any,
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
    sqrt, log1p, choose = on.sqrt, on.log1p, on.choose
    w, v = n_t / (n_t + n_c), n_c / (n_t + n_c)
    ok_t, ok_c, odds = n_t - x_t, n_c - x_c, n_t / n_c
    boundary = margin * theta_c
    none = isinstance(margin, float) and margin == 1.0
    steep = w * (margin - 1.0) / room
    scale = w * (1.0 - theta_c) / theta_c
    answer = []
    for g in grid:
        z = (g - 1.0) * boundary
        phi = v * z if none else ratio_fall(v, steep, z, sqrt, choose)
        lift = scale * phi / (v + phi)
        answer.append(
            (x_t * log1p(room * phi / ((1.0 + z) * (boundary * (1.0 + lift)))) - ok_t * log1p(phi))
            + (ok_c * log1p(odds * phi / (1.0 + phi)) - x_c * log1p(lift))
        )
    return answer
