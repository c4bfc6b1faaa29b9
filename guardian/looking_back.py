"""Letting kills that were not carried out be judged by what started after them (``guardian.hindsight``)."""

from __future__ import annotations

from dataclasses import replace

from guardian.betting import log_e
from guardian.conditions import Absolute, Condition, Op
from guardian.decisions import Decision
from guardian.events import parse_time
from guardian.health import health_log_e, readings
from guardian.hindsight import KEPT_MAX, SHOWN_ALPHA, Hindsight
from guardian.line_reading import settled_ms, shares_of
from guardian.lines import ALL, Line, is_about_requests
from guardian.names import Millis
from guardian.policy import Guardrail
from guardian.population import Cell, Epoch, Waiting
from guardian.progress import Shown
from guardian.showing import Span, add_to, failures_of, is_block, is_early
from guardian.state import RolloutState
from guardian.tally import Pair, Tally

KILLS = ("kill", "kill_flag")
_FAILURES = Line("failures", "failures")
_OPPOSITE: dict[Op, Op] = {">": "<", ">=": "<=", "<": ">", "<=": ">="}


def look_back(state: RolloutState, decision: Decision) -> None:
    """Begin to look back on a decision that was not carried out, if it is a kill by a guardrail."""
    guardrail = _named(state, decision.guardrail)
    if decision.action not in KILLS or guardrail is None:
        return
    segment = decision.evidence.segment if decision.evidence is not None else ALL
    line, at_ms = _line(state, guardrail, segment), parse_time(decision.decided_at)
    harm = health = None
    if line is not None:
        harm = Shown.begin(SHOWN_ALPHA, 1)
        # There is no test of "the shares are kept".
        health = Shown.begin(SHOWN_ALPHA, readings(line)) if line.kind != "fresh" else None
    told = decision.decision_id, decision.variant, decision.guardrail, segment
    _keep(state, Hindsight(*told, at_ms, harm, health, last_ms=at_ms))


def turned_off(state: RolloutState, decision_id: str, variations: list[str], by: str, now_ms: Millis) -> None:
    """A person killed variations: that confirms what was decided before, or was sooner than any decision."""
    for variation in variations:
        known = [one for one in state.hindsights if one.variation == variation and not one.by]
        for one in known:
            one.turn_off(now_ms, by)
        if not known:
            missed = Hindsight(decision_id, variation, "", "", now_ms)
            missed.turn_off(now_ms, by)
            _keep(state, missed)


def follow(state: RolloutState, variation: str, starts: int, failed: int, now_ms: Millis) -> None:
    """Count what came of an arm: starts, and units that failed for the first time."""
    for one in state.hindsights:
        if variation == one.variation:
            one.count(now_ms, starts, failed)
        elif variation == state.policy.control:
            one.count_control(now_ms, starts)


def read_afterwards(state: RolloutState, end_ms: Millis, tick: Waiting, epoch: Epoch) -> None:
    """Let what is looked back on read a mature tick that began after its verdict."""
    for one, condition, line in _open(state, tick.start_ms):
        if line.kind == "fresh" and tick.start_ms < settled_ms(state, epoch):
            continue
        if line is _FAILURES:
            t, c = (failures_of(tick.arms.get(name)) for name in (one.variation, state.policy.control))
        else:
            arms = tick.lines.get(line.key(one.segment), {})
            t, c = arms.get(one.variation), arms.get(state.policy.control)
        _add(state, one, condition, line, (tick.start_ms, end_ms), epoch, (t, c))


def add_late(state: RolloutState, variation: str, span: Span, epoch: Epoch, cell: Cell) -> None:
    """Add late outcomes of one arm to the blocks that are open: failures that come late are failures, too."""
    for one, condition, line in _open(state, span[0]):
        if line is _FAILURES and variation in (one.variation, state.policy.control):
            tally = failures_of(cell)
            both = (tally, None) if variation == one.variation else (None, tally)
            _add(state, one, condition, line, span, epoch, both)


def _keep(state: RolloutState, one: Hindsight) -> None:
    state.hindsights = [*state.hindsights, one][-KEPT_MAX:]


def _open(state: RolloutState, start_ms: Millis) -> list[tuple[Hindsight, Condition, Line]]:
    """Return what such a start tells of: verdicts before it whose guardrail is still in the policy."""
    found = []
    for one in state.hindsights:
        guardrail = _named(state, one.guardrail) if one.harm is not None and start_ms >= one.at_ms else None
        line = _line(state, guardrail, one.segment) if guardrail is not None else None
        if guardrail is not None and line is not None:
            found.append((one, guardrail.when, line))
    return found


def _named(state: RolloutState, text: str) -> Guardrail | None:
    return next((one for one in state.policy.guardrails if one.when.text == text), None)


def _line(state: RolloutState, guardrail: Guardrail, segment: str) -> Line | None:
    """Return what a guardrail reads in a segment; None where nothing is summed that its test could read."""
    if segment == ALL and is_about_requests(guardrail.when, state.policy):
        return _FAILURES
    at = state.policy.guardrails.index(guardrail)
    return next((line for line in state.lines.lines if at in line.readers(segment or line.cut)), None)


def _add(
    state: RolloutState,
    one: Hindsight,
    condition: Condition,
    line: Line,
    span: Span,
    epoch: Epoch,
    both: tuple[Tally | None, Tally | None],
) -> None:
    cluster, is_alone = state.policy.unit_cluster, isinstance(condition.bound, Absolute)
    for held in (one.harm, one.health):
        if held is None or (held is one.health and is_early(line, span[0], epoch)):
            continue
        add_to(held, span, epoch, *both)
        block = held.open
        if block is None or not (_is_split(block) if line.kind == "fresh" else is_block(block, is_alone=is_alone)):
            continue
        if held is one.harm:
            shares = shares_of(state, line, one.variation, block)
            held.read([log_e(condition, line, block, held.past, shares=shares, cluster=cluster)])
        else:
            held.read(health_log_e(opposite(condition), line, block, held.past, cluster))


def _is_split(block: Pair) -> bool:
    """Who is new is read as it comes: one arm may be silent."""
    return block.t.n + block.c.n >= 1.0


def opposite(condition: Condition) -> Condition:
    """Return the condition of health that a guardrail's harm is the opposite of."""
    return replace(condition, op=_OPPOSITE[condition.op]) if condition.op is not None else condition
