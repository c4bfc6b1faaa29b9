"""
Engines with one rule broken: each must be caught by some seed.

A mutant is a function that returns a context in which the rule is patched. It patches where the rule is looked up, and
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from guardian import advancing, decide, due, engine, gates, grants, intake, orders, silence, standing, told, watch
from guardian.bank import Bank
from guardian.evidence import Breach
from guardian.flagdoc import composing, without
from guardian.flagdoc.rules import arguments
from guardian.policy import Action
from guardian.state import RolloutState
from guardian.units import FailedUnits
from streams import acting, judging
from streams.fold import Fold
from streams.keeper import Keeper
from streams.stores import base
from tests.simulation import liveness
from tests.simulation.world import Broken, play

Mutant = Callable[[], AbstractContextManager[Any]]


def outbox_forgets_when_it_sends_again() -> AbstractContextManager[Any]:
    """A decision that is sent again is no longer waited for."""
    real = due.resend

    def forgetful(state: RolloutState, now: Any, config: Any) -> Any:
        sent = real(state, now, config)
        ids = {effect.decision.decision_id for effect in sent if hasattr(effect, "decision")}
        state.outbox = [pending for pending in state.outbox if pending.decision_id not in ids]
        return sent

    return patch("guardian.engine.resend", forgetful)


def a_restart_pays_again() -> AbstractContextManager[Any]:
    """Whoever is restored from a snapshot gets its budget once more."""
    real = RolloutState.restore

    def generous(raw: bytes) -> RolloutState:
        state = real(raw)
        for held in (one for variation in state.variations.values() for one in variation.guardrails):
            held.full.offered = 0.0
        return state

    return patch.object(RolloutState, "restore", generous)


def a_policy_change_revives() -> AbstractContextManager[Any]:
    """A kill is forgotten when the policy changes."""
    real = engine.take_policy

    def forgiving(state: RolloutState, entry: Any) -> None:
        real(state, entry)
        for variation in state.variations.values():
            variation.killed = False

    return patch("guardian.bank.take_policy", forgiving)


def sources_are_kept_first() -> AbstractContextManager[Any]:
    """The snapshot of the sources is written before those of the rollouts."""
    real = Keeper._write_all

    async def hasty(self: Keeper, held: Any, parts: list[str]) -> None:
        if Bank.SOURCES in held.unsaved and parts != [Bank.SOURCES]:
            await real(self, held, [Bank.SOURCES])
        await real(self, held, parts)

    return patch.object(Keeper, "_write_all", hasty)


def entries_count_again_after_a_restart() -> AbstractContextManager[Any]:
    """A rollout takes entries that its snapshot has seen."""
    real = Bank._take_sums

    def greedy(self: Bank, offset: int, entry: Any, sums: Any, now: Any) -> bool:
        state = self.rollouts.get(sums.key)
        if state is not None:
            state.offset = min(state.offset, offset - 1)
        return real(self, offset, entry, sums, now)

    return patch.object(Bank, "_take_sums", greedy)


def late_outcomes_are_dropped() -> AbstractContextManager[Any]:
    """What comes after its tick was tested is thrown away."""
    real = intake._take_arm

    def strict(state: RolloutState, policy: Any, tick: Any, *rest: Any, late: bool) -> None:
        if tick.end_ms > state.population.closed_ms:
            real(state, policy, tick, *rest, late=late)

    return patch.object(intake, "_take_arm", strict)


def advance_ignores_calm() -> AbstractContextManager[Any]:
    """A stage is left when its time is over, whatever the tests say."""
    return patch.object(gates, "_MADE", tuple(made for made in gates._MADE if made is not gates._calm))


def nothing_advances() -> AbstractContextManager[Any]:
    """No stage is ever left."""
    return patch.object(advancing, "clear", lambda *_: [])


def old_commands_are_new() -> AbstractContextManager[Any]:
    """A store does not look whether a command was applied before, nor what was decided since."""
    real = base._answer_before

    def forgetful(flag: Any, known: Any, command: Any) -> Any:
        known = known.copy()
        known["recent_command_ids"], known["orders"] = [], {}
        return real(flag, known, command)

    return patch.object(base, "_answer_before", forgetful)


def older_decisions_count() -> AbstractContextManager[Any]:
    """A store does what it is told last, whatever was decided since."""
    return patch.object(base, "overtaken_by", lambda *_: -1)


def a_resume_overtakes_nothing() -> AbstractContextManager[Any]:
    """A kill that was lost is carried out although somebody has resumed the rollout since."""
    return patch.object(orders, "OVERTAKEN_BY", {**orders.OVERTAKEN_BY, "kill": (), "kill_flag": ()})


def kills_are_given_up() -> AbstractContextManager[Any]:
    """Whatever the store has not taken before the deadline is given up."""
    return patch.object(acting, "GIVEN_UP", frozenset({"advance", "kill", "kill_flag"}))


def edits_are_overwritten() -> AbstractContextManager[Any]:
    """An advance does not look at what people have set."""
    return patch.object(base, "edited", lambda *_: None)


def snapshots_skip_failed_units() -> AbstractContextManager[Any]:
    """Who has failed before is not in the snapshot."""
    nobody = FailedUnits().state()
    return patch.object(FailedUnits, "state", lambda _: nobody)


def min_units_is_ignored() -> AbstractContextManager[Any]:
    """One unit is enough."""
    return patch.object(standing, "is_enough", lambda *_: True)


def evidence_is_rounded_up() -> AbstractContextManager[Any]:
    """Nearly enough evidence is enough."""
    def eager(self: watch.Watch) -> Breach | None:
        lane = self._most_evident
        log_e, threshold = (0.0, 0.0) if lane is None else lane.numbers()
        return Breach(log_e, threshold, watch.FULL) if log_e > threshold - 2.0 > 0.0 else None

    return patch.object(watch.Watch, "breach", eager)


def nothing_is_read() -> AbstractContextManager[Any]:
    """The tests never see a block."""
    return patch.object(watch.Lane, "update", lambda *_: None)


def a_broken_pipeline_kills() -> AbstractContextManager[Any]:
    """The silence of everything does what the guardrail says."""
    return patch.object(decide, "PIPELINE", "")


def nobody_is_missed() -> AbstractContextManager[Any]:
    """A variation that falls silent beside control is not noticed."""
    return patch.object(silence, "_not_exposed", lambda *_: [])


def stepping_back_keeps_the_stage() -> AbstractContextManager[Any]:
    """The share of the stage before is asked for, and the stage stays."""
    real = decide._carry_out

    def half(state: RolloutState, policy: Any, action: Any, variation: str, now_ms: int) -> Any:
        grant = real(state, policy, action, variation, now_ms)
        if action == Action.STEP_BACK:
            state.course(variation).stage += 1
        return grant

    return patch.object(decide, "_carry_out", half)


def aborted_events_are_lost() -> AbstractContextManager[Any]:
    """After an aborted transaction observe reads on where it was."""
    return patch.object(Fold, "rollback", lambda *_: None)


def each_gets_the_whole_share() -> AbstractContextManager[Any]:
    """Several variations each get what a stage gives them together."""
    return patch.object(grants, "part", lambda share, parts: share)


def a_kill_spares_rings() -> AbstractContextManager[Any]:
    """What is killed is taken from everybody, and left to those in rings."""

    def sparing(flag: Any, killed: str, control: str) -> Any:
        args = arguments(flag.get("targeting"), "if")
        out = without(flag, killed, control)
        return {**out, "targeting": {"if": [*args[:-1], out["targeting"]["if"][-1]]}} if args else out

    return patch.object(composing, "without", sparing)


def our_own_shares_are_taken_for_peoples() -> AbstractContextManager[Any]:
    """What the store tells after a decision was carried out is a change of people's, with budget of its own."""
    return patch.object(told, "_take_own", lambda state, _now, now_ms: told._take_theirs(state, "", {}, now_ms))


@contextmanager
def every_clock_is_believed() -> Iterator[None]:
    """An entry counts at the time of whoever wrote it, whenever it was kept."""
    with patch.object(judging, "dated", _as_it_is), patch.object(liveness, "dated", _as_it_is):
        yield


def _as_it_is(entry: Any, _: Any) -> Any:
    return entry


MUTANTS: tuple[Mutant, ...] = (
    outbox_forgets_when_it_sends_again, a_restart_pays_again, a_policy_change_revives, sources_are_kept_first,
    entries_count_again_after_a_restart, late_outcomes_are_dropped, advance_ignores_calm, nothing_advances,
    old_commands_are_new, older_decisions_count, a_resume_overtakes_nothing,
    kills_are_given_up, edits_are_overwritten, snapshots_skip_failed_units, min_units_is_ignored,
    evidence_is_rounded_up, nothing_is_read, a_broken_pipeline_kills, nobody_is_missed, stepping_back_keeps_the_stage,
    aborted_events_are_lost, each_gets_the_whole_share, a_kill_spares_rings,
    our_own_shares_are_taken_for_peoples, every_clock_is_believed,
)  # fmt: skip


def caught_by(mutant: Mutant, seeds: Iterable[int]) -> str:
    """What the first seed that catches it says; empty where none does."""
    with mutant():
        for seed in seeds:
            try:
                play(seed)
            except Broken as error:
                return str(error).splitlines()[0]
    return ""
