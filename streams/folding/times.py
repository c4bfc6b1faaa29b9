"""
Event times of a batch to milliseconds, exactly.

Times of one layout are parsed together as a matrix of digits; all others go
through ``guardian.events.parse_time``, which alone decides what is valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from guardian.events import parse_time

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_DATE_LENGTH = 11
_SECONDS_LENGTH = 19
_CLOCK = (11, 12, 14, 15, 17, 18)
_CLOCK_MAX = (23, 59, 59)
_COLONS = (13, 16)
_FRACTION_DIGITS_MAX = 9
_SMALL = 16
"""Fewer times than this are parsed one by one: the matrix would cost more."""
_NO_TEXT = -1
_DATES_MAX = 8
"""Dates in a batch that are worth a matrix each."""


def parse_times(values: Sequence[object]) -> tuple[Int64s, Bools]:
    """Return milliseconds since the epoch, and where a value is no valid time (0 there)."""
    count = len(values)
    times_ms = np.zeros(count, dtype=np.int64)
    wrong = np.zeros(count, dtype=np.bool_)
    if count < _SMALL:
        _one_by_one(values, range(count), times_ms, wrong)
        return times_ms, wrong
    groups = _layouts(values)
    for length, indices in groups.items():
        rest: Sequence[int] = indices
        if length == _NO_TEXT:
            _one_by_one(values, rest, times_ms, wrong)
            continue
        for _ in range(_DATES_MAX):
            if len(rest) >= _SMALL:
                rest = _matrix(values, length, rest, times_ms)
        _one_by_one(values, rest, times_ms, wrong)
    return times_ms, wrong


def _layouts(values: Sequence[object]) -> dict[int, Sequence[int]]:
    """Return the indices by length of text, those of what is none under ``_NO_TEXT``."""
    try:
        lengths = list(map(len, values))  # type: ignore[arg-type]
    except TypeError:
        lengths = [len(value) if type(value) is str else _NO_TEXT for value in values]
    if lengths.count(lengths[0]) == len(lengths):
        return {lengths[0]: range(len(values))}
    each = np.array(lengths)
    found, counts = np.unique(each, return_counts=True)
    usual = int(found[counts.argmax()])
    groups: dict[int, list[int]] = {usual: np.flatnonzero(each == usual).tolist()}
    for index in np.flatnonzero(each != usual).tolist():
        groups.setdefault(lengths[index], []).append(index)
    return dict(groups)


def _one_by_one(values: Sequence[object], indices: Sequence[int], times_ms: Int64s, wrong: Bools) -> None:
    for index in indices:
        try:
            times_ms[index] = parse_time(values[index])
        except ValueError:
            wrong[index] = True


def _matrix(values: Sequence[object], length: int, indices: Sequence[int], times_ms: Int64s) -> Sequence[int]:
    """Parse those texts of one length that have the date and the suffix of the first; return the other indices."""
    chosen = values if len(indices) == len(values) else [values[index] for index in indices]
    texts = cast("list[str]", list(chosen))
    suffix = "Z" if texts[0].endswith("Z") else "+00:00"
    fraction = max(length - len(suffix) - _SECONDS_LENGTH - 1, 0)
    if length != _SECONDS_LENGTH + len(suffix) + (fraction + 1 if fraction else 0) or fraction > _FRACTION_DIGITS_MAX:
        return indices
    try:
        day_ms = parse_time(f"{texts[0][:_DATE_LENGTH]}00:00:00Z")
    except ValueError:
        return indices
    rows = np.frombuffer("".join(texts).encode("ascii", "replace"), dtype=np.uint8).reshape(len(texts), length)
    clock_ms, fits = _clock(np.ascontiguousarray(rows.T), fraction, suffix)
    if fits.all() and len(texts) == len(values):
        times_ms[:] = clock_ms + day_ms
        return []
    where = np.asarray(indices)
    times_ms[where[fits]] = clock_ms[fits] + day_ms
    # The first one at least is done, or is left to the one by one.
    rest: list[int] = where[~fits].tolist()
    return rest


def _clock(columns: npt.NDArray[np.uint8], fraction: int, suffix: str) -> tuple[Int64s, Bools]:
    """Return the milliseconds of the day of each time, and whether it has the layout and the date of the first."""
    date, end = columns[:_DATE_LENGTH], columns[-len(suffix) :]
    fits: Bools = (date == date[:, :1]).all(axis=0)
    fits &= (columns[_COLONS, :] == ord(":")).all(axis=0)
    fits &= (end == np.frombuffer(suffix.encode(), dtype=np.uint8)[:, None]).all(axis=0)
    if fraction:
        fits &= columns[_SECONDS_LENGTH] == ord(".")
    zero = np.uint8(ord("0"))
    digits = columns[_CLOCK, :] - zero
    parts = columns[_SECONDS_LENGTH + 1 : _SECONDS_LENGTH + 1 + fraction] - zero
    fits &= (digits <= 9).all(axis=0) & (parts <= 9).all(axis=0)
    hour, minute, second = digits[0::2] * np.uint8(10) + digits[1::2]
    for part, most in zip((hour, minute, second), _CLOCK_MAX, strict=True):
        fits &= part <= most
    clock_ms = (hour * np.int64(60) + minute) * 60_000 + second * np.int64(1000)
    for part, weight in zip(parts[:3], (100, 10, 1), strict=False):
        clock_ms += part * np.int64(weight)
    return clock_ms, fits
