"""Letting the conditions of a stage's ``until`` read what has become ready, in blocks that only clocks decide."""

from __future__ import annotations

from guardian.conditions import Absolute
from guardian.health import health_log_e, readings
from guardian.lines import ALL, Awaited, Line
from guardian.names import Millis
from guardian.population import Cell, Epoch, Waiting
from guardian.progress import Shown
from guardian.state import RolloutState
from guardian.tally import Pair, Tally

BLOCK_MS = 1_000
"""Nothing is urgent about going on: a block a second is as good as many small ones, and larger ones see more."""
REPORTED_MS = 3_600_000
"""A person may report what was shown an hour ago: before that, an epoch's reports tell of the shares before it."""

Span = tuple[Millis, Millis]


def read_health(state: RolloutState, variation: str, end_ms: Millis, tick: Waiting, epoch: Epoch) -> None:
    """Let what the standing stage waits for read a mature tick of one variation."""
    if tick.start_ms < state.course(variation).since_ms:
        return
    control, span = state.policy.control, (tick.start_ms, end_ms)
    for at, awaited in enumerate(standing_conditions(state, variation)):
        if awaited.line.kind == "failures" and awaited.line.cut == ALL:
            t, c = (failures_of(tick.arms.get(name)) for name in (variation, control))
        else:
            arms = tick.lines.get(awaited.line.name, {})
            t, c = arms.get(variation), arms.get(control)
        held = _held(state, variation)[at]
        if not is_early(awaited.line, tick.start_ms, epoch):
            add_to(held, span, epoch, t, c)
        _read(state, held, awaited)


def add_health(
    state: RolloutState, variation: str, line: Line, span: Span, epoch: Epoch, t: Tally | None, c: Tally | None
) -> None:
    """Add what is known only later to the open blocks of a line: late outcomes, requests that never ended."""
    since_ms = state.course(variation).since_ms
    if span[0] < since_ms or state.population.now is not epoch or is_early(line, span[0], epoch):
        return
    for at, awaited in enumerate(standing_conditions(state, variation)):
        if awaited.line.name == line.name:
            add_to(_held(state, variation)[at], span, epoch, t, c)


def add_late_failures(state: RolloutState, variation: str, span: Span, epoch: Epoch, cell: Cell) -> None:
    """Add late outcomes of one arm, of all requests: of control to every variation's blocks."""
    tally, control = failures_of(cell), state.policy.control
    t, c = (None, tally) if variation == control else (tally, None)
    for name in state.alive() if variation == control else (variation,):
        for awaited in standing_conditions(state, name):
            if awaited.line.kind == "failures" and awaited.line.cut == ALL:
                add_health(state, name, awaited.line, span, epoch, t, c)
                break


def standing_conditions(state: RolloutState, variation: str) -> tuple[Awaited, ...]:
    """Return what a variation's stage waits for; nothing while the store has not answered to the change that began it."""
    course = state.courses.get(variation)
    if not state.lines.awaited or course is None or course.awaits or course.stage < 0:
        return ()
    return state.lines.awaited[course.stage]


def _held(state: RolloutState, variation: str) -> list[Shown]:
    course = state.course(variation)
    if not course.health:
        budget = state.policy.false_advances
        course.health = [Shown.begin(budget, readings(one.line)) for one in standing_conditions(state, variation)]
    return course.health


def failures_of(cell: Cell | None) -> Tally | None:
    """Return the failures among all requests of one arm as health reads them; None where nothing has finished."""
    if cell is None or not cell.outcomes:
        return None
    n = float(cell.outcomes)
    return Tally(n, min(cell.first, n), left=cell.left, every=min(float(cell.errors), n))


def add_to(held: Shown, span: Span, epoch: Epoch, t: Tally | None, c: Tally | None) -> None:
    """Add both arms' sums of a line to the block that fills; that of another epoch is given up."""
    if t is None and c is None:
        return
    if held.open is None or held.epoch_ms != epoch.start_ms:
        held.open, held.epoch_ms = Pair(*span), epoch.start_ms
    held.open.add(span[1], t, c)


def is_early(line: Line, start_ms: Millis, epoch: Epoch) -> bool:
    """Say whether a start is too early in its epoch for what the line brings then to tell of health."""
    return line.kind == "reports" and start_ms < epoch.start_ms + REPORTED_MS


def is_block(pair: Pair, *, is_alone: bool) -> bool:
    """Say whether a block is to be read: it spans a second, and both arms are in it; control may be missing where alone."""
    return pair.span_ms >= BLOCK_MS and pair.t.n >= 1.0 and (is_alone or pair.c.n >= 1.0)


def _read(state: RolloutState, held: Shown, awaited: Awaited) -> None:
    block, is_alone = held.open, isinstance(awaited.condition.bound, Absolute)
    if block is None or not is_block(block, is_alone=is_alone):
        return
    held.read(health_log_e(awaited.condition, awaited.line, block, held.past, state.policy.unit_cluster))
