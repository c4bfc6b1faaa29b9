"""What becomes of a rollout whose snapshot is lost: the very same state, or as much of it as the journal still tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide, Effect
from guardian.journal import (
    NOTICED,
    Beat,
    Entry,
    Keepsake,
    Override,
    PolicyEntry,
    ReceiptEntry,
    Summary,
    decode,
    encode,
)
from guardian.keepsakes import keepsake_of
from guardian.names import sequence_of
from guardian.policy import Policy, policy_hash
from guardian.rebuilding import Rebuilding
from guardian.rollout import Status
from guardian.state import RolloutState
from tests.support.traffic import KEY, T0_MS, Traffic, entries, policy

OTHER = "production|search"
STAGES = [{"share": "10%", "for": "10s"}, {"share": "50%", "for": "10s"}, {"share": "100%"}]
BUG = Traffic(seconds=20, rps=100, error=lambda v, s: 0.3 if v == "treatment" and s > 5 else 0.01, seed=5)
HEALTHY = Traffic(seconds=40, rps=60, seed=5)


def said(terms: Policy, key: str = KEY, at_ms: int = T0_MS) -> PolicyEntry:
    document = terms.to_document() | {"flag": key.partition("|")[2]}
    return PolicyEntry(at_ms=at_ms, key=key, hash=policy_hash(policy(**document)), document=document)


def twofold(traffic: Traffic, terms: Policy | None = None) -> list[Entry]:
    """The journal of two flags under the same traffic."""
    found: list[Entry] = [said(terms or policy()), said(terms or policy(), OTHER)]
    for entry in entries(traffic.requests(), exposures=True):
        if isinstance(entry, Summary):
            entry.flags += [msgspec.structs.replace(sums, key=OTHER) for sums in entry.flags]
        found.append(entry)
    return found


def run(bank: Bank | Rebuilding, journal: Sequence[Entry], first: int = 0) -> list[Effect]:
    return [effect for offset, entry in enumerate(journal[first:], first) for effect in bank.apply(offset, entry)]


def decided(effects: Sequence[Effect]) -> list[Decision]:
    return [effect.decision for effect in effects if isinstance(effect, Decide)]


def answered(journal: list[Entry]) -> list[Entry]:
    """The same journal with the receipts that act would have written, each right after its decision."""
    bank, found = Bank(JudgeConfig()), list[Entry]()
    for entry in journal:
        found.append(entry)
        made = decided(bank.apply(len(found) - 1, entry))
        for decision in {one.decision_id: one for one in made}.values():
            found.append(receipt(decision, getattr(entry, "at_ms", T0_MS)))
            bank.apply(len(found) - 1, found[-1])
    return found


def receipt(decision: Decision, at_ms: int) -> ReceiptEntry:
    key = f"{decision.environment}|{decision.flag_key}"
    return ReceiptEntry(
        at_ms=at_ms, key=key, decision_id=decision.decision_id, status="applied", action=decision.action,
        variation=decision.variant,
    )  # fmt: skip


def kept(journal: list[Entry], seen: int, key: str = KEY) -> PolicyEntry:
    """What judge would write of a rollout once it has seen so many entries."""
    bank = Bank(JudgeConfig())
    run(bank, journal[:seen])
    state = bank.rollouts[key]
    said_ms = bank.sources.now_ms
    entry = PolicyEntry(
        at_ms=said_ms, key=key, hash=state.policy_hash, document=state.policy.to_document(), by=NOTICED,
        keepsake=keepsake_of(state, seen - 1),
    )  # fmt: skip
    again = decode(encode(entry))
    assert isinstance(again, PolicyEntry)
    return again


def rebuilt(journal: Sequence[Entry], begins: int = 0) -> Bank:
    """What is made of a journal that begins at this offset."""
    rebuilding = Rebuilding(Bank(JudgeConfig()), begins)
    for entry in journal[begins:]:
        rebuilding.look(entry)
    run(rebuilding, journal, begins)
    return rebuilding.bank


def state_of(bank: Bank) -> RolloutState:
    return bank.rollouts[KEY]


KILLED = answered(twofold(BUG))
KILL_AT = next(at for at, entry in enumerate(KILLED) if isinstance(entry, ReceiptEntry) and entry.key == KEY)


@given(damaged_at=st.integers(5, len(KILLED) - 20), met_after=st.integers(0, 15), everything=st.booleans())
@settings(max_examples=12, deadline=None)
def test_what_is_rebuilt_is_what_was_lost(damaged_at: int, met_after: int, everything: bool) -> None:
    """Whenever a part (or all of them) is lost: rebuilt, it goes on with the same decisions, to the same byte."""
    whole, live = Bank(JudgeConfig()), Bank(JudgeConfig())
    before = run(whole, KILLED[:damaged_at])
    for part in () if everything else (OTHER, Bank.SOURCES):
        live.load(part, whole.snapshot(part))
    live.is_partial = True
    met_at = damaged_at + met_after
    run(live, KILLED[:met_at], damaged_at)
    taken = live.adopt(rebuilt(KILLED[:met_at]), [Bank.SOURCES] if everything else [KEY])

    assert ([KEY, OTHER] if everything else [KEY]) == taken
    before += run(whole, KILLED[:met_at], damaged_at)
    assert decided(run(whole, KILLED, met_at)) == decided(run(live, KILLED, met_at))
    for part in (KEY, OTHER, Bank.SOURCES):
        assert whole.snapshot(part) == live.snapshot(part)


def test_no_rollout_begins_while_one_is_rebuilt() -> None:
    """A policy that is written meanwhile may be that of the lost rollout: it is the rebuilt one that takes it."""
    live = Bank(JudgeConfig())
    live.is_partial = True
    again = said(policy(owner="others"))
    journal = [*KILLED, again]
    run(live, journal, len(KILLED) - 1)

    assert ({}, {}) == (live.rollouts, live.unwatched)
    live.adopt(rebuilt(journal), [KEY])
    assert ("others", True) == (state_of(live).policy.owner, state_of(live).variations["treatment"].killed)


@pytest.mark.parametrize("late", [0, 12])
def test_a_killed_variation_stays_killed_when_its_kill_is_retained_no_more(late: int) -> None:
    """
    A keepsake tells of the kill, also one written by a worker that had not seen it yet (``late``): what lies between
    is read from the journal. What comes next has a number that was not given before.
    """
    keepsake = kept(KILLED, KILL_AT + 1 - late)
    assert (late == 0) == ("treatment" in (keepsake.keepsake or Keepsake(seen=0)).killed)
    journal = [*KILLED[: KILL_AT + 3], keepsake, *KILLED[KILL_AT + 3 :]]
    bank = rebuilt(journal, KILL_AT + 1 - late)
    resume = Override(at_ms=T0_MS + 90_000, key=KEY, action="resume", variation="treatment", by="ada", reason="mended", id="r")

    assert Status.KILLED == state_of(bank).course("treatment").status
    assert [] == state_of(bank).alive()
    assert [f"{KEY}|treatment|2"] == [one.decision_id for one in decided(bank.apply(len(journal), resume))]
    assert "is known no more" in bank.view(KEY).note


def test_a_keepsake_that_leaves_a_gap_is_not_believed() -> None:
    """Where entries are gone that a keepsake has not seen, the rollout is held instead: a kill may be among them."""
    journal = [*KILLED[: KILL_AT + 3], kept(KILLED, KILL_AT - 5), *KILLED[KILL_AT + 3 : KILL_AT + 10]]
    bank = rebuilt(journal, KILL_AT + 1)

    assert (Status.HOLDING, "Held: ") == (state_of(bank).status, state_of(bank).explanation[:6])
    assert state_of(bank).sequence > KILL_AT


def test_a_rollout_that_began_since_is_rebuilt_whole() -> None:
    """Retention has passed for others, and all of this one is there: it is what it was, keepsake or not."""
    first = 30
    beats: list[Entry] = [Beat(source="file/0", at_ms=T0_MS, passed_ms=T0_MS)] * first
    journal = [*beats, *KILLED]
    late = kept(journal, len(journal) - 5)
    whole = Bank(JudgeConfig())
    run(whole, [*journal, late])
    bank = rebuilt([*journal, late], first - 10)

    assert state_of(whole).snapshot() == state_of(bank).snapshot()
    assert "" == bank.view(KEY).note


ADVANCING = answered(twofold(HEALTHY, policy(stages=STAGES)))


def test_without_its_evidence_a_rollout_waits_for_new_evidence() -> None:
    """From a keepsake a stage begins anew: without telemetry it stays for ever, with it as long as a whole stage."""
    at = next(at for at, entry in enumerate(ADVANCING) if isinstance(entry, ReceiptEntry) and entry.key == KEY)
    seen = at + 95  # nine and a half seconds of the ten
    keepsake = kept(ADVANCING, seen)
    assert 0 < (keepsake.keepsake or Keepsake(seen=0)).courses["treatment"]["ran_ms"] < 10_000
    quiet = [Beat(source="file/0", at_ms=keepsake.at_ms + 100 * n, passed_ms=keepsake.at_ms + 100 * n) for n in range(600)]
    unwatched = [*ADVANCING[:seen], keepsake, *quiet]
    bank = rebuilt(unwatched, seen)

    assert (1, Status.RUNNING) == (state_of(bank).stage, state_of(bank).status)
    assert [] == state_of(bank).outbox

    rebuilding = Rebuilding(Bank(JudgeConfig()), seen)
    watched = [*ADVANCING[:seen], keepsake, *(one for one in ADVANCING[seen:] if not isinstance(one, ReceiptEntry))]
    for entry in watched[seen:]:
        rebuilding.look(entry)
    advances = [one for one in decided(run(rebuilding, watched, seen)) if one.flag_key == "checkout-v2"]
    assert ["advance"] == [one.action for one in advances[:1]]
    assert _ms(advances[0]) - keepsake.at_ms >= 9_900


def test_an_advance_that_was_carried_out_is_where_the_rollout_stands() -> None:
    """What the store has done since the keepsake is so, whether the evidence left leads to it or not."""
    at = next(at for at, entry in enumerate(ADVANCING) if isinstance(entry, ReceiptEntry) and entry.key == KEY)
    bank = rebuilt([*ADVANCING[: at + 95], kept(ADVANCING, at + 95), *ADVANCING[at + 95 : at + 110]], at + 95)
    course = state_of(bank).course("treatment")

    assert (2, [{"": 1.0}], 2) == (course.stage, course.grants, state_of(bank).sequence)


def test_a_rollout_of_an_unknown_past_is_held_and_watched() -> None:
    """Neither keepsake nor beginning: it advances no more until resumed, is killed for harm, under new numbers."""
    journal = [*KILLED[:20], said(policy(stages=STAGES)), *KILLED[20:]]
    rebuilding = Rebuilding(Bank(JudgeConfig()), 10)
    for entry in journal[10:]:
        rebuilding.look(entry)
    made = [one for one in decided(run(rebuilding, journal, 10)) if one.flag_key == "checkout-v2"]

    assert {"kill"} == {one.action for one in made}
    assert min(sequence_of(one.decision_id) for one in made) > 20
    healthy = [*ADVANCING[:20], said(policy(stages=STAGES), at_ms=T0_MS + 2_000), *ADVANCING[20:]]
    bank = rebuilt(healthy, 10)
    assert (Status.HOLDING, 0) == (state_of(bank).status, state_of(bank).stage)
    resume = Override(at_ms=T0_MS + 90_000, key=KEY, action="resume", by="ada", reason="looked at", id="r")
    bank.apply(len(healthy), resume)
    assert Status.RUNNING == state_of(bank).status


def test_a_lost_rollout_waits_for_its_policy_and_is_held_then() -> None:
    """Of a rollout that the journal does not tell of nothing is made up; its policy, said again, begins it held."""
    live = Bank(JudgeConfig())
    live.is_partial = True
    live.adopt(rebuilt(KILLED[:0]), [KEY])
    run(live, KILLED[2:50], 2)

    assert ({KEY}, {}) == (live.lost, live.rollouts)
    assert KEY not in live.unwatched
    live.apply(60, said(policy()))
    assert (Status.HOLDING, set(), 60) == (state_of(live).status, live.lost, state_of(live).sequence)


@pytest.mark.parametrize(
    ("action", "status", "then"),
    [
        ("kill", "applied", Status.KILLED), ("kill_flag", "already", Status.KILLED), ("step_back", "applied", Status.HOLDING),
        ("kill", "shadow", Status.RUNNING), ("kill", "failed", Status.RUNNING),
    ],
)  # fmt: skip
def test_what_was_carried_out_is_believed_though_this_past_does_not_lead_to_it(
    action: str, status: str, then: Status
) -> None:
    """
    Another version had decided what this one does not: a kill stays, after anything else people are waited for, and its
    number is not given again.
    """
    bank = Bank(JudgeConfig())
    journal = [said(policy()), *entries(HEALTHY.requests()[:600], exposures=True)]
    run(bank, journal)
    foreign = ReceiptEntry(
        at_ms=bank.sources.now_ms, key=KEY, decision_id=f"{KEY}|treatment|7", status=status, action=action,
        variation="treatment",
    )  # fmt: skip
    bank.apply(len(journal), foreign)

    assert (7, then) == (state_of(bank).sequence, state_of(bank).course("treatment").status)
    assert ([] if then == Status.KILLED else ["treatment"]) == state_of(bank).alive()


def test_a_keepsake_that_cannot_be_read_holds_the_rollout() -> None:
    """A keepsake of another version that says what this one does not know begins nothing but a rollout that waits."""
    entry = kept(KILLED, KILL_AT + 1)
    assert entry.keepsake is not None
    for strange in ({"joins": "hovering"}, {"courses": {"treatment": {"stage": "two"}}}, {"outbox": [{"raw": 1}]}):
        odd = msgspec.structs.replace(entry, keepsake=msgspec.structs.replace(entry.keepsake, **strange))
        bank = Bank(JudgeConfig())
        bank.apply(500, odd)

        assert (Status.HOLDING, 500) == (state_of(bank).status, state_of(bank).sequence)


def test_an_open_decision_outlives_the_journal() -> None:
    """A kill without a receipt is in the keepsake, and is sent again by whoever begins with it."""
    journal = twofold(BUG)
    bank = Bank(JudgeConfig())
    at = next(at for at, entry in enumerate(journal) if any(d.action == "kill" for d in decided(bank.apply(at, entry))))
    keepsake = kept(journal, at + 1)
    again = rebuilt([*journal[: at + 1], keepsake, *journal[at + 1 : at + 5]], at + 1)

    assert [one.decision_id for one in bank.outbox() if one.flag_key == "checkout-v2"] == [d.decision_id for d in again.outbox()]
    assert f"{KEY}|treatment|1" == state_of(again).verify["treatment"].decision_id


def _ms(decision: Decision) -> int:
    return round(datetime.fromisoformat(decision.decided_at).timestamp() * 1_000)
