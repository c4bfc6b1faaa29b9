"""
Pairs of a flush to sums per flag, tick and arm.

One pass over arrays per kind of sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guardian.summaries import TICK_MS, Arm, FlagSums, Tick
from streams.codecs import OUTCOME
from streams.folding.buckets import delay_buckets, latency_buckets
from streams.folding.chunk import BUCKETED, FRESH, REPORTED, TIMED, Chunk
from streams.folding.company import add_company
from streams.folding.counting import counted, is_dense, totals
from streams.folding.names import Names, ServedBy
from streams.folding.rows import add_rows

Int64s = npt.NDArray[np.int64]



@dataclass(slots=True)
class _Groups:
    """The distinct (arm, tick) of a chunk, and the group of each pair."""

    arm: Int64s
    tick: Int64s
    of_pair: Int64s

    def __len__(self) -> int:
        return self.arm.size


def sums(chunk: Chunk, names: Names, ticks_of_flag: Int64s | None, fresh_shifts: Int64s) -> list[FlagSums]:
    """
    Return the sums of a chunk, sorted by flag key, tick and variation.

    ``ticks_of_flag`` says, by the flag's number, how many ticks are summed
    into one; all ones if it is None. ``fresh_shifts`` says, by the flag's
    number, which fresh units are in the chunk.
    """
    if not chunk.pairs:
        return []
    tick = chunk.tick[chunk.event]
    if ticks_of_flag is not None:
        length = ticks_of_flag[names.flag_of_arm[chunk.arm]]
        tick -= tick % length
    groups = _group(chunk.arm, tick)
    found = _arms(chunk, groups)
    if chunk.marks.any():
        _add_marked(chunk, groups, found, fresh_shifts[names.flag_of_arm[groups.arm]])
    add_rows(chunk, groups.of_pair, names, found)
    flags: dict[str, FlagSums] = {}
    ticks: dict[tuple[int, int], Tick] = {}
    of_group: list[Tick] = []
    flag_of_arm = names.flag_of_arm[groups.arm].tolist()
    for flag, start, arm, made in zip(flag_of_arm, groups.tick.tolist(), groups.arm.tolist(), found, strict=True):
        at = ticks.get((flag, start))
        if at is None:
            many = 1 if ticks_of_flag is None else int(ticks_of_flag[flag])
            at = ticks[flag, start] = Tick(start_ms=start * TICK_MS, length_ms=many * TICK_MS, arms={})
            key = names.flag_keys[flag]
            flags.setdefault(key, FlagSums(key=key, ticks=[], delays={}, mixed=[], cohort=[])).ticks.append(at)
        of_group.append(at)
        segment = names.segments[arm]
        if isinstance(segment, ServedBy):
            shown = at.served.setdefault(segment.service, {}).setdefault(names.variations[arm], {})
            shown[segment.version] = made.exposures, made.outcomes
            continue
        arms = at.segments.setdefault(segment, {}) if segment else at.arms
        arms[names.variations[arm]] = made
    add_company(chunk, groups.of_pair, groups.arm, names, of_group)
    _add_delays(chunk, names, flags)
    return [_sorted(flags[key]) for key in sorted(flags)]


def _sorted(flag: FlagSums) -> FlagSums:
    flag.ticks.sort(key=_start_ms)
    for tick in flag.ticks:
        if len(tick.arms) > 1:
            tick.arms = dict(sorted(tick.arms.items()))
        if tick.segments:
            tick.segments = {name: dict(sorted(arms.items())) for name, arms in sorted(tick.segments.items())}
        if tick.company:
            tick.company = {
                name: {own: dict(sorted(met.items())) for own, met in sorted(rows.items())}
                for name, rows in sorted(tick.company.items())
            }
        if tick.served:
            tick.served = {
                name: {own: dict(sorted(versions.items())) for own, versions in sorted(shown.items())}
                for name, shown in sorted(tick.served.items())
            }
    flag.delays = dict(sorted(flag.delays.items()))
    return flag


def _start_ms(tick: Tick) -> int:
    return tick.start_ms


def _group(arm: Int64s, tick: Int64s) -> _Groups:
    first, span = int(tick.min()), int(tick.max() - tick.min()) + 1
    cells = (int(arm.max()) + 1) * span
    if is_dense(cells, arm.size):
        cell = arm * span + (tick - first)
        there = np.bincount(cell, minlength=cells) > 0
        number = np.cumsum(there) - 1
        distinct = np.flatnonzero(there)
        return _Groups(distinct // span, distinct % span + first, number[cell])
    order = np.lexsort((tick, arm))
    arm, tick = arm[order], tick[order]
    begins = np.concatenate(([True], (arm[1:] != arm[:-1]) | (tick[1:] != tick[:-1])))
    of_pair = np.empty(order.size, dtype=np.int64)
    of_pair[order] = np.cumsum(begins) - 1
    return _Groups(arm[begins], tick[begins], of_pair)


_NAMED_ERROR, _NAMELESS_ERROR, _CODES = 3, 4, 5
"""Beside the kinds of events (exposure, outcome, feedback), two codes for outcomes that failed."""


def _arms(chunk: Chunk, groups: _Groups) -> list[Arm]:
    """Return the sums of each group that no plan has to want."""
    code = np.where(chunk.error, np.where(chunk.unit == 0, _NAMELESS_ERROR, _NAMED_ERROR), chunk.kind)[chunk.event]
    counts = totals(groups.of_pair * _CODES + code, chunk.weight_of(slice(None)), len(groups) * _CODES).reshape(-1, _CODES)
    arms = [
        Arm(exposures=shown, outcomes=ok + named + nameless, errors=named + nameless, anonymous=nameless, units=[], latency={})
        for shown, ok, _, named, nameless in counts.tolist()
    ]
    failed = np.flatnonzero(code >= _NAMED_ERROR)
    for group, units in _units(groups.of_pair[failed], chunk.unit[chunk.event[failed]]):
        arms[group].units = units
    return arms


def _add_marked(chunk: Chunk, groups: _Groups, arms: list[Arm], fresh_shift: Int64s) -> None:
    """Add what the marks of pairs say; ``fresh_shift`` is that of each group."""
    timed = np.flatnonzero(chunk.marks & TIMED)
    if timed.size:
        _add_latencies(chunk, groups, arms, timed)
    reported = np.flatnonzero(chunk.marks & REPORTED)
    unit = chunk.unit[chunk.event[reported]]
    nameless = reported[unit == 0]
    for group, number in _totals(groups, nameless, chunk):
        arms[group].reports = number
    for group, units in _units(groups.of_pair[reported], unit):
        arms[group].reporters = units
    fresh = np.flatnonzero(chunk.marks & FRESH)
    for group, units in _units(groups.of_pair[fresh], chunk.unit[chunk.event[fresh]]):
        arms[group].fresh, arms[group].fresh_shift = units, int(fresh_shift[group])


def _totals(groups: _Groups, pairs: Int64s, chunk: Chunk) -> Iterator[tuple[int, int]]:
    """Yield the weight of these pairs in each group that has any."""
    total = totals(groups.of_pair[pairs], chunk.weight_of(pairs), 0)
    there = np.flatnonzero(total)
    yield from zip(there.tolist(), total[there].tolist(), strict=True)


def _add_latencies(chunk: Chunk, groups: _Groups, arms: list[Arm], timed: Int64s) -> None:
    for group, number in _totals(groups, timed, chunk):
        arms[group].timed = number
    pairs = timed[chunk.marks[timed] & BUCKETED != 0]
    if not pairs.size:
        return
    event = chunk.event[pairs]
    needed = np.zeros(chunk.tick.size, dtype=np.bool_)
    needed[event] = True
    bucket = np.zeros(chunk.tick.size, dtype=np.int64)
    bucket[needed] = latency_buckets(chunk.latency_ms[needed])
    for group, buckets in _histograms(groups.of_pair[pairs], len(groups), bucket[event], chunk.weight_of(pairs)):
        arms[group].latency = buckets


def _add_delays(chunk: Chunk, names: Names, flags: dict[str, FlagSums]) -> None:
    pairs = np.flatnonzero((chunk.kind == OUTCOME)[chunk.event] & ~names.is_part[chunk.arm])
    event, arm = chunk.event[pairs], chunk.arm[pairs]
    bucket = delay_buckets(chunk.delay_ms)
    for number, buckets in _histograms(arm, len(names), bucket[event], chunk.weight_of(pairs)):
        key = names.flag_keys[int(names.flag_of_arm[number])]
        flags[key].delays[names.variations[number]] = buckets


def _histograms(
    group: Int64s, groups: int, bucket: Int64s, weight: Int64s | None
) -> Iterator[tuple[int, dict[int, int]]]:
    """Yield the sparse histogram of each group that has one, in the order of groups."""
    if not group.size:
        return
    lowest, span = int(bucket.min()), int(bucket.max() - bucket.min()) + 1
    cells, counts = counted(group * span + (bucket - lowest), weight, groups * span)
    owner, buckets, numbers = cells // span, (cells % span + lowest).tolist(), counts.tolist()
    for begin, end in _runs(owner):
        yield int(owner[begin]), dict(zip(buckets[begin:end], numbers[begin:end], strict=True))


def _units(group: Int64s, unit: Int64s) -> Iterator[tuple[int, list[int]]]:
    """Yield the distinct units of each group that has any, sorted."""
    named = unit != 0
    group, unit = group[named], unit[named]
    if not group.size:
        return
    order = np.lexsort((unit, group))
    group, unit = group[order], unit[order]
    begins = np.concatenate(([True], (group[1:] != group[:-1]) | (unit[1:] != unit[:-1])))
    group, units = group[begins], unit[begins].tolist()
    for begin, end in _runs(group):
        yield int(group[begin]), units[begin:end]


def _runs(owner: Int64s) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of equal values."""
    edges = np.flatnonzero(owner[1:] != owner[:-1]) + 1
    starts = [0, *edges.tolist()]
    yield from zip(starts, [*starts[1:], owner.size], strict=True)
