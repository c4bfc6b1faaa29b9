"""
How many samples a test needs, at best.

For planning a stage ("will one percent for ten minutes notice a doubling?") and for holding the tests to it.
"""

from __future__ import annotations

import math

from guardian.sequential.checks import check_margin, check_open_unit, check_unit
from guardian.sequential.projection import FLOATS, ratio_fall

_REST_MIN = 2.0**-60


def information(p_t: float, p_c: float, share: float, margin: float = 1.0) -> float:
    """
    Return the nats of evidence that one treatment sample brings on average, control's samples included.

        I = [ w KL(p_t || r q) + (1-w) KL(p_c || q) ] / w

    with q the projection of the true rates on the boundary and w treatment's ``share`` of the samples. Small
    shares approach ``KL(p_t || r p_c)``; at one half it is about half of that. 0 where the rates satisfy the
    null ``p_t <= margin p_c``, and where a margin above 1 leaves nothing above it.

    Raises ValueError for rates outside [0, 1], a share outside (0, 1) or a margin outside [1e-6, 1e6].
    """
    check_unit("p_t", p_t)
    check_unit("p_c", p_c)
    check_open_unit("share", share)
    check_margin(margin)
    gap = math.fsum((p_t, -margin * p_c))
    if gap <= 0.0:
        return 0.0
    w, v, rest = share, 1.0 - share, max(1.0 - p_t, _REST_MIN)
    phi = ratio_fall(v, w * (margin - 1.0) / (gap + rest), gap / rest, FLOATS.sqrt, FLOATS.choose)
    fall, rise = rest * phi, w * (1.0 - p_c) * phi / (v + phi)
    treatment = p_t * math.log1p(fall / (margin * (p_c + rise))) - (1.0 - p_t) * math.log1p(phi)
    control = (1.0 - p_c) * math.log1p((w / v) * phi / (1.0 + phi))
    if p_c > 0.0:
        control -= p_c * math.log1p(rise / p_c)
    return max(0.0, treatment + v / w * control)


def samples_bound(alpha: float, p_t: float, p_c: float, share: float, margin: float = 1.0) -> float:
    """
    Return ``log(1/alpha) / information``: no test of level ``alpha`` that always finds the harm needs fewer.

    In expected treatment samples. The tests here need 1.1 to 1.3 times as many for effects from 1.5x to 5x at
    ``alpha = 1e-4``. Raises ValueError where the rates satisfy the null, for there is nothing to find.
    """
    check_open_unit("alpha", alpha)
    nats = information(p_t, p_c, share, margin)
    if nats <= 0.0:
        raise ValueError(
            f"p_t is {p_t!r} and p_c is {p_c!r}: there is harm to find only where p_t exceeds {margin!r} p_c"
        )
    return -math.log(alpha) / nats
