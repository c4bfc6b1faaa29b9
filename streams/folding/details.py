"""
What outcomes tell beside how they ended: operation, service, error type and attributes, read once for all alike.

They repeat as settings do, so what an outcome tells is a number, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from guardian.plan import GRID, MEASURE, NPS, RATING, THUMB, Plan, position
from streams.folding.names import SETTINGS_BYTES_MAX, SETTINGS_MAX, WRONG
from streams.folding.wire import UNREADABLE

Floats = npt.NDArray[np.float64]

TEXT_MAX = 64
"""Longer values of attributes are cut."""
REPORT = "report"
SAID = (RATING, NPS, THUMB, REPORT)
"""Kinds of feedback; their numbers are their places."""
_SAID = {"rating": 0, "nps": 1, "thumb": 2, REPORT: 3}
_EXACT = 2**53
_OWN = ("operation", "service_name", "error_type")

_decode_attributes = msgspec.json.Decoder(dict[str, Any]).decode


class Detail(NamedTuple):
    """What an outcome tells; the values of attributes are those that it came with."""

    operation: str | None
    service_name: str | None
    error_type: str | None
    attributes: Mapping[str, Any]

    def attribute(self, name: str) -> str | None:
        """Return an attribute as text, or None if there is none or it is no text, number or truth value."""
        return text_of(self.attributes.get(name))

    def has(self, where: Sequence[tuple[str, str]]) -> bool:
        """Whether each field has its value; operation, service and error type are fields, others attributes."""
        return all(
            getattr(self, field) == value if field in _OWN else self.attribute(field) == value[:TEXT_MAX]
            for field, value in where
        )


def text_of(value: Any) -> str | None:
    """Return the text of a scalar, of 64 characters at most: ``true``, ``3`` for 3.0; None for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    return str(value)[:TEXT_MAX] if isinstance(value, str | int | float) else None


class Details:
    """
    What outcomes told, numbered; a number is given once and never again, so it may be remembered beside others.

    ``measures`` are the names of measures that some plan wants, ``wanted`` says whether any of this is to be read.
    """

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self.wanted = any(plan.of_outcomes for plan in plans.values())
        self.measures = frozenset(
            name.removeprefix(MEASURE) for plan in plans.values() for name in plan.scores if name.startswith(MEASURE)
        )
        self._numbers: dict[Any, int] = {}
        self._details: dict[int, Detail] = {}
        self._next = 0
        self._bytes = 0

    def __getitem__(self, number: int) -> Detail:
        return self._details[number]

    def make_room(self) -> None:
        """Forget what was told if that is much; numbers of earlier batches mean nothing then."""
        if len(self._numbers) > SETTINGS_MAX or self._bytes > SETTINGS_BYTES_MAX:
            self._numbers, self._details, self._bytes = {}, {}, 0

    def numbers(self, data: Sequence[Any], attributes: Sequence[bytes]) -> list[int]:
        """Return the number of what each outcome tells, or WRONG where its attributes are no object."""
        keys = [
            (d.operation, d.service_name, d.error_type if d.error_type is not None else d.dotted_error, raw)
            for d, raw in zip(data, attributes, strict=True)
        ]
        return [self._number(key) if n is None else n for key, n in zip(keys, map(self._numbers.get, keys), strict=True)]

    def _number(self, key: tuple[str | None, str | None, str | None, bytes]) -> int:
        # It may have been met since its batch was looked up.
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._read(*key)
            self._bytes += sum(len(part) for part in key if part)
        return number

    def _read(self, operation: str | None, service: str | None, error_type: str | None, raw: bytes) -> int:
        try:
            attributes = {} if raw in {b"", b"null"} else _decode_attributes(raw)
        except UNREADABLE:
            return WRONG
        number, self._next = self._next, self._next + 1
        self._details[number] = Detail(operation, service, error_type, attributes)
        return number

    def measured(self, data: Sequence[Any]) -> dict[str, Floats]:
        """Return by name what outcomes measured, NaN for nothing; of what is wanted, and there at all."""
        given = [d.measures for d in data]
        there = self.measures.intersection(name for measures in given if measures for name in measures)
        return {
            name: np.array([None if measures is None else measures.get(name) for measures in given], dtype=np.float64)
            for name in there
        }


def said(data: Any) -> tuple[int, int] | None:
    """
    Return the number of a feedback's kind and the position of its score, or None where the two do not go together.

    The same is right as in ``guardian.events.Feedback``; for a report the position is 0.
    """
    if data.kind is None:
        return None
    number = _SAID[data.kind]
    if data.kind == REPORT:
        return number, 0
    low, high = data.scale if data.kind == "rating" and data.scale is not None else _BOUNDS[number]
    score = data.score
    if low >= high or score is None or not low <= score <= high or (data.kind == "thumb" and score not in {0, 1}):
        return None
    return number, position(score, low, high)


_BOUNDS = ((1.0, 5.0), (0.0, 10.0), (0.0, 1.0))


def positions(score: Floats, low: Floats, high: Floats) -> npt.NDArray[np.int64]:
    """Return where each score lies in its range: ``guardian.plan.position`` of each."""
    part = (np.minimum(np.maximum(score, low), high) - low) / (high - low) * GRID
    step = np.rint(part)
    found: npt.NDArray[np.int64] = np.where(np.abs(part - step) < 1e-6, 2 * step, 2 * np.floor(part) + 1).astype(np.int64)
    return found
