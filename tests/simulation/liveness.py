"""What must have come of it when it has been quiet for a while."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from guardian.bank import Bank
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.journal import decode
from guardian.rollout import Status
from guardian.state import RolloutState
from tests.simulation.ledger import KILLS, given_by, is_calm, is_killed
from tests.simulation.scene import CONTROL, TREATMENT, Rollout
from tests.support.traffic import T0_MS

if TYPE_CHECKING:
    from tests.simulation.world import World

SHOWN = 120
"""Starts under a harmful treatment after which it must have been stopped."""
STOPPED = (Status.KILLED, Status.PAUSED, Status.HOLDING)


def judged_anew(world: World) -> Bank:
    """A bank that reads the whole journal in one go; it decides what was decided, at the same entries."""
    bank = Bank(world.config)
    found: dict[str, tuple[int, Decision]] = {}
    for offset, raw in enumerate(world.journal.records):
        for effect in bank.apply(offset, decode(raw)):
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
    """Everything is answered, and the store serves what judge believes."""
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
    """Harm that many were shown while it was quiet is stopped as the policy says."""
    course, quiet_s = state.course(TREATMENT), max(world.scene.quiet_from_s, rollout.harm_from_s)
    if course.moved == "step_back":
        # The smaller share is looked at anew: harm that goes on leads back once more, or pauses.
        quiet_s = max(quiet_s, (course.since_ms - T0_MS) / 1_000)
    shown = sum(at_s > quiet_s + 1.0 for at_s in world.users.shown_s[rollout.flag])
    seen_by = rollout.seen_by(world.people.document(rollout.key))
    if not seen_by or shown < SHOWN or is_killed(state):
        return
    kills = all(guardrail["then"] in KILLS for guardrail in seen_by)
    what = f"{state.key}: {rollout.harm} since {rollout.harm_from_s:.1f} s, shown {shown} times since {quiet_s:.1f} s"
    world.check(not kills, f"{what}, and not killed")
    world.check(course.status in STOPPED, f"{what}, and {course.status}")


def _advanced(world: World, rollout: Rollout, state: RolloutState) -> None:
    """A healthy rollout that nobody stopped has left its first stage; of several variations, one has."""
    if rollout.harm or state.status != Status.RUNNING or len(state.policy.stages) < 2:
        return
    courses = state.courses.values()
    # People have set another share and nobody has agreed to go on from there, or few start at it; or it was taken back;
    # or chance has brought evidence that is not yet gone.
    is_few = rollout.flag in world.shelf.edited and any(course.starts < state.policy.min_starts for course in courses)
    is_calm_now = any(is_calm(state, variation) for variation in state.alive())
    is_excused = is_few or not is_calm_now or any(course.edited is not None or course.backs for course in courses)
    left = any(course.stage > 0 for course in courses)
    world.check(left or is_excused, f"{state.key} is healthy and still in its first stage beside {CONTROL}")
