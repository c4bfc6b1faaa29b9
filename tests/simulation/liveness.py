"""What must have come of it when it has been quiet for a while."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from guardian.bank import Bank
from guardian.dating import dated
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.journal import decode
from guardian.lag import DELAY_GAMMA
from guardian.names import Millis
from guardian.progress import Progress
from guardian.rollout import Status
from guardian.state import RolloutState
from tests.simulation.ledger import KILLS, given_by, is_calm, is_killed
from tests.simulation.scene import CONTROL, LAG_MAX_S, LATEST_S, TREATMENT, USERS_REST_S, Rollout
from tests.support.traffic import T0_MS

if TYPE_CHECKING:
    from tests.simulation.world import World

SHOWN = 120
"""Starts under a harmful treatment after which it must have been stopped."""
KNOWN = 10
"""Starts of a variation that tell how many should come."""
SILENCE_S = 3.0
"""How long nothing comes before it is missed, in all guardrails on silence here."""
FLUSH_S = 2.5
"""What is said is read so much later at most: a flush when it is quiet, and a little for the way."""
SKEW_S = 2.0
"""No two clocks differ by more."""
STOPPED = (Status.KILLED, Status.PAUSED, Status.HOLDING)


def judged_anew(world: World) -> Bank:
    """A bank that reads the whole journal in one go; it decides what was decided, at the same entries."""
    bank = Bank(world.config)
    found: dict[str, tuple[int, Decision]] = {}
    for offset, (raw, kept_ms) in enumerate(zip(world.journal.records, world.journal.kept_ms, strict=True)):
        for effect in bank.apply(offset, dated(decode(raw), kept_ms)):
            if isinstance(effect, Decide):
                found.setdefault(effect.decision.decision_id, (offset, effect.decision))
    world.check(found == world.ledger.decided, "read anew, the journal leads to other decisions")
    return bank


def compare_whole(world: World, live: Bank) -> None:
    """Compare what the last judge knows with a bank that nothing ever happened to, and look at each rollout."""
    anew = judged_anew(world)
    for part in (*anew.rollouts, Bank.SOURCES):
        world.check(anew.snapshot(part) == live.snapshot(part), f"read anew, the journal leads to another {part!r}")
    for key, state in anew.rollouts.items():
        world.ledger.compare(state, len(world.journal.records))
        _settled(world, state)
        _stopped(world, world.rollout(key), state)
        _advanced(world, world.rollout(key), state)


def _settled(world: World, state: RolloutState) -> None:
    """Everything is answered, what has come is read, and the store serves what judge believes."""
    behind_s = world.scene.seconds - USERS_REST_S - _seconds(state.population.closed_ms)
    # A lag is learned in steps, and of what came late for any reason, or for several.
    faults = world.scene.faults
    late_s = max(LATEST_S, faults.longest_outage_s + (LATEST_S if faults.late else 0.0))
    late_s = DELAY_GAMMA * (late_s + SKEW_S) + FLUSH_S + (LAG_MAX_S if world.scene.is_far_ahead else 0.0)
    world.check(behind_s < late_s, f"{state.key}: read to {behind_s:.1f} s before the last request")
    flag, waiting = state.key.partition("|")[2], [pending.decision_id for pending in state.outbox]
    world.check(not waiting, f"never answered: {waiting}")
    for variation in world.rollout(state.key).variations:
        killed = is_killed(state, variation)
        world.check(
            killed == ((flag, variation) in world.shelf.killed),
            f"{state.key}: judge takes {variation} for {'killed' if killed else 'alive'}, the store does not",
        )
    _within_stages(world, state, flag)


def _within_stages(world: World, state: RolloutState, flag: str) -> None:
    """In the end each variation has its part of the stage that it stands in, and all together no more than the widest."""
    overlay, stages = world.store._overlays.get(flag), state.policy.stages
    shares = (overlay.get("shares") if overlay is not None else None) or {}
    parts = max(len(state.policy.variations), 1)
    most = {
        variation: max((stage.share for stage in stages[: state.course(variation).stage + 1] if stage.users is None), default=0.0)
        for variation in shares
    }
    for variation, share in shares.items():
        stage = state.course(variation).stage
        world.check(share <= most[variation] / parts + 1e-9, f"{state.key}: {variation} has {share:.0%} in stage {stage}")
    together = math.fsum(shares.values())
    world.check(together <= max(most.values(), default=0.0) + 1e-9, f"{state.key}: together they have {together:.0%}")
    if stages and flag not in world.shelf.edited:
        _as_decided(world, state, shares)


def _as_decided(world: World, state: RolloutState, shares: dict[str, float]) -> None:
    """Where people have not changed it, each variation has exactly what its stage says."""
    variations, parts = world.rollout(state.key).variations, max(len(state.policy.variations), 1)
    for variation in variations:
        stage = state.course(variation).stage
        share = shares.get(variation, world.rollout(state.key).share / len(variations))
        due = given_by(state.policy, stage)[""] / parts
        world.check(abs(share - due) < 1e-6, f"{state.key}: {variation} has {share:.0%} in stage {stage}, not {due:.0%}")


def _stopped(world: World, rollout: Rollout, state: RolloutState) -> None:
    """
    Harm that many were shown while it was quiet is stopped as the policy says, when their outcomes can have been read.

    Each smaller share is looked at anew: harm that goes on leads back once more, and pauses at last. What stopped it before that
    is as good.
    """
    seen_by = rollout.seen_by(world.people.document(rollout.key))
    if not seen_by or is_killed(state):
        return
    course, quiet_s = state.course(TREATMENT), max(world.scene.quiet_from_s, rollout.harm_from_s)
    truth = world.ledger.rollouts[rollout.key]
    backs_s = [at_s for at_s in truth.backs_s[TREATMENT] if at_s > quiet_s]
    behind_s = (state.data_ms - state.population.closed_ms) / 1_000
    for since_s, until_s in pairwise([quiet_s, *backs_s]):
        stopped_s = min((at_s for at_s in truth.stops_s[TREATMENT] if rollout.harm_from_s < at_s < until_s), default=until_s)
        shown = _shown(world, rollout, since_s, stopped_s - behind_s)
        world.check(shown < SHOWN, f"{state.key}: {rollout.harm}, shown {shown} times before it stepped back at {until_s:.1f} s")
    since_s = max([quiet_s, *backs_s, *([_seconds(course.since_ms)] if course.moved == "step_back" else [])])
    shown = _shown(world, rollout, since_s, _seconds(state.population.closed_ms))
    if shown < SHOWN or (rollout.harm == "silent" and not _is_missed(world, rollout, state, since_s)):
        return
    kills = all(guardrail["then"] in KILLS for guardrail in seen_by)
    what = f"{state.key}: {rollout.harm} since {rollout.harm_from_s:.1f} s, shown {shown} times since {since_s:.1f} s"
    world.check(not kills, f"{what}, and not killed")
    world.check(course.status in STOPPED, f"{what}, and {course.status}")


def _shown(world: World, rollout: Rollout, since_s: float, until_s: float) -> int:
    """How often treatment was shown in a while, but for its first second."""
    return sum(since_s + 1.0 < at_s <= until_s for at_s in world.users.shown_s[rollout.flag])


def _is_missed(world: World, rollout: Rollout, state: RolloutState, since_s: float) -> bool:
    """
    Whether a silence was long enough to be known, and how many should have come was.

    That is told by those that came last while its share stood, as far as could be seen. Where these are few stragglers, it takes
    very long; else up to twice as long as they straggled in.
    """
    heard_s = world.ledger.rollouts[rollout.key].heard_s.get(TREATMENT, 0.0)
    straggled_s = max(heard_s - rollout.harm_from_s, 0.0)
    told = [epoch.size(TREATMENT, state.population.by_exposures) for epoch in state.population.epochs]
    known = next((starts for starts in reversed(told) if starts), 0) >= KNOWN
    return known and world.scene.seconds - USERS_REST_S > max(heard_s + 2.0 * straggled_s, since_s) + SILENCE_S + FLUSH_S


def _advanced(world: World, rollout: Rollout, state: RolloutState) -> None:
    """A healthy variation that nobody stopped leaves each stage, once it has had the time and the starts for it."""
    for name, course in state.courses.items() if len(state.policy.stages) >= 2 else ():
        if course.status == Status.RUNNING and course.stage >= 0:
            _counted(world, state, name, course)
        is_peoples = course.edited is not None and rollout.flag in world.shelf.edited
        if not rollout.harm and not is_peoples and course.status in (Status.RUNNING, Status.COMPLETED):
            _goes_on(world, state, name, course)


def _counted(world: World, state: RolloutState, name: str, course: Progress) -> None:
    """While it is quiet nothing comes too late to be counted for its stage."""
    first_s = max(_seconds(course.since_ms), world.scene.quiet_from_s) + SKEW_S
    last_s = _seconds(state.population.closed_ms) - SKEW_S
    told = sum(
        cells[name].exposures for second, cells in state.history.steps()
        if name in cells and first_s <= _seconds(second * 1_000) <= last_s
    )  # fmt: skip
    world.check(course.starts >= told, f"{state.key}: {name} had {told} starts while it was quiet, {course.starts} are counted")


def _is_over(world: World, state: RolloutState, course: Progress) -> bool:
    """Whether a stage has had its time while it was quiet, and its starts."""
    stage, began_s = state.policy.stages[max(course.stage, 0)], max(_seconds(course.since_ms), world.scene.quiet_from_s)
    is_enough = course.stage < 0 or course.starts >= state.policy.min_starts
    return is_enough and world.scene.seconds - USERS_REST_S > began_s + (stage.for_s or 0.0) + FLUSH_S


def _goes_on(world: World, state: RolloutState, name: str, course: Progress) -> None:
    """It has left every stage that is over; but for what chance keeps there, whose evidence is not yet gone."""
    is_stuck = course.status == Status.RUNNING and _is_over(world, state, course)
    is_unlucky = is_stuck and name in state.variations and not is_calm(state, name)
    world.ledger.healthy += is_stuck or course.stage > 0
    world.ledger.unlucky += is_unlucky
    said = f"{state.key}: {name} is healthy and still in stage {course.stage + 1} beside {CONTROL}"
    world.check(not is_stuck or is_unlucky, said)


def _seconds(at_ms: Millis) -> float:
    """A moment of the journal as the loop has it."""
    return (at_ms - T0_MS) / 1_000
