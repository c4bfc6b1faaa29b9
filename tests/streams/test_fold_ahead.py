"""Promises of a fold that takes the events of many flushes together: it gives what it would have given one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.summaries import FlagSums
from streams.codecs import EXPOSURE, FEEDBACK, Event, Line
from streams.fold import Fold, FoldConfig
from streams.folding import names as names_module
from streams.folding import planned
from streams.folding.cadence import CYCLE
from tests.streams.test_fold import events
from tests.streams.test_fold_plans import COLD, CROWDED, EVERYTHING, PLANS, crowd
from tests.support.events import NOON_MS

KINDS = ("exposure", "outcome", "feedback")


def written(event: Event) -> Line:
    """Return the event in its bare form."""
    fields: dict[str, Any] = {
        "type": KINDS[event.kind], "time": event.time_ms, "sampledrate": event.weight,
        **{name: getattr(event, name) for name in ("id", "source", "environment", "context_id", "service_name")},
    }  # fmt: skip
    if event.kind == EXPOSURE:
        ((fields["flag_key"], fields["variant"]),) = event.flags.items()
    elif event.kind == FEEDBACK:
        fields |= {"flags": event.flags, "kind": event.said}
        fields |= {name: value for name in ("score", "scale") if (value := getattr(event, name)) is not None}
    else:
        told = ("latency_ms", "operation", "error_type", "attributes", "measures")
        fields |= {"flags": event.flags, "outcome": "error" if event.error else "ok"}
        fields |= {name: getattr(event, name) for name in told}
    return Line(msgspec.json.encode(fields))


def planned_fold(config: FoldConfig) -> Fold:
    fold = Fold("t/0", config)
    fold.plans = PLANS
    return fold


def one_by_one(fold: Fold, flushes: Sequence[Sequence[Line]]) -> list[list[FlagSums]]:
    """Take the events of each flush right before it, those of the n-th arriving n milliseconds after noon."""
    found = []
    for number, records in enumerate(flushes):
        fold.take_batch(fold.decode(records), NOON_MS + number)
        found.append(fold.flush())
    return found


def ahead(fold: Fold, flushes: Sequence[Sequence[Line]], many: int) -> list[list[FlagSums]]:
    """Take the events of so many flushes at a time."""
    found = []
    for start in range(0, len(flushes), many):
        together = flushes[start : start + many]
        batch = fold.decode(list(chain.from_iterable(together)))
        flush = np.repeat(np.arange(len(together)), [len(records) for records in together])[batch.at]
        fold.take_ahead(batch, NOON_MS + start + flush, flush)
        found += [fold.flush() for _ in together]
    return found


def encoded(found: list[list[FlagSums]]) -> list[bytes]:
    return [msgspec.json.encode(flags) for flags in found]


@given(
    st.lists(st.lists(events(), max_size=12), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 30), st.integers(2, 30)
)
@settings(max_examples=100, deadline=None)
def test_every_flush_is_the_same(given_events: list[list[Event]], many: int, window: int, units: int):
    """
    Each flush is byte for byte that of a fold which takes its events just before it, and so are the counts: with every
    kind of sum, flushes without events, and memories so small that they forget.
    """
    flushes = [[written(event) for event in part] for part in given_events]
    plain, together = (planned_fold(FoldConfig(bare=True, duplicates_window=window, units_max=units)) for _ in range(2))

    assert encoded(one_by_one(plain, flushes)) == encoded(ahead(together, flushes, many))
    assert plain.counts == together.counts
    assert together.is_empty


def test_sums_that_are_held_back_go_out_when_they_would(dice: random.Random):
    """
    Among very many flags those with few events go out in the same flushes, with the same sums.
    """
    flushes = crowd(dice, 3 * CYCLE)
    plain, together = Fold("t/0", CROWDED), Fold("t/0", CROWDED)
    for fold in (plain, together):
        fold.plans = {f"production|{name}": EVERYTHING for name in ("hot", "middling", *COLD)}
    found = one_by_one(plain, flushes)

    assert {200, 1_000, 5_000} == {tick.length_ms for flags in found for flag in flags for tick in flag.ticks}
    assert encoded(found) == encoded(ahead(together, flushes, 7))


def test_fewer_fresh_units_are_told_from_the_same_flush_on(dice: random.Random, monkeypatch: pytest.MonkeyPatch):
    """
    Where a flush holds many fresh units, the next one tells fewer, though both were taken together.
    """
    monkeypatch.setattr(planned, "FRESH_MAX", 8)
    shown = {"kind": EXPOSURE, "time_ms": NOON_MS, "environment": "production", "flags": {"a": "t"}, "source": "/a"}
    units = [[f"u-{dice.random()}" for _ in range(30)] for _ in range(6)]
    flushes = [[written(Event(**shown, id=unit, context_id=unit)) for unit in part] for part in units]  # type: ignore[arg-type]
    plain, together = (planned_fold(FoldConfig(bare=True)) for _ in range(2))
    found = ahead(together, flushes, len(flushes))

    assert encoded(one_by_one(plain, flushes)) == encoded(found)
    assert 0 < max(arm.fresh_shift for flags in found for flag in flags for tick in flag.ticks for arm in tick.arms.values())


def test_names_are_forgotten_only_when_nothing_waits(monkeypatch: pytest.MonkeyPatch):
    """
    With more names than are kept, events that wait for later flushes still count for their own flags.
    """
    monkeypatch.setattr(names_module, "NAMES_MAX", 0)
    shown = {"kind": EXPOSURE, "time_ms": NOON_MS, "environment": "production", "source": "/a"}
    flushes = [[written(Event(**shown, flags={flag: "t"}, id=flag))] for flag in "abcde"]  # type: ignore[arg-type]
    fold = planned_fold(FoldConfig(bare=True))
    batch = fold.decode(list(chain.from_iterable(flushes)))
    fold.take_ahead(batch, NOON_MS, np.arange(5))
    keys = []
    for _ in flushes:
        assert not fold.is_empty
        keys += [flag.key for flag in fold.flush()]

    assert [f"production|{flag}" for flag in "abcde"] == keys
    assert fold.is_empty
