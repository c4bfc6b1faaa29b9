"""
Refuse bad input in words.

Every check names the argument, the value it got and the range that would have been right. The checks are
written so that a NaN fails them: a comparison with NaN is false.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

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


def spread(values: dict[str, Any]) -> list[Floats]:
    """
    Return the named values as float arrays of one common shape, or raise ValueError naming all shapes.
    """
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
    try:
        return list(np.broadcast_arrays(*arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"shapes do not fit together: {shapes}; they must broadcast") from None


def check_arms(arm: str, n: Floats, x: Floats) -> None:
    """
    `check_arm` for arrays of one shape; the error holds the first pair that is wrong.
    """
    right = (n >= 0.0) & (n <= COUNT_MAX) & (x >= 0.0) & (x <= n)
    if not right.all():
        check_arm(arm, float(n[~right][0]), float(x[~right][0]))


def check_all(name: str, values: Floats, check: Callable[[str, float], None], right: Bools) -> None:
    """
    Let ``check`` refuse the first of ``values`` that is not ``right``.
    """
    if not right.all():
        check(name, float(values[~right][0]))


def check_units(name: str, values: Floats) -> None:
    """
    `check_unit` for an array.
    """
    check_all(name, values, check_unit, (values >= 0.0) & (values <= 1.0))


def check_open_units(name: str, values: Floats) -> None:
    """
    `check_open_unit` for an array.
    """
    check_all(name, values, check_open_unit, (values > 0.0) & (values < 1.0))


def check_counts(name: str, values: Floats) -> None:
    """
    `check_count` for an array.
    """
    check_all(name, values, check_count, (values >= 0.0) & (values <= COUNT_MAX))


def check_margins(values: Floats) -> None:
    """
    `check_margin` for an array.
    """
    right = (values >= MARGIN_MIN) & (values <= MARGIN_MAX)
    check_all("margin", values, lambda _, value: check_margin(value), right)
