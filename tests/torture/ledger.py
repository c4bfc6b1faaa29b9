"""What came of known events: everything that was written, counted against what was sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from guardian.bank import Bank
from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from guardian.journal import Beat, Summary, decode
from guardian.names import rollout_key, split_rollout_key
from streams.changelog import changelog_topic
from streams.cloudevents import from_event
from streams.flag_state import read_record
from streams.settings import Settings
from streams.snapshots import split_table_key, unpacked
from tests.support.installation import written
from tests.torture.story import Totals

KINDS = ("exposures", "outcomes", "errors")
Seconds = float


@dataclass
class Ledger:
    """All that one installation wrote; times are the records', in seconds by the clock."""

    records: dict[str, list[ConsumerRecord]]
    settings: Settings
    decisions: dict[str, Decision] = field(default_factory=dict)
    decided_s: dict[str, Seconds] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @classmethod
    async def read(cls, settings: Settings) -> Ledger:
        """Read all that stands in the installation's topics now."""
        topics = settings.topics
        changelog = changelog_topic(settings)
        names = (topics.journal, topics.decisions, topics.receipts, topics.flag_state, topics.dead_letters, changelog)
        async with written(settings, *names) as found:
            await found.to_end()
        records: dict[str, list[ConsumerRecord]] = {name: [] for name in names}
        for record in found.records:
            records[record.topic].append(record)
        ledger = cls(records, settings)
        ledger._read_decisions()
        return ledger

    def _read_decisions(self) -> None:
        for record in self.records[self.settings.topics.decisions]:
            decision = from_event(record.value, Decision, type=DECISION_TYPE)
            if decision != self.decisions.setdefault(decision.decision_id, decision):
                self.wrong.append(f"one id, two decisions: {decision.decision_id}")
            at_s = record.timestamp / 1_000
            self.decided_s[decision.decision_id] = min(self.decided_s.get(decision.decision_id, at_s), at_s)

    # ------------------------------------------------------------------ events

    def summed(self) -> Totals:
        """What the journal says there was."""
        totals: Totals = Counter()
        for record in self.records[self.settings.topics.journal]:
            entry = decode(record.value)
            for sums in entry.flags if isinstance(entry, Summary) else ():
                _, flag = split_rollout_key(sums.key)
                for tick in sums.ticks:
                    for variation, arm in tick.arms.items():
                        totals.update({(flag, variation, kind): getattr(arm, kind) for kind in KINDS})
        return totals

    def misjudged(self) -> list[str]:
        """
        Judge the journal once more, undisturbed; return the parts whose newest snapshot is another one, byte for byte.

        What a worker knows follows from the journal alone: where the bytes are the same, every entry was counted once.
        """
        kept = self._snapshots()
        banks: dict[int, Bank] = {}
        wrong = []
        for record in self.records[self.settings.topics.journal]:
            bank = banks.setdefault(record.partition, Bank(self.settings.judge.config()))
            bank.apply(record.offset, decode(record.value))
            for part, raw in kept.pop((record.partition, record.offset), {}).items():
                if bank.snapshot(part) != raw:
                    wrong += [f"what is known of {part or 'the sources'} at {record.partition}/{record.offset}"]
        return [*wrong, *(f"a snapshot of {at}, where no entry is" for at in kept)]

    def _snapshots(self) -> dict[tuple[int, int], dict[str, bytes]]:
        """The newest snapshot of each part, by the journal's partition and the offset that it has seen."""
        newest: dict[tuple[int, str], bytes] = {}
        for record in self.records[changelog_topic(self.settings)]:
            at, raw = split_table_key(record.key), unpacked(record.value)
            if at not in newest or Bank.offset_of(raw) >= Bank.offset_of(newest[at]):
                newest[at] = raw
        found: dict[tuple[int, int], dict[str, bytes]] = {}
        for (partition, part), raw in newest.items():
            found.setdefault((partition, Bank.offset_of(raw)), {})[part] = raw
        return found

    def dead(self) -> Counter[bytes]:
        """How often each unreadable record stands among the dead letters."""
        return Counter(record.value for record in self.records[self.settings.topics.dead_letters])

    # ------------------------------------------------------------------ effects

    def verdicts(self) -> dict[tuple[str, str, str], Seconds]:
        """When each flag's variation was first decided on, and how."""
        return {
            (one.flag_key, one.variant, one.action): self.decided_s[decision_id]
            for decision_id, one in sorted(self.decisions.items(), key=lambda item: -self.decided_s[item[0]])
        }

    def check_effects(self) -> None:
        """
        Note every decision that was not answered, or that changed the store more than once.

        Two workers that carry out one decision at the same time, as one of them is about to die, may both say that they have:
        of one version of the flag.
        """
        answers: dict[str, Counter[str]] = {decision_id: Counter() for decision_id in self.decisions}
        versions_of: dict[str, set[str]] = {decision_id: set() for decision_id in self.decisions}
        for record in self.records[self.settings.topics.receipts]:
            receipt = from_event(record.value, Receipt, type=RECEIPT_TYPE)
            if receipt.decision_id not in answers:
                self.wrong.append(f"a receipt for no decision: {receipt.receipt_id}")
                continue
            answers[receipt.decision_id][receipt.status] += 1
            if receipt.status == "applied":
                versions_of[receipt.decision_id].add(receipt.version)
        for decision_id, found in answers.items():
            if not found["applied"] + found["already"]:
                self.wrong.append(f"{decision_id}: never carried out; its receipts: {dict(found)}")
            if len(versions_of[decision_id]) > 1:
                self.wrong.append(f"{decision_id}: applied {found['applied']} times, as versions {versions_of[decision_id]}")
        changes = self.changes()
        for decision in self.decisions.values():
            versions = [version for version, _ in changes.get(rollout_key(decision.environment, decision.flag_key), [])]
            if decision.action == "kill" and versions != [1]:
                self.wrong.append(f"{decision.decision_id}: the store's versions are {versions}, one kill makes [1]")

    def changes(self) -> dict[str, list[tuple[int, Seconds]]]:
        """The versions that each flag's state had in turn, and when each first came."""
        found: dict[str, list[tuple[int, Seconds]]] = {}
        for record in self.records[self.settings.topics.flag_state]:
            version = read_record(record.value)["version"]
            known = found.setdefault(record.key.decode(), [])
            if not known or known[-1][0] != version:
                known.append((version, record.timestamp / 1_000))
        return found

    def in_store_after_s(self) -> list[Seconds]:
        """How long after its first publication each kill stood in the flag's state."""
        changes = self.changes()
        return [
            changes[key][0][1] - self.decided_s[one.decision_id]
            for one in self.decisions.values()
            if one.action == "kill" and (key := rollout_key(one.environment, one.flag_key)) in changes
        ]

    # ------------------------------------------------------------------ who works when

    def heard_s(self) -> dict[str, list[Seconds]]:
        """When each of observe's sources was heard of."""
        found: dict[str, list[Seconds]] = {}
        for record in self.records[self.settings.topics.journal]:
            entry = decode(record.value)
            if isinstance(entry, Summary | Beat):
                found.setdefault(entry.source, []).append(record.timestamp / 1_000)
        return {name: sorted(times) for name, times in found.items()}
