"""
Event times of a batch to milliseconds, exactly.

Times of one layout are parsed together as a matrix of digits; all others go
through ``guardian.events.parse_time``, which alone decides what is valid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from guardian.events import parse_time

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SECONDS_LENGTH = 19
_DIGITS = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)
_PUNCTUATION = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"}
_FRACTION_DIGITS_MAX = 9
_SMALL = 16
"""Fewer times than this are parsed one by one: the matrix would cost more."""
_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def parse_times(values: Sequence[object]) -> tuple[Int64s, Bools]:
    """Return milliseconds since the epoch, and where a value is no valid time (0 there)."""
    count = len(values)
    times_ms = np.zeros(count, dtype=np.int64)
    wrong = np.zeros(count, dtype=np.bool_)
    groups = _layouts(values) if count >= _SMALL else None
    if groups is None:
        _one_by_one(values, range(count), times_ms, wrong)
        return times_ms, wrong
    for length, indices in groups.items():
        rest: Sequence[int] = indices
        if len(indices) >= _SMALL:
            rest = _matrix(values, length, indices, times_ms)
        _one_by_one(values, rest, times_ms, wrong)
    return times_ms, wrong


def _layouts(values: Sequence[object]) -> dict[int, Sequence[int]] | None:
    """Return the indices by length of text, or None if not all are texts."""
    try:
        lengths = list(map(len, values))  # type: ignore[arg-type]
    except TypeError:
        return None
    if lengths.count(lengths[0]) == len(lengths):
        return {lengths[0]: range(len(values))}
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(length, []).append(index)
    return dict(groups)


def _one_by_one(values: Sequence[object], indices: Sequence[int], times_ms: Int64s, wrong: Bools) -> None:
    for index in indices:
        try:
            times_ms[index] = parse_time(values[index])
        except ValueError:
            wrong[index] = True


def _matrix(values: Sequence[object], length: int, indices: Sequence[int], times_ms: Int64s) -> Sequence[int]:
    """Parse texts of one length that end like the first; return the indices that do not fit the layout."""
    texts: list[str] = list(values) if len(indices) == len(values) else [values[i] for i in indices]  # type: ignore[arg-type]
    suffix = "Z" if texts[0].endswith("Z") else "+00:00"
    fraction = length - len(suffix) - _SECONDS_LENGTH - 1
    if fraction == -1:
        fraction = 0
    elif not 1 <= fraction <= _FRACTION_DIGITS_MAX:
        return indices
    matrix = np.frombuffer("".join(texts).encode("ascii", "replace"), dtype=np.uint8).reshape(len(texts), length)
    parsed, fits = _parse_layout(matrix, fraction, suffix)
    where = np.asarray(indices)
    times_ms[where[fits]] = parsed[fits]
    return [] if fits.all() else where[~fits].tolist()


def _parse_layout(matrix: npt.NDArray[np.uint8], fraction: int, suffix: str) -> tuple[Int64s, Bools]:
    fraction_columns = tuple(range(20, 20 + fraction))
    fixed = _PUNCTUATION | ({_SECONDS_LENGTH: "."} if fraction else {})
    fixed = fixed | {matrix.shape[1] - len(suffix) + at: sign for at, sign in enumerate(suffix)}
    fits = (matrix[:, list(fixed)] == np.frombuffer("".join(fixed.values()).encode(), dtype=np.uint8)).all(axis=1)
    digits = matrix[:, [*_DIGITS, *fraction_columns]] - np.uint8(ord("0"))
    fits &= digits.max(axis=1) <= 9
    year, month, day, clock_ms = (digits.astype(np.float64) @ _weights(fraction)).astype(np.int64).T
    fits &= _exists(year, month, day, digits)
    return _days(year, month, day) * 86_400_000 + clock_ms, fits


def _weights(fraction: int) -> npt.NDArray[np.float64]:
    """Return what each digit counts in year, month, day and milliseconds of the day; exact in doubles."""
    weights = np.zeros((len(_DIGITS) + fraction, 4))
    weights[0:4, 0] = 1000, 100, 10, 1
    weights[4:6, 1] = weights[6:8, 2] = 10, 1
    weights[8:14, 3] = 36_000_000, 3_600_000, 600_000, 60_000, 10_000, 1_000
    weights[14:17, 3] = (100, 10, 1)[:fraction]
    return weights


def _exists(year: Int64s, month: Int64s, day: Int64s, digits: npt.NDArray[np.uint8]) -> Bools:
    hour, minute_tens, second_tens = digits[:, 8] * 10 + digits[:, 9], digits[:, 10], digits[:, 12]
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    month_days = _MONTH_DAYS[np.where(month <= 12, month, 0)] + (leap & (month == 2))
    in_month: Bools = (year >= 1970) & (day >= 1) & (day <= month_days)
    return in_month & (hour < 24) & (minute_tens < 6) & (second_tens < 6)


def _days(year: Int64s, month: Int64s, day: Int64s) -> Int64s:
    """Days since the epoch of a Gregorian date (Hinnant, "chrono-compatible low-level date algorithms")."""
    y = year - (month <= 2)
    era = y // 400
    year_of_era = y - era * 400
    day_of_year = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    days: Int64s = era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468
    return days
