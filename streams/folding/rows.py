"""What outcomes and feedback add to the columns that only some flags have: bounds that are passed, and scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from guardian.plan import GRID, NAMELESS
from guardian.summaries import Arm
from streams.codecs import FEEDBACK
from streams.folding.chunk import COUNTED, REPORTED, TIMED, Chunk, Pairs
from streams.folding.columns import Batch
from streams.folding.details import positions
from streams.folding.names import Names
from streams.folding.wanted import Wanted

Int64s = npt.NDArray[np.int64]
Rows = tuple[Int64s, Int64s, Int64s]
"""Pair, column and place of each."""

_PLACES = 2 * GRID + 1


def with_rows(pairs: Pairs, batch: Batch, wanted: Wanted) -> Pairs:
    """Return the pairs with their rows; ``marks`` say what counts."""
    if not (len(wanted.bounds) or len(wanted.ranges) or (batch.said >= 0).any()):
        return pairs
    flag = wanted.names.flag_of_arm[pairs.arm]
    found = _over(pairs, batch, wanted, flag), _measured(pairs, batch, wanted, flag), _said(pairs, batch, wanted)
    pair, column, place = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return replace(pairs, pair=pair, column=column, place=place)


def _over(pairs: Pairs, batch: Batch, wanted: Wanted, flag: Int64s) -> Rows:
    timed = np.flatnonzero(pairs.marks & TIMED)
    owner, entry = wanted.bounds.of(flag[timed])
    bound_us, column = wanted.bound(entry)
    over = batch.latency_ms[pairs.event[timed[owner]]] * 1000.0 > bound_us
    return timed[owner][over], column[over], np.zeros(int(over.sum()), dtype=np.int64)


def _measured(pairs: Pairs, batch: Batch, wanted: Wanted, flag: Int64s) -> Rows:
    there = [name for name in batch.measures if name in wanted.measures]
    counted = np.flatnonzero(pairs.marks & COUNTED) if there else np.zeros(0, dtype=np.int64)
    owner, entry = wanted.ranges.of(flag[counted])
    if not entry.size:
        return entry, entry, entry
    values = np.vstack([batch.measures[name] for name in there] + [np.full(len(batch), np.nan)])
    row = np.full(len(wanted.measures), len(there))
    row[[wanted.measures[name] for name in there]] = np.arange(len(there))
    value = values[row[wanted.measure(entry)], pairs.event[counted[owner]]]
    some = ~np.isnan(value)
    low, high, column = wanted.range(entry[some])
    return counted[owner][some], column, positions(value[some], low, high)


def _said(pairs: Pairs, batch: Batch, wanted: Wanted) -> Rows:
    pair = np.flatnonzero((batch.kind[pairs.event] == FEEDBACK) & (pairs.marks & REPORTED == 0))
    event = pairs.event[pair]
    return pair, wanted.said_column[batch.said[event]], batch.score[event]


def add_rows(chunk: Chunk, group: Int64s, names: Names, arms: list[Arm]) -> None:
    """Add the rows of a chunk to the arms of their pairs' groups; ``group`` is that of each pair."""
    if not chunk.pair.size:
        return
    event = chunk.event[chunk.pair]
    unit, weight = chunk.unit[event], chunk.weight[event].astype(np.float64)
    # A column of a group, once with and once without units.
    cell = (group[chunk.pair] * len(names.columns) + chunk.column) * 2 + (unit == 0)
    is_score = np.array([isinstance(name, str) for name in names.columns])
    weight /= np.where(is_score[chunk.column], _times(cell, unit), 1)
    touched = set()
    for at, place, count in _counts(cell * _PLACES + chunk.place, weight):
        where, is_nameless = divmod(at, 2)
        number, column = divmod(where, len(names.columns))
        arm, name = arms[number], names.columns[column]
        touched.add(number)
        if isinstance(name, int):
            arm.over[name] = arm.over.get(name, 0) + round(count)
        else:
            arm.scores.setdefault(name + NAMELESS * is_nameless, {})[place] = count
    for number in touched:
        arms[number].over = dict(sorted(arms[number].over.items()))
        arms[number].scores = dict(sorted(arms[number].scores.items()))


def _times(cell: Int64s, unit: Int64s) -> Int64s:
    """Return how often the unit of each row is in its cell; 1 where there is none."""
    order = np.lexsort((unit, cell))
    cell, unit = cell[order], unit[order]
    begins = np.concatenate(([True], (cell[1:] != cell[:-1]) | (unit[1:] != unit[:-1])))
    run = np.cumsum(begins) - 1
    times = np.ones(order.size, dtype=np.int64)
    times[order] = np.where(unit == 0, 1, np.bincount(run)[run])
    return times


def _counts(key: Int64s, weight: npt.NDArray[np.float64]) -> Iterator[tuple[int, int, float]]:
    """Yield cell, place and sum of the weights of each key."""
    keys, which = np.unique(key, return_inverse=True)
    counts = np.bincount(which, weights=weight)
    yield from zip((keys // _PLACES).tolist(), (keys % _PLACES).tolist(), counts.tolist(), strict=True)
