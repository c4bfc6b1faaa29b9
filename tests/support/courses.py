"""A rollout from its journal alone: telemetry, people's wishes at their times, and a store that answers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision, RolloutView
from guardian.effects import Decide, Show
from guardian.journal import SERVES, Beat, Entry, Override, PolicyEntry, ReceiptEntry, Summary
from guardian.policy import Policy, policy_hash
from guardian.served import Serves
from guardian.state import RolloutState
from tests.support.traffic import KEY, T0_MS

Answer = str | Callable[[Decision], dict[str, Any]]
"""What a store says to each decision."""


def told(terms: Policy, at_s: float = 0.0) -> PolicyEntry:
    at_ms = T0_MS + round(1_000 * at_s)
    return PolicyEntry(at_ms=at_ms, key=KEY, hash=policy_hash(terms), document=terms.to_document())


def wish(at_s: float, action: str, **more: Any) -> Override:
    fields = {"by": "ada", "reason": "it is time"} | more
    return Override(at_ms=T0_MS + round(1_000 * at_s), key=KEY, action=action, id=f"{action}-{at_s:g}", **fields)


def serves(
    at_s: float,
    shares: dict[str, float] | float,
    *,
    change: str = "",
    store: str = "flagd",
    propagation_ms: int = 0,
    **more: Any,
) -> ReceiptEntry:
    """What a store tells at that time: the treatment's share, or all; people wrote it so unless it is said otherwise."""
    given = {"control": 1.0 - shares, "treatment": shares} if isinstance(shares, float) else shares
    at_ms = T0_MS + round(1_000 * at_s)
    said = Serves(**{"shares": given, "written": given, **more})
    return ReceiptEntry(
        at_ms=at_ms, key=KEY, decision_id="", status=SERVES, store=store, serves=said, change=change,
        propagation_ms=propagation_ms,
    )  # fmt: skip


def between(given: Iterable[Entry], *others: Entry) -> Iterator[Entry]:
    """Put entries among the others, each at its time."""
    waiting = sorted(others, key=lambda one: one.at_ms)
    for entry in given:
        while waiting and waiting[0].at_ms <= entry.at_ms:
            yield waiting.pop(0)
        yield entry
    yield from waiting


def silent(given: Iterable[Entry], from_s: float, to_s: float) -> Iterator[Entry]:
    """Take the telemetry out of a stretch of time; the sources go on."""
    for entry in given:
        if isinstance(entry, Summary) and from_s <= (entry.at_ms - T0_MS) / 1_000 < to_s:
            yield Beat(source=entry.source, at_ms=entry.at_ms, passed_ms=entry.passed_ms)
        else:
            yield entry


@dataclass
class Course:
    """What came of a journal: ``made`` are the decisions, ``journal`` all entries with the answers among them."""

    bank: Bank = field(default_factory=lambda: Bank(JudgeConfig()))
    journal: list[Entry] = field(default_factory=list)
    made: list[Decision] = field(default_factory=list)
    views: list[RolloutView] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)

    def play(self, given: Iterable[Entry], answer: Answer = "applied") -> Course:
        """
        Apply entries; a decision is answered before the next one, or never where there is no ``answer``.

        An answer of its own for each decision gives the fields of its receipt; without a status there is none.
        """
        for entry in given:
            self._apply(entry, answer)
        return self

    def _apply(self, entry: Entry, answer: Answer) -> None:
        offset = len(self.journal)
        self.journal.append(entry)
        fresh = []
        for effect in self.bank.apply(offset, entry):
            if isinstance(effect, Show):
                self.views.append(self.bank.view(effect.key))
            elif isinstance(effect, Decide) and effect.decision.decision_id not in {one.decision_id for one in self.made}:
                fresh.append(effect.decision)
        self.made += fresh
        if KEY in self.bank.rollouts and self.statuses[-1:] != [str(self.state.status)]:
            self.statuses.append(str(self.state.status))
        for decision in fresh:
            given = answer(decision) if callable(answer) else {"status": answer}
            if given.get("status"):
                at_ms = self.bank.sources.now_ms + 50
                self._apply(ReceiptEntry(at_ms=at_ms, key=KEY, decision_id=decision.decision_id, **given), answer)

    @property
    def state(self) -> RolloutState:
        return self.bank.rollouts[KEY]

    @property
    def actions(self) -> list[tuple[str, float | None]]:
        return [(one.action, one.share) for one in self.made]

    def when(self, action: str, nth: int = 0) -> float:
        """Return the second at which the nth decision of that kind was made."""
        found = [one.decided_at for one in self.made if one.action == action]
        return datetime.fromisoformat(found[nth]).timestamp() - T0_MS / 1_000
