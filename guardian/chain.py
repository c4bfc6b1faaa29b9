"""
The chain from what is known to what was done: policy and evidence, decision, receipt; and where it is broken.

Whoever reads the topics can see whether each decision rests on something, and each receipt on a decision. What cannot be
told from the topics (a record that was forgotten with its time) is counted, never taken for broken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from guardian.decisions import Decision, Receipt
from guardian.guardrails import Action
from guardian.journal import Override, PolicyEntry, ReceiptEntry, is_answer
from guardian.names import Millis, decision_id, rollout_key, sequence_of
from guardian.policy import document_hash

CLOCKS_APART_MS = 60_000
"""Receipts are dated by act's clock, decisions by the journal's: so far may they be apart."""
ROUNDED = 1e-6
"""Evidence and threshold are written with six digits after the point."""
DONE = frozenset({"applied", "already", "shadow", "superseded"})
SEEN = frozenset({"effective", "not_effective"})
"""What judge says of a kill, of each variation that it ended."""
ASKED_FOR = frozenset({"kill", "kill_flag", "pause", "resume"})
"""What is decided on evidence, or because a person wants it; other decisions are steps of the stages."""


class Place(NamedTuple):
    """Where a record stands, and when it was written there."""

    topic: str
    partition: int
    offset: int
    at_ms: Millis

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Break(NamedTuple):
    """A link that does not hold: the record, and what is wrong with it."""

    place: Place
    why: str


@dataclass(slots=True)
class Chain:
    """
    The records of one partition number, taken in in any order; then ``breaks`` are asked for.

    ``journal_whole``, ``decisions_whole`` and ``receipts_whole`` say whether that topic still has its first record.
    ``untold`` counts by reason what could not be checked, once ``breaks`` were asked for.
    """

    journal_whole: bool = True
    decisions_whole: bool = True
    receipts_whole: bool = True
    untold: Counter[str] = field(default_factory=Counter)
    decisions: dict[str, tuple[Place, Decision]] = field(default_factory=dict)
    receipts: list[tuple[Place, Receipt]] = field(default_factory=list)
    _policies: dict[tuple[str, str], PolicyEntry] = field(default_factory=dict)
    _wishes: set[tuple[str, str]] = field(default_factory=set)
    _answers: list[tuple[Place, ReceiptEntry]] = field(default_factory=list)
    _numbers: dict[tuple[str, int], str] = field(default_factory=dict)
    _found: list[Break] = field(default_factory=list)

    @property
    def unanswered(self) -> list[str]:
        """The ids of decisions that have no receipt."""
        answered = {receipt.decision_id for _, receipt in self.receipts}
        return [made for made in self.decisions if made not in answered]

    def take_entry(self, place: Place, entry: object) -> None:
        """Take an entry of the journal; sums and beats say nothing by themselves."""
        match entry:
            case PolicyEntry():
                self._policies.setdefault((entry.key, entry.hash), entry)
                if (found := document_hash(entry.document)) != entry.hash:
                    self._found.append(Break(place, f"policy of {entry.key}: is said to be {entry.hash}, and is {found}"))
            case Override():
                self._wishes.add((entry.key, entry.id))
            case ReceiptEntry() if is_answer(entry):
                self._answers.append((place, entry))

    def take_decision(self, place: Place, key: str, decision: Decision) -> None:
        """Take a record of the decisions."""
        named = decision.decision_id
        if named in self.decisions:
            if self.decisions[named][1] != decision:
                said = f"is another decision than {self.decisions[named][0]}, under the same id"
                self._found.append(Break(place, f"{named}: {said}"))
            return
        self.decisions[named] = place, decision
        self._found += [Break(place, f"{named}: {why}") for why in _wrong_names(key, decision)]
        number = sequence_of(named)
        before = self._numbers.setdefault((key, number), named)
        if before != named:
            self._found.append(Break(place, f"{named}: {before} has the number {number}, too"))

    def take_receipt(self, place: Place, receipt: Receipt) -> None:
        """Take a record of the receipts."""
        self.receipts.append((place, receipt))

    def breaks(self) -> list[Break]:
        """Return what does not hold, the record that was written first before all others."""
        found = [*self._found, *self._numbers_missing()]
        for place, decision in self.decisions.values():
            found += [Break(place, f"{decision.decision_id}: {why}") for why in self._wrong_grounds(decision)]
        for place, receipt in self.receipts:
            found += [Break(place, f"receipt {receipt.receipt_id}: {why}") for why in self._wrong_receipt(receipt)]
        answers = self._statuses()
        for place, entry in self._answers:
            found += [Break(place, f"answer to {entry.decision_id}: {why}") for why in self._wrong_answer(entry, answers)]
        return sorted(found, key=lambda one: (one.place.at_ms, one.place))

    # ------------------------------------------------------------------ what a decision rests on

    def _numbers_missing(self) -> Iterator[Break]:
        """A rollout's decisions are numbered without a gap: one that is missing was taken away."""
        numbers = defaultdict(set)
        for key, number in self._numbers:
            numbers[key].add(number)
        for key, known in numbers.items():
            first = 1 if self.decisions_whole else min(known)
            missing = sorted(set(range(first, max(known))) - known)
            if missing:
                after = min(number for number in known if number > missing[0])
                place, _ = self.decisions[self._numbers[key, after]]
                yield Break(place, f"{self._numbers[key, after]}: decision {missing[0]} of {key} is not there")

    def _wrong_grounds(self, decision: Decision) -> Iterator[str]:
        yield from _wrong_evidence(decision)
        key = rollout_key(decision.environment, decision.flag_key)
        policy = self._policies.get((key, decision.policy_hash))
        if policy is not None:
            yield from _wrong_policy(decision, policy)
        elif self.journal_whole:
            yield f"no policy of {key} in the journal is {decision.policy_hash}"
        else:
            self.untold["the policy is no longer in the journal"] += 1
        if decision.evidence is None and decision.action in ASKED_FOR and (key, decision.caused_by) not in self._wishes:
            if self.journal_whole:
                yield f"a {decision.action} without evidence, and nobody has asked for it in the journal"
            else:
                self.untold["who asked for it is no longer in the journal"] += 1

    # ------------------------------------------------------------------ what came of it

    def _wrong_receipt(self, receipt: Receipt) -> Iterator[str]:
        found = self.decisions.get(receipt.decision_id)
        if found is None:
            if self.decisions_whole:
                yield f"there is no decision {receipt.decision_id}"
            else:
                self.untold["the decision is no longer in its topic"] += 1
            return
        decision = found[1]
        about = (receipt.environment, receipt.flag_key)
        if about != (decision.environment, decision.flag_key):
            yield f"is about {'|'.join(about)}, its decision is not"
        if receipt.status in SEEN:
            expected = f"{receipt.decision_id}|{receipt.variant}|{receipt.status}"
            if not decision.action.startswith("kill"):
                yield f"says {receipt.status} of a decision that is no kill"
        else:
            expected = f"{receipt.decision_id}|{receipt.status}"
            if (receipt.variant, receipt.action) != (decision.variant, decision.action):
                yield f"is about {receipt.action} of {receipt.variant!r}, its decision is not"
        if receipt.receipt_id != expected:
            yield f"its id should be {expected}"
        if millis(receipt.at) + CLOCKS_APART_MS < millis(decision.decided_at):
            yield f"is of {receipt.at}, before its decision ({decision.decided_at})"

    def _statuses(self) -> dict[str, set[str]]:
        statuses: dict[str, set[str]] = defaultdict(set)
        for _, receipt in self.receipts:
            statuses[receipt.decision_id].add(receipt.status)
        return statuses

    def _wrong_answer(self, entry: ReceiptEntry, receipts: dict[str, set[str]]) -> Iterator[str]:
        """What judge was told of a decision must be what all others were told: else a kill could be hidden from it."""
        told = receipts.get(entry.decision_id, set()) - SEEN
        if not told and not self.receipts_whole:
            self.untold["the receipt is no longer in its topic"] += 1
        elif not told:
            yield "the journal has an answer, and there is no receipt"
        elif entry.status in DONE and not told & DONE:
            yield f"the journal says {entry.status}, the receipts say {', '.join(sorted(told))}"


def millis(at: str) -> Millis:
    """Return an RFC 3339 time as milliseconds since the epoch."""
    return round(datetime.fromisoformat(at).timestamp() * 1_000)


def _wrong_names(key: str, decision: Decision) -> Iterator[str]:
    own = rollout_key(decision.environment, decision.flag_key)
    if key != own:
        yield f"stands under the key {key}, and is about {own}"
    number = sequence_of(decision.decision_id)
    if number < 1 or decision.decision_id != decision_id(own, decision.variant, number):
        yield f"is no id of a decision about {decision.variant!r} of {own}"


def _wrong_evidence(decision: Decision) -> Iterator[str]:
    times = decision.evidence_from, decision.evidence_to, decision.decided_at
    if sorted(times, key=millis) != list(times):
        yield f"its evidence is from {times[0]} to {times[1]}, and it was decided at {times[2]}"
    evidence = decision.evidence
    if evidence is not None and not evidence.log_e >= evidence.log_threshold - ROUNDED:
        yield f"its evidence is {evidence.log_e:g}, and had to be {evidence.log_threshold:g}"


def _wrong_policy(decision: Decision, policy: PolicyEntry) -> Iterator[str]:
    document = policy.document
    if policy.at_ms > millis(decision.decided_at):
        yield f"policy {policy.hash} came after it"
    if decision.control != document.get("control", "control"):
        yield f"compares with {decision.control}, and its policy with {document.get('control')}"
    if decision.evidence is None:
        return
    if decision.mode != document.get("mode", "enforce"):
        yield f"its mode is {decision.mode}, and its policy's is {document.get('mode')}"
    rules: list[dict[str, Any]] = document.get("guardrails", [])
    then = [Action(rule["then"]) for rule in rules if rule["when"] == decision.guardrail]
    if not then:
        yield f"its policy has no guardrail {decision.guardrail}"
    elif decision.action in list(Action) and max(then) < decision.action:
        yield f"{decision.action} is more than its guardrail asks for: {max(then)}"
