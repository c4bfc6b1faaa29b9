"""
What a stage waits for: its gates, each open or closed, with a sentence for those who ask why it has not gone on.

The rollout goes on when all are open. Only going on waits for them: harm is acted on as ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from guardian.explain import NOUN, quoted
from guardian.names import Millis
from guardian.numerals import among, count, duration, percent, times
from guardian.policy import Policy, Stage
from guardian.progress import FRESH_MS, Shown
from guardian.rollout import Status
from guardian.showing import standing_conditions
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
    """A rollout, its standing stage, and the journal's clock."""

    state: RolloutState
    policy: Policy
    stage: Stage
    now_ms: Millis


def gates(state: RolloutState, policy: Policy, now_ms: Millis) -> list[Gate]:
    """Return the gates of the standing stage, open and closed; none without stages, and when the last one is over."""
    return list(_gates(state, policy, now_ms))


def waits(state: RolloutState, policy: Policy, now_ms: Millis) -> tuple[str, ...]:
    """Return why the rollout has not gone on: a sentence for each gate that is closed."""
    return tuple(gate.said for gate in _gates(state, policy, now_ms) if not gate.is_open)


def is_clear(state: RolloutState, policy: Policy, now_ms: Millis) -> bool:
    """Say whether the rollout may go on now: it has gates, and every one is open."""
    if not policy.stages or state.status != Status.RUNNING:
        return False
    return all(gate.is_open for gate in _gates(state, policy, now_ms))


def _gates(state: RolloutState, policy: Policy, now_ms: Millis) -> Iterator[Gate]:
    if not policy.stages or state.status in (Status.COMPLETED, Status.KILLED):
        return
    look = _Look(state, policy, policy.stages[state.stage], now_ms)
    # Before the first telemetry there is nothing else to say.
    for made in _MADE if state.status != Status.PLANNED else (_running,):
        yield from made(look)


def _running(at: _Look) -> Iterator[Gate]:
    said = {
        Status.PLANNED: "waits for the first telemetry",
        Status.STEPPING_BACK: "is stepping back",
    }.get(at.state.status, f"is {at.state.status}: waits for somebody to resume it")
    yield Gate("running", at.state.status == Status.RUNNING, said)


def _store(at: _Look) -> Iterator[Gate]:
    is_open = not (at.state.progress.awaits or at.state.outbox)
    yield Gate("store", is_open, "waits for the flag store to answer to the last change of the share")


def _people(at: _Look) -> Iterator[Gate]:
    progress = at.state.progress
    if progress.edited is not None:
        said = (
            f"people have set the share to {percent(progress.edited, exact=True)}: waits for somebody to resume or approve "
            f"it, or for the share to be as it was (it is looked at again at {_told(_at(progress.look_ms), at.now_ms)})"
        )
        yield Gate("people", at.now_ms >= progress.look_ms, said)


def _telemetry(at: _Look) -> Iterator[Gate]:
    is_fresh = bool(at.state.data_ms) and at.now_ms - at.state.data_ms <= FRESH_MS
    yield Gate("telemetry", is_fresh, "waits for fresh telemetry")


def _start(at: _Look) -> Iterator[Gate]:
    if at.stage.start is not None:
        yield Gate("start", _at(at.now_ms) >= at.stage.start, f"waits until {_told(at.stage.start, at.now_ms)}")


def _time(at: _Look) -> Iterator[Gate]:
    if at.stage.for_s is None:
        return
    ran_ms, for_ms = at.state.progress.ran_ms, at.stage.for_s * 1_000.0
    is_early = ran_ms >= EARLY_PART * for_ms and at.policy.accelerate and _is_plenty(at.state, at.stage)
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
    progress = at.state.progress
    if at.policy.cooldown_s is not None and progress.moved:
        over_ms = progress.moved_ms + round(at.policy.cooldown_s * 1_000)
        said = f"cools down until {_told(_at(over_ms), at.now_ms)}, after a {NOUN.get(progress.moved, progress.moved)}"
        yield Gate("cooldown", at.now_ms >= over_ms, said)


def _approval(at: _Look) -> Iterator[Gate]:
    for group in at.stage.approval:
        yield Gate("approval", group in at.state.progress.approved, f"waits for {group}")


def _evidence(at: _Look) -> Iterator[Gate]:
    for variation in at.state.alive() or ["any variation"]:
        had = at.state.progress.starts.get(variation, 0)
        said = f"{variation} has had {count(had)} of {among(at.policy.min_starts, 'start')} in this stage"
        yield Gate("evidence", bool(at.state.alive()) and had >= at.policy.min_starts, said)


def _until(at: _Look) -> Iterator[Gate]:
    for nth, condition in enumerate(at.stage.until or ()):
        for variation in at.state.alive():
            shown = _shown(at.state, variation, nth)
            said = f"{condition.text} is not shown yet of {variation}: {_so_far(shown, at.policy)}"
            yield Gate("until", shown is not None and shown.log_s >= 0.0, said)


def _calm(at: _Look) -> Iterator[Gate]:
    """
    Nothing points at harm: no literal rule is broken, no account holds much, and something was read at all.

    Where the policy has nothing that reads, data is what must have come, and none of it fallen silent.
    """
    if at.state.silent:
        yield Gate("calm", False, "something has fallen silent")
    for variation in at.state.alive():
        rows, watch = standing(at.state, at.policy, variation), at.state.variations[variation]
        yield Gate("calm", watch.is_quiet, f"a literal rule is broken by {variation}")
        read = [(lane.numbers()[0], held) for held in rows for lane in held.lanes if lane.read]
        if not read and any(rule.is_full for rule in watch.rules.values()):
            continue
        if not at.state.lines.accounts and not at.state.lines.rules:
            heard, is_by_exposures = at.state.heard.get(variation), at.state.population.by_exposures
            last_ms = 0 if heard is None else heard.exposed_ms if is_by_exposures else heard.finished_ms
            is_fresh = at.now_ms - last_ms <= FRESH_MS and at.state.progress.starts.get(variation, 0) > 0
            yield Gate("calm", is_fresh, f"nothing has come of {variation}")
            continue
        if not read:
            yield Gate("calm", False, f"no guardrail has read anything of {variation} yet")
            continue
        log_e, worst = max(read, key=lambda one: one[0])
        name = quoted(worst.guardrail.when.text, worst.segment)
        said = f"{name} holds evidence of harm by {variation}: {times(log_e)}"
        yield Gate("calm", log_e < CALM_NATS, said)


_MADE: tuple[Callable[[_Look], Iterator[Gate]], ...] = (
    *(_running, _store, _people, _telemetry, _start, _time, _freeze, _hours, _cooldown, _approval, _evidence, _until),
    _calm,
)
"""The dearest one last: who asks only whether all are open stops at the first that is not."""


def _shown(state: RolloutState, variation: str, at: int) -> Shown | None:
    held = state.progress.health.get(variation)
    return held[at] if held is not None and at < len(held) else None


def _is_plenty(state: RolloutState, stage: Stage) -> bool:
    wanted = len(stage.until or ())
    if not wanted or len(standing_conditions(state)) != wanted:
        return False
    found = [_shown(state, variation, at) for variation in state.alive() for at in range(wanted)]
    return bool(found) and all(shown is not None and shown.log_s >= PLENTY_NATS for shown in found)


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
