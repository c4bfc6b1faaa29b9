"""What a fold is given, what it counts, and the state to which it can go back."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import astuple

from guardian.names import Millis
from streams.folding.names import Settings
from streams.folding.sights import Sights
from streams.folding.waiting import Mark


@dataclass(frozen=True, slots=True)
class FoldConfig:
    """
    How one source is read and what it may remember.

    ``bare``: records may be flat JSON. ``duplicates_window``: events within
    which a repeat of (source, id) is found. ``units_max``: pairs (flag, unit)
    remembered. ``rows_max``: active flags up to which all go out each flush.
    ``unit_key``: what units are hashed with (``keyed.unit_key``), empty for their plain hashes.
    """

    bare: bool = False
    duplicates_window: int = 100_000
    future_tolerance_ms: int = 5_000
    units_max: int = 200_000
    rows_max: int = 400
    unit_key: bytes = b""


class Counts(msgspec.Struct):
    """
    Events of one source since it is read; ``future`` ones were clamped, all but the last four are in the sums.

    Those with too many flags, variations or services (``admission``) are in the sums of all else that they name.
    """

    exposures: int = 0
    outcomes: int = 0
    feedback: int = 0
    future: int = 0
    too_many_flags: int = 0
    too_many_variations: int = 0
    too_many_services: int = 0
    duplicates: int = 0
    skipped: int = 0
    unknown: int = 0
    dead: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(*map(operator.add, astuple(self), astuple(other)))

    def __sub__(self, earlier: Counts) -> Counts:
        """Return what came since."""
        return Counts(*map(operator.sub, astuple(self), astuple(earlier)))


@dataclass(frozen=True, slots=True)
class Savepoint:
    """A state of a fold to which it can go back; ``counts`` are those of that state, ``note`` belongs to its offset."""

    counts: Counts
    note: str
    position: int
    reached_ms: Millis
    settings: Settings
    sights: Sights
    waiting_mark: Mark
    sights_mark: Any
    repeats_mark: int
    planned_mark: Any
