"""
Refuse bad input in words.

Every check names the argument, the value it got and the range that would have been right. The checks are
written so that a NaN fails them: a comparison with NaN is false.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Above this, a float no longer tells neighbouring integers apart, so a count would not be a count.
COUNT_MAX = 2.0**53

#: An arm smaller than this holds no information worth a division: its block is worth exactly 1.
ARM_MIN = 1e-9

MARGIN_MIN, MARGIN_MAX = 1e-6, 1e6


def check_arm(arm: str, n: float, x: float) -> None:
    """
    Raise ValueError unless ``0 <= x <= n <= 2**53`` (``x`` events among ``n`` units of one arm).
    """
    if not 0.0 <= n <= COUNT_MAX:
        raise ValueError(f"n_{arm} is {n!r}: the size of an arm must be a number from 0 to 2**53")
    if not 0.0 <= x <= n:
        raise ValueError(f"x_{arm} is {x!r}: it must be a number from 0 to n_{arm}, which is {n!r}")


def check_count(name: str, value: float) -> None:
    """
    Raise ValueError unless ``0 <= value <= 2**53``.
    """
    if not 0.0 <= value <= COUNT_MAX:
        raise ValueError(f"{name} is {value!r}: a count must be a number from 0 to 2**53")


def check_unit(name: str, value: float) -> None:
    """
    Raise ValueError unless ``0 <= value <= 1``.
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value!r}: it must be a number from 0 to 1")


def check_open_unit(name: str, value: float) -> None:
    """
    Raise ValueError unless ``0 < value < 1``.
    """
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} is {value!r}: it must be a number above 0 and below 1")


def check_margin(value: float) -> None:
    """
    Raise ValueError unless the relative margin lies in ``[1e-6, 1e6]``.
    """
    if not MARGIN_MIN <= value <= MARGIN_MAX:
        raise ValueError(
            f"margin is {value!r}: it is a ratio of rates (1.0 tolerates no harm, 1.2 tolerates 20 % more) "
            f"and must lie in [{MARGIN_MIN}, {MARGIN_MAX}]"
        )


def check_positive(name: str, value: float) -> None:
    """
    Raise ValueError unless ``value`` is finite and above 0.
    """
    if not (value > 0.0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}: it must be a finite number above 0")


def as_floats(name: str, values: Any) -> Floats:
    """
    Return ``values`` as a flat float array of at least one number, none of them NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: it must be a flat list of at least one number")
    if np.isnan(array).any():
        raise ValueError(f"{name} holds NaN at position {int(np.isnan(array).argmax())}: numbers are needed")
    return array
