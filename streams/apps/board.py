"""All that the page shows, in memory: rollouts as they are now, the newest decisions and what became of them."""

from __future__ import annotations

from collections import OrderedDict

from pydantic import computed_field

from guardian.decisions import (
    ArmView,
    Decision,
    GuardrailView,
    HindsightView,
    ProofView,
    PropagationView,
    Receipt,
    RolloutView,
)
from guardian.explain import explain_mixed, explain_receipt, rests_on
from guardian.measured import differs, watched
from guardian.proving import reach, unproven
from guardian.retelling import retold
from guardian.sequential import rate_interval
from guardian.why_not import values, watched_by, why_not
from streams.apps.history import Histories, History

DECISIONS_KEPT = 2_000
RECEIPTS_KEPT_EACH = 50
INTERVAL_ALPHA = 0.05


class GuardrailNow(GuardrailView):
    """Where a guardrail stands, with its numbers as people read them."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def values(self) -> str:
        """What it reads now, against control's, or nothing."""
        return values(self)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def differs(self) -> str:
        """By how much the variation differs from control, or nothing."""
        return differs(self.interval, self.difference_interval, watched_by(self))


class ArmNow(ArmView):
    """A variation with the interval of its rate."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def interval(self) -> tuple[float, float] | None:
        """Anytime-valid while the rate stands still within the epoch; None before any outcome."""
        return rate_interval(self.n, self.errors, INTERVAL_ALPHA) if self.n else None


class HindsightNow(HindsightView):
    """What became of a kill that was not carried out, with its sentence."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def text(self) -> str:
        """It in words."""
        return retold(self)


class ProofNow(ProofView):
    """A kill whose effect is not proven yet, with its sentence."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def text(self) -> str:
        """It in words."""
        return unproven(self)


class PropagationNow(PropagationView):
    """How long the last kills of a store took, with its sentence."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def text(self) -> str:
        """It in words."""
        return reach(self)


class RolloutNow(RolloutView):
    """A rollout as it is now, with the two sentences that the page shows of it."""

    arms: tuple[ArmNow, ...] = ()
    guardrails: tuple[GuardrailNow, ...] = ()
    hindsight: tuple[HindsightNow, ...] = ()
    proofs: tuple[ProofNow, ...] = ()
    propagation: tuple[PropagationNow, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def why(self) -> str:
        """Why nothing has happened, or what has."""
        return why_not(self)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mixed(self) -> str:
        """That services disagree on the flag, or nothing."""
        if not self.mixed_units:
            return ""
        return explain_mixed(self.flag_key, self.environment, self.mixed_units, self.mixed_services)


class ReceiptNow(Receipt):
    """A receipt with its sentence."""

    text: str


class DecisionNow(Decision):
    """A decision with what became of it so far, oldest first."""

    receipts: tuple[ReceiptNow, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rests_on(self) -> str:
        """Which guardrails it rests on, where there are several, or nothing."""
        return rests_on(self.evidence) if self.evidence is not None else ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def differs(self) -> str:
        """By how much the variation differed from control, or nothing."""
        found = self.evidence
        return differs(found.interval, found.difference_interval, watched(self.guardrail)) if found is not None else ""


class Board:
    """
    Rollouts, decisions and receipts by their ids.

    Records may come twice, and receipts before their decision: the topics are read again after a loss of
    connection. Each ``take`` says whether it changed anything.
    """

    def __init__(self) -> None:
        self._rollouts: dict[str, RolloutNow] = {}
        self._decisions: OrderedDict[str, Decision] = OrderedDict()
        self._receipts: OrderedDict[str, dict[str, Receipt]] = OrderedDict()
        self._histories = Histories()

    def take_rollout(self, now: RolloutNow) -> bool:
        """
        Take a rollout's newest view; say whether it is news.

        An older view comes from a judge that lost its partition and does not know yet.
        """
        known = self._rollouts.get(now.key)
        if known is not None and (known.at > now.at or known == now):
            return False
        self._rollouts[now.key] = now
        self._histories.of(now.key).add_view(now)
        return True

    def drop_rollout(self, key: str) -> bool:
        """Forget a rollout that was deleted; say whether it was known."""
        self._histories.drop(key)
        return self._rollouts.pop(key, None) is not None

    def take_decision(self, decision: Decision) -> DecisionNow | None:
        """Take a decision; return it with its receipts, or nothing if it is known."""
        if decision.decision_id in self._decisions:
            return None
        self._decisions[decision.decision_id] = decision
        if len(self._decisions) > DECISIONS_KEPT:
            self._decisions.popitem(last=False)
        self._histories.of(f"{decision.environment}|{decision.flag_key}").add_decision(decision)
        return self.decision(decision.decision_id)

    def take_receipt(self, receipt: Receipt) -> ReceiptNow | None:
        """Take a receipt; return it with its sentence, or nothing if it is known."""
        known = self._receipts.setdefault(receipt.decision_id, {})
        if receipt.receipt_id in known:
            return None
        known[receipt.receipt_id] = receipt
        if len(known) > RECEIPTS_KEPT_EACH:
            del known[next(iter(known))]
        if len(self._receipts) > DECISIONS_KEPT:
            self._receipts.popitem(last=False)
        return self._told(receipt)

    def rollout(self, key: str) -> RolloutNow | None:
        """Return a rollout, or nothing."""
        return self._rollouts.get(key)

    @property
    def number_of_rollouts(self) -> int:
        """How many rollouts are known."""
        return len(self._rollouts)

    def rollouts(self) -> list[RolloutNow]:
        """Return all rollouts, by key."""
        return [self._rollouts[key] for key in sorted(self._rollouts)]

    def propagation(self) -> list[PropagationNow]:
        """Return how long the last kills took, of each store as the newest view with it says: stores by name."""
        newest: dict[str, RolloutNow] = {}
        for one in self._rollouts.values():
            for row in one.propagation[:1]:
                held = newest.get(row.store)
                if held is None or held.at < one.at:
                    newest[row.store] = one
        return [row for store in sorted(newest) for row in newest[store].propagation]

    def history(self, key: str) -> History:
        """Return how a rollout came to be as it is now."""
        return self._histories.of(key)

    def decision(self, decision_id: str) -> DecisionNow | None:
        """Return a decision with its receipts in the order of their times, or nothing."""
        decision = self._decisions.get(decision_id)
        if decision is None:
            return None
        receipts = sorted(self._receipts.get(decision_id, {}).values(), key=lambda one: one.at)
        return DecisionNow(**decision.model_dump(), receipts=tuple(map(self._told, receipts)))

    def decisions(self, limit: int, key: str = "") -> list[DecisionNow]:
        """Return the newest decisions, newest first; of one rollout where *key* names it."""
        found = []
        for one in sorted(self._decisions.values(), key=lambda one: one.decided_at, reverse=True):
            if key and f"{one.environment}|{one.flag_key}" != key:
                continue
            if (now := self.decision(one.decision_id)) is not None:
                found.append(now)
            if len(found) == limit:
                break
        return found

    def _told(self, receipt: Receipt) -> ReceiptNow:
        text = explain_receipt(receipt, self._decisions.get(receipt.decision_id))
        return ReceiptNow(**receipt.model_dump(), text=text)
