"""What a store has answered to a decision."""

from __future__ import annotations

from guardian.advancing import take_answer, take_late
from guardian.believing import believe
from guardian.decisions import Decision
from guardian.effects import Decide, Effect
from guardian.intake import known_change
from guardian.journal import ReceiptEntry
from guardian.looking_back import look_back
from guardian.names import Millis, sequence_of
from guardian.served import served_now
from guardian.silence import await_again
from guardian.state import RolloutState
from guardian.verify import applied


def take_receipt(state: RolloutState, entry: ReceiptEntry, bound_ms: Millis) -> list[Effect]:
    """
    A store answered: the decision leaves the outbox; a change of shares that was carried out opens an epoch.

    One that waits for its store stays, until it was carried out or a later decision has overtaken it. A kill that
    shadow mode did not carry out is looked back on. Of an advance that nobody knows of whether it was carried out,
    what it may have given is taken back. After a kill clients have ``bound_ms``. One of a later decision than any that
    is known tells of a past that is lost.
    """
    believe(state, entry)
    state.store, state.follows_ms = entry.store or state.store, entry.propagation_ms or state.follows_ms
    answered = [p for p in state.outbox if p.decision_id == entry.decision_id]
    if entry.status == "waiting":
        for pending in answered:
            pending.waits = True
        return []
    state.outbox = [p for p in state.outbox if p.decision_id != entry.decision_id]
    decisions = [pending.decision() for pending in answered]
    if entry.status in ("applied", "already"):
        _take_done(state, entry, decisions, bound_ms)
    elif entry.status == "shadow":
        for decision in decisions:
            look_back(state, decision)
    return [Decide(made) for decision in decisions for made in take_answer(state, entry, decision)]


def _take_done(state: RolloutState, entry: ReceiptEntry, decisions: list[Decision], bound_ms: Millis) -> None:
    """The store has carried out *decisions*; or, where they were answered before, what it had refused."""
    applied(state, entry, bound_ms)
    # Where it was so before, what was told of it still is.
    order = sequence_of(entry.decision_id) if entry.status == "applied" else 0
    served = served_now(state.served, order, {sequence_of(pending.decision_id) for pending in state.outbox})
    for decision in decisions:
        action = decision.action
        if action in ("advance", "step_back", "resume"):
            known_change(state, state.policy, entry.at_ms, action, decision.variant, served)
            if action == "resume":
                await_again(state, decision.variant, entry.at_ms)
        elif action in ("kill", "kill_flag"):
            state.population.open(entry.at_ms, action, served=served)
    if not decisions and (variation := take_late(state, entry)):
        known_change(state, state.policy, entry.at_ms, "advance", variation, served)
