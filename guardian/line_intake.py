"""Taking a tick's sums into the lines: what of it each guardrail will read, of whom, and in which segment."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from guardian.levels import nps_counts
from guardian.lines import ALL, Line, Lines, attribute_of
from guardian.names import Millis
from guardian.plan import NAMELESS, NPS, SEGMENTS_MAX, THUMB
from guardian.population import Epoch
from guardian.showing import add_health
from guardian.state import RolloutState
from guardian.summaries import Arm, Tick
from guardian.tally import Tally
from guardian.windowing import join

Firsts = dict[str, set[int]]
"""By variation: units whose first failure this tick told of."""
_NOBODY: frozenset[int] = frozenset()


def take_lines(
    state: RolloutState, lines: Lines, tick: Tick, firsts: Firsts, now_ms: Millis, *, late: bool, epoch: Epoch | None
) -> None:
    """
    Add a tick's sums to every line that reads them.

    They wait for the tick to be mature; what is ``late`` joins the open block of its own ``epoch``.
    """
    control, cluster = state.policy.control, state.policy.unit_cluster
    start_ms, end_ms = tick.start_ms, tick.end_ms
    for segment, arms in ((ALL, tick.arms), *tick.segments.items()):
        readers = lines.of(segment)
        if not readers or not _is_known(state, lines, segment):
            continue
        for variation, arm in arms.items():
            if variation != control and variation not in state.variations:
                continue
            failed = firsts.get(variation, _NOBODY)
            for line in readers:
                if line.kind == "fresh":
                    _take_new(state, line, tick, variation, arm, epoch)
                    continue
                tally = _tally(state, line, arm, failed, now_ms, cluster)
                if tally is None:
                    continue
                key = line.key(segment)
                if not late:
                    state.population.wait_line(start_ms, end_ms, key, variation, tally)
                elif epoch is not None and not (line.kind == "over" and state.hanging.is_counted(end_ms)):
                    _join(state, line, key, (start_ms, end_ms), variation, tally, epoch)
                    join(state, lines, key, end_ms, variation, tally)


def _take_new(state: RolloutState, line: Line, tick: Tick, variation: str, arm: Arm, epoch: Epoch | None) -> None:
    """Take the units that the rollout has not met; what is looked back on reads them when their outcomes are mature."""
    met = sum(state.newcomers.meet(unit) for unit in arm.fresh)
    if not met:
        return
    if tick.end_ms > state.arrivals.closed_ms:
        state.arrivals.wait(tick, variation, met)
    elif epoch is not None:
        _join(state, line, line.name, (tick.start_ms, tick.end_ms), variation, Tally(float(met)), epoch)
    if state.hindsights and tick.end_ms > state.population.closed_ms:
        state.population.wait_line(tick.start_ms, tick.end_ms, line.name, variation, Tally(float(met)))


def _is_known(state: RolloutState, lines: Lines, segment: str) -> bool:
    """Say whether the segment is one of those watched: the first so many values of its attribute that were heard of."""
    if segment == ALL or attribute_of(segment) not in lines.attributes:
        return True
    values = state.segments.setdefault(attribute_of(segment), [])
    if segment not in values:
        if len(values) >= SEGMENTS_MAX:
            return False
        values.append(segment)
    return True


def _join(
    state: RolloutState, line: Line, key: str, span: tuple[Millis, Millis], variation: str, tally: Tally, epoch: Epoch
) -> None:
    control = state.policy.control
    for name in state.alive() if variation == control else (variation,):
        t, c = (None, tally) if variation == control else (tally, None)
        held = state.variations[name].lines.get(key)
        if held is not None:
            held.add(epoch.start_ms, span, t, c, line.fixed)
        if key == line.name:
            add_health(state, name, line, span, epoch, t, c)


def _tally(
    state: RolloutState, line: Line, arm: Arm, firsts: AbstractSet[int], now_ms: Millis, cluster: float
) -> Tally | None:
    """
    Return what the arm has of the line; None for nothing.

    All of it as floats: an int would be written as one, and come back from a snapshot as a float.
    """
    if line.kind == "failures":
        first = sum(unit in firsts for unit in arm.units)
        x = min(first + arm.anonymous / cluster, float(arm.outcomes))
        left = min(first + arm.anonymous, float(arm.outcomes)) - x
        every = float(min(arm.errors, arm.outcomes))
        return Tally(float(arm.outcomes), x, left=left, every=every) if arm.outcomes else None
    if line.kind == "errors":
        return Tally(float(arm.outcomes), float(min(arm.errors, arm.outcomes))) if arm.outcomes else None
    if line.kind == "latency":
        counts = {at: float(count) for at, count in arm.latency.items()}
        return Tally(sum(counts.values()), 0.0, counts) if counts else None
    if line.kind == "over":
        return Tally(float(arm.timed), float(min(arm.over.get(line.over_us, 0), arm.timed))) if arm.timed else None
    if line.kind == "score":
        return _scores(line, arm, cluster)
    return _reports(state, arm, now_ms, cluster)


def _scores(line: Line, arm: Arm, cluster: float) -> Tally | None:
    named = arm.scores.get(line.score, {})
    nameless = arm.scores.get(line.score + NAMELESS, {})
    if not named and not nameless:
        return None
    counts = {at: float(count) for at, count in named.items()}
    for at, count in nameless.items():
        # Without unit ids a cluster of scores may be one person's: each counts as its part of one.
        counts[at] = counts.get(at, 0.0) + count / cluster
    if line.score == NPS:
        counts = nps_counts(counts)
    x = counts.get(0, 0.0) if line.score == THUMB else 0.0
    return Tally(sum(counts.values()), x, counts)


def _reports(state: RolloutState, arm: Arm, now_ms: Millis, cluster: float) -> Tally | None:
    starts = arm.exposures if state.population.by_exposures else arm.outcomes
    first = sum(state.reported.add(unit, now_ms) for unit in arm.reporters) if arm.reporters else 0
    x = first + arm.reports / cluster
    return Tally(float(starts), x, left=first + arm.reports - x) if starts or x else None
