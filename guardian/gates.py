"""
What a stage waits for: its gates, each open or closed, with a sentence for those who ask why it has not gone on.

Each variation has gates of its own, and goes on when all of them are open. Only going on waits for them: harm is acted
on as ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from guardian.explain import NOUN, quoted
from guardian.grants import grant_of, is_room, is_tested, parts_of, widest
from guardian.names import Millis
from guardian.numerals import among, count, duration, percent, times
from guardian.policy import Policy, Stage
from guardian.progress import FRESH_MS, Progress, Shown
from guardian.rollout import Status
from guardian.showing import standing_conditions
from guardian.silence import is_silent
from guardian.standing import standing
from guardian.state import RolloutState

CALM_NATS = 1.0
"""A stage is not left while any lane holds this much evidence of harm."""
PLENTY_NATS = math.log(10.0)
"""So much more evidence than is needed is plenty: a stage that may go faster then does."""
EARLY_PART = 0.5
"""The part of its time after which a stage may be left with plenty of evidence."""
SUMMED_MS = 1_000
"""Sentences say times to the second."""


class Gate(NamedTuple):
    """One thing that a stage waits for; ``said`` is what it waits for, where it is closed."""

    name: str
    is_open: bool
    said: str = ""


class _Look(NamedTuple):
    """One variation of a rollout, the stage that it stands in (None before the first), and the journal's clock."""

    state: RolloutState
    policy: Policy
    variation: str
    course: Progress
    stage: Stage | None
    now_ms: Millis

    @property
    def next(self) -> Stage | None:
        """The stage that would be entered; None in the last one."""
        at = self.course.stage + 1
        return self.policy.stages[at] if at < len(self.policy.stages) else None


def gates(state: RolloutState, policy: Policy, now_ms: Millis) -> list[Gate]:
    """Return the gates of the standing stages, open and closed; none without stages, and when the last one is over."""
    return [gate for variation in _under_way(state, policy) for gate in _gates(state, policy, variation, now_ms)]


def waits(state: RolloutState, policy: Policy, now_ms: Millis) -> tuple[str, ...]:
    """Return why the rollout has not gone on: a sentence for each gate that is closed, of several variations with its name."""
    under_way = _under_way(state, policy)
    closed = [(name, gate) for name in under_way for gate in _gates(state, policy, name, now_ms) if not gate.is_open]
    return tuple(f"{name}: {gate.said}" if len(under_way) > 1 else gate.said for name, gate in closed)


def clear(state: RolloutState, policy: Policy, now_ms: Millis) -> list[str]:
    """Return the variations that may go on now: those with gates, every one of which is open."""
    if not policy.stages:
        return []
    going = [name for name in _under_way(state, policy) if name and state.courses[name].status == Status.RUNNING]
    return [name for name in going if all(gate.is_open for gate in _gates(state, policy, name, now_ms))]


def _under_way(state: RolloutState, policy: Policy) -> list[str]:
    return [name for name in state.courses if is_tested(policy, name)] or [""]


def _gates(state: RolloutState, policy: Policy, variation: str, now_ms: Millis) -> Iterator[Gate]:
    # Before a variation was seen, what is to be said is said of any.
    course = state.courses.get(variation) or Progress(status=state.joins)
    if not policy.stages or course.status in (Status.COMPLETED, Status.KILLED):
        return
    stage = policy.stages[course.stage] if course.stage >= 0 else None
    look = _Look(state, policy, variation, course, stage, now_ms)
    # Before the first telemetry there is nothing else to say.
    for made in _MADE if course.status != Status.PLANNED else (_running,):
        yield from made(look)


def _running(at: _Look) -> Iterator[Gate]:
    status = at.course.status
    said = {
        Status.PLANNED: "waits for the first telemetry",
        Status.STEPPING_BACK: "is stepping back",
    }.get(status, f"is {status}: waits for somebody to resume it")
    yield Gate("running", status == Status.RUNNING, said)


def _store(at: _Look) -> Iterator[Gate]:
    is_open = not at.course.awaits and not at.state.is_unanswered(at.variation)
    yield Gate("store", is_open, "waits for the flag store to answer to the last change of the share")


def _people(at: _Look) -> Iterator[Gate]:
    course = at.course
    if course.edited is not None:
        said = (
            f"people have set the share to {percent(course.edited, exact=True)}: waits for somebody to resume or approve "
            f"it, or for the share to be as it was (it is looked at again at {_told(_at(course.look_ms), at.now_ms)})"
        )
        yield Gate("people", at.now_ms >= course.look_ms, said)


def _telemetry(at: _Look) -> Iterator[Gate]:
    is_fresh = bool(at.state.data_ms) and at.now_ms - at.state.data_ms <= FRESH_MS
    yield Gate("telemetry", is_fresh, "waits for fresh telemetry")


def _start(at: _Look) -> Iterator[Gate]:
    starts = [stage.start for stage in (at.stage, at.next) if stage is not None and stage.start is not None]
    if starts:
        yield Gate("start", _at(at.now_ms) >= max(starts), f"waits until {_told(max(starts), at.now_ms)}")


def _time(at: _Look) -> Iterator[Gate]:
    if at.stage is None or at.stage.for_s is None:
        return
    ran_ms, for_ms = at.course.ran_ms, at.stage.for_s * 1_000.0
    is_early = ran_ms >= EARLY_PART * for_ms and at.policy.accelerate and _is_plenty(at)
    said = f"has run {duration(ran_ms // SUMMED_MS * SUMMED_MS)} of {duration(for_ms)} at this share"
    yield Gate("time", ran_ms >= for_ms or is_early, said)


def _freeze(at: _Look) -> Iterator[Gate]:
    ends = [end for freeze in at.policy.freeze if (end := freeze.ends(_at(at.now_ms))) is not None]
    if at.policy.freeze:
        yield Gate("freeze", not ends, f"is frozen until {_told(max(ends), at.now_ms)}" if ends else "")


def _hours(at: _Look) -> Iterator[Gate]:
    if at.policy.hours is not None:
        opens = at.policy.hours.opens(_at(at.now_ms))
        said = f"waits until {_told(opens, at.now_ms)}, for {at.policy.hours.text}" if opens is not None else ""
        yield Gate("hours", opens is None, said)


def _cooldown(at: _Look) -> Iterator[Gate]:
    course = at.course
    if at.policy.cooldown_s is not None and course.moved:
        over_ms = course.moved_ms + round(at.policy.cooldown_s * 1_000)
        said = f"cools down until {_told(_at(over_ms), at.now_ms)}, after a {NOUN.get(course.moved, course.moved)}"
        yield Gate("cooldown", at.now_ms >= over_ms, said)


def _approval(at: _Look) -> Iterator[Gate]:
    for group in at.stage.approval if at.stage is not None else ():
        yield Gate("approval", group in at.course.approved, f"waits for {group}")


def _room(at: _Look) -> Iterator[Gate]:
    """The variations never have more together than the widest of their stages: shares that a policy changed may stand."""
    others = {
        name: course for name, course in at.state.courses.items()
        if name != at.variation and (is_tested(at.policy, name) or course.status != Status.KILLED)
    }  # fmt: skip
    if at.next is None or not others:
        return
    parts = parts_of(at.policy, len(at.state.courses))
    mine = grant_of(at.policy, at.course.stage + 1, parts)
    held = [widest(course.grants or [grant_of(at.policy, course.stage, parts)]) for course in others.values()]
    stages = [at.course.stage + 1, *(course.stage for course in others.values())]
    most = widest(grant_of(at.policy, stage, 1) for stage in stages)
    said = "the other variations have too much for its part of the next stage; name all that are under test in variations:"
    yield Gate("room", is_room(mine, held, most), said)


def _evidence(at: _Look) -> Iterator[Gate]:
    if at.stage is None:
        return
    is_seen = at.variation in at.state.variations
    said = f"{at.variation or 'any variation'} has had {count(at.course.starts)} of {among(at.policy.min_starts, 'start')}"
    yield Gate("evidence", is_seen and at.course.starts >= at.policy.min_starts, f"{said} in this stage")


def _until(at: _Look) -> Iterator[Gate]:
    until = at.stage.until if at.stage is not None and at.variation in at.state.variations else None
    for nth, condition in enumerate(until or ()):
        shown = _shown(at.course, nth)
        said = f"{condition.text} is not shown yet of {at.variation}: {_so_far(shown, at.policy)}"
        yield Gate("until", shown is not None and shown.log_s >= 0.0, said)


def _calm(at: _Look) -> Iterator[Gate]:
    """
    Nothing points at harm: no literal rule is broken, no account holds much, and something was read at all.

    Where the policy has nothing that reads, data is what must have come, and none of it fallen silent.
    """
    watch = at.state.variations.get(at.variation)
    if watch is None or at.stage is None:
        return
    if is_silent(at.state, at.variation):
        yield Gate("calm", False, "something has fallen silent")
    yield Gate("calm", watch.is_quiet, f"a literal rule is broken by {at.variation}")
    rows = standing(at.state, at.policy, at.variation)
    read = [(lane.numbers()[0], held) for held in rows for lane in held.lanes if lane.read]
    if not read:
        yield from _unread(at, any(rule.is_full for rule in watch.rules.values()))
        return
    log_e, worst = max(read, key=lambda one: one[0])
    name = quoted(worst.guardrail.when.text, worst.segment)
    said = f"{name} holds evidence of harm by {at.variation}: {times(log_e)}"
    yield Gate("calm", log_e < CALM_NATS, said)


def _unread(at: _Look, is_ruled: bool) -> Iterator[Gate]:
    """Where no test has read anything: a full window will do, and where nothing reads at all, fresh data."""
    if is_ruled or at.state.lines.accounts or at.state.lines.rules:
        yield Gate("calm", is_ruled, f"no guardrail has read anything of {at.variation} yet")
        return
    heard, by_exposures = at.state.heard.get(at.variation), at.state.population.by_exposures
    last_ms = 0 if heard is None else heard.exposed_ms if by_exposures else heard.finished_ms
    is_fresh = at.now_ms - last_ms <= FRESH_MS and at.course.starts > 0
    yield Gate("calm", is_fresh, f"nothing has come of {at.variation}")


_MADE: tuple[Callable[[_Look], Iterator[Gate]], ...] = (
    *(_running, _store, _people, _telemetry, _start, _time, _freeze, _hours, _cooldown, _approval, _evidence, _until),
    *(_calm, _room),
)
"""The dearest one last: who asks only whether all are open stops at the first that is not."""


def _shown(course: Progress, at: int) -> Shown | None:
    return course.health[at] if at < len(course.health) else None


def _is_plenty(at: _Look) -> bool:
    wanted = len(at.stage.until or ()) if at.stage is not None else 0
    if not wanted or len(standing_conditions(at.state, at.variation)) != wanted:
        return False
    found = [_shown(at.course, nth) for nth in range(wanted)]
    return all(shown is not None and shown.log_s >= PLENTY_NATS for shown in found)


def _so_far(shown: Shown | None, policy: Policy) -> str:
    if shown is None or not shown.is_read:
        return "nothing was read yet that tells of it"
    needed = -math.log(policy.false_advances)
    return f"evidence of {times(shown.log_s + needed)} out of {times(needed)}"


def _at(at_ms: Millis) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC)


def _told(at: datetime, now_ms: Millis) -> str:
    """Return a moment as people need it: today's without its day."""
    clock = f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"
    return f"{clock} UTC" if at.date() == _at(now_ms).date() else f"{at:%Y-%m-%d} {clock} UTC"
