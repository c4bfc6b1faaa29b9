"""``guardian verify`` over what simulated guardians leave behind: honest topics hold, and each change of them is found."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guardian.decisions import Decision
from streams.keys import Keys, new_private
from tests.simulation.left import Left, left_by
from tests.simulation.workers import TOPICS

SEEDS = (3, 7, 14, 17, 21)


@functools.cache
def example() -> tuple[Left, int]:
    """What the first world leaves that has five decisions of one rollout or more, and which of them is a kill on evidence."""
    for left in map(left_by, itertools.count()):
        kills = [at for at, (_, one) in enumerate(left.decisions) if one.action == "kill" and one.evidence is not None]
        if len(left.decisions) >= 5 and len({key for key, _ in left.decisions}) == 1 and kills and kills[0] >= 3:
            return left, kills[0]
    raise AssertionError


@pytest.mark.parametrize("seed", SEEDS)
def test_what_an_honest_guardian_leaves_behind_holds(seed: int) -> None:
    """
    Whatever crashes, is repeated or comes late: no link is broken, and judging the journal again gives each decision.
    """
    assert left_by(seed).decisions
    assert [] == left_by(seed).breaks(recompute=True)


def rewritten(left: Left, change: Callable[[dict[str, Any]], object], of_type: str) -> Left:
    """With each journal entry of a type changed, or taken away where *change* returns False."""
    kept = []
    for value, kept_ms in left.journal:
        entry = json.loads(value)
        if entry["type"] != of_type:
            kept.append((value, kept_ms))
        elif change(entry) is not False:
            kept.append((json.dumps(entry).encode(), kept_ms))
    return replace(left, journal=kept)


def changed(left: Left, **fields: Any) -> Left:
    return left.changed(example()[1], **fields)


def kill(left: Left) -> Decision:
    return left.decisions[example()[1]][1]


def evidence(left: Left, **fields: float) -> Left:
    held = kill(left).evidence
    assert held is not None
    return changed(left, evidence=held.model_copy(update=fields))


def without_receipts(left: Left) -> Left:
    return replace(left, receipts=[one for one in left.receipts if one.decision_id != kill(left).decision_id])


def forged(left: Left, **fields: object) -> Left:
    named = kill(left).decision_id.rpartition("|")[0] + f"|{len(example()[0].decisions) + 1}"
    made = kill(left).model_copy(update={"decision_id": named, **fields})
    return replace(left, decisions=[*left.decisions, (left.decisions[example()[1]][0], made)])


def more_receipts(left: Left, **fields: object) -> Left:
    found = next(one for one in left.receipts if one.decision_id == kill(left).decision_id)
    return replace(left, receipts=[*left.receipts, found.model_copy(update=fields)])


def weaker(left: Left) -> Left:
    return evidence(left, log_e=-0.1)


def failed(left: Left) -> Left:
    told = [one.model_copy(update={"status": "failed", "receipt_id": f"{one.decision_id}|failed"}) for one in left.receipts]
    return replace(left, receipts=told)


def late_policy(left: Left) -> Left:
    return rewritten(left, lambda entry: entry.update(at_ms=9_000_000_000_000), "policy")


def other_policy(left: Left) -> Left:
    return rewritten(left, lambda entry: entry["document"].update(owner="me"), "policy")


def same_number(left: Left) -> Left:
    return forged(left, decision_id=kill(left).decision_id.replace("|treatment|", "|other|"), variant="other")


def taken_away(left: Left) -> Left:
    return replace(left, decisions=left.decisions[: example()[1]] + left.decisions[example()[1] + 1 :])


CHANGES: dict[str, tuple[Callable[[Left], Left], str]] = {
    "less evidence than is asked for": (weaker, "its evidence is -0.1, and had to be"),
    "no number as evidence": (lambda left: evidence(left, log_e=float("nan")), "data.evidence.log_e: "),
    "evidence after the decision": (
        lambda left: changed(left, evidence_to="2030-01-01T00:00:00.000Z"), "its evidence is from",
    ),
    "a kill without evidence": (lambda left: forged(left, evidence=None), "without evidence, and nobody has asked for it"),
    "a kill by nobody's wish": (lambda left: forged(left, evidence=None, caused_by="x"), "nobody has asked for it"),
    "another policy": (lambda left: changed(left, policy_hash="sha256:1"), "no policy of"),
    "another guardrail": (lambda left: changed(left, guardrail="csat < 4"), "no guardrail csat < 4"),
    "more than is asked for": (lambda left: changed(left, action="kill_flag"), "is more than its guardrail asks for"),
    "another mode": (lambda left: changed(left, mode="shadow"), "its mode is shadow"),
    "another control": (lambda left: changed(left, control="treatment"), "compares with treatment"),
    "another flag": (lambda left: changed(left, flag_key="rival"), "stands under the key"),
    "an id of another form": (lambda left: changed(left, decision_id="x"), "is no id of a decision"),
    "two under one id": (lambda left: forged(left, decision_id=kill(left).decision_id, owner="me"), "under the same id"),
    "two under one number": (same_number, "has the number "),
    "a decision taken away": (taken_away, " is not there"),
    "a policy that was changed": (other_policy, "is said to be sha256:"),
    "a policy that came later": (late_policy, "came after it"),
    "receipts taken away": (without_receipts, "the journal has an answer, and there is no receipt"),
    "a receipt of no decision": (lambda left: more_receipts(left, decision_id="a|b|c|1"), "there is no decision a|b|c|1"),
    "a receipt of another variation": (lambda left: more_receipts(left, variant="x", status="applied"), "is about kill of 'x'"),
    "a receipt about another flag": (lambda left: more_receipts(left, flag_key="x"), "its decision is not"),
    "a receipt before its decision": (lambda left: more_receipts(left, at="2001-01-01T00:00:00Z"), "before its decision"),
    "a receipt under another id": (lambda left: more_receipts(left, receipt_id="x"), "its id should be"),
    "judge was told that it is done": (failed, "the receipts say failed"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_each_link_that_is_changed_is_found(name: str) -> None:
    """
    Whoever changes a topic afterwards, or writes what the guardian did not, is found, and told by record and reason.
    """
    change, said = CHANGES[name]

    assert any(said in one.why for one in change(example()[0]).breaks())


def test_a_wish_that_was_taken_away_is_missed() -> None:
    """A person's kill without evidence holds only while the journal says who wanted it."""
    left = left_by(2)

    assert [] == left.breaks()
    assert any("nobody has asked" in one.why for one in rewritten(left, lambda _: False, "override").breaks())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda left: evidence(left, events=10_000), "the journal leads to another evidence"),
        (forged, "the journal does not lead to it"),
        (lambda left: replace(left, decisions=left.decisions[: example()[1]]), "leads to it, and it is not among the decisions"),
    ],
)
def test_what_fits_together_and_is_not_true_is_found_by_judging_again(change: Callable[[Left], Left], said: str) -> None:
    """
    A forgery that contradicts nothing that is written passes the chain; it does not pass the engine.
    """
    # Entries go on for long enough that nothing can still be under way.
    left = change(example()[0])
    last, kept_ms = json.loads(left.journal[-1][0]), left.journal[-1][1] + 120_000
    beat = {"type": "beat", "source": "x/0", "at_ms": last["at_ms"] + 120_000, "passed_ms": last["at_ms"] + 120_000}
    left = replace(left, journal=[*left.journal, (json.dumps(beat).encode(), kept_ms)])

    found = left.breaks(recompute=True)

    assert any(said in one.why for one in found), found
    assert not any("journal leads" in one.why or "journal does not lead" in one.why for one in left.breaks())


def test_what_was_forgotten_with_its_time_is_not_broken() -> None:
    """
    Kafka forgets the journal first: what can no longer be checked is counted, and neither broken nor computed again.
    """
    left = rewritten(example()[0], lambda _: False, "policy")
    audit = left.audit(recompute=True)
    audit.begins(TOPICS.journal, 0, 1_000)

    assert any("no policy of" in one.why for one in left.breaks())
    assert [] == [one for one in audit.breaks() if "policy" in one.why]
    assert len(example()[0].decisions) == audit.untold["the policy is no longer in the journal"]


def test_who_has_signed_is_checked() -> None:
    """
    With trusted keys every record needs the signature of one of them; what stood there before signing began is counted.
    """
    left, ours = example()[0], Keys(new_private())
    theirs = Keys(new_private())

    assert [] == left.breaks(keys=ours, signer=lambda topic, offset: ours)
    assert 7 <= len(left.breaks(keys=ours))
    assert any("is not one of the trusted keys" in one.why for one in left.breaks(keys=ours, signer=lambda *_: theirs))

    began = left.audit(keys=ours, signer=lambda _, offset: ours if offset >= 2 else Keys())
    assert [] == began.breaks()
    assert 4 == sum(began.untold.values())

    late = left.breaks(keys=ours, signer=lambda _, offset: ours if offset < 2 else Keys())
    assert {f"{TOPICS.decisions}/0/{at}" for at in (2, 3, 4)} <= {str(one.place) for one in late}
