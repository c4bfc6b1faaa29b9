"""
What the guardian tells the world: decisions, receipts, rollouts as they are now.

These are the documented payloads of ``guardian.decisions.v1``,
``guardian.receipts.v1``, ``guardian.rollouts.v1`` and
``guardian.flag-state.v1``. On the wire each is the ``data`` of a CloudEvent.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

DECISION_TYPE = "dev.rolloutguardian.decision.v1"
RECEIPT_TYPE = "dev.rolloutguardian.receipt.v1"
ROLLOUT_TYPE = "dev.rolloutguardian.rollout.v1"


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Evidence(_Out):
    """
    The numbers behind a verdict.

    ``log_e`` is the natural log of the evidence over the budget spent so far,
    ``log_threshold`` what it must reach. ``n``/``events`` are requests and
    failed requests of the variation, ``*_control`` those of control at the
    same time; ``units`` the distinct units that failed under the variation.
    ``interval`` bounds the ratio (``None`` where a side is unbounded).
    """

    test: str
    lane: str = ""
    log_e: float
    log_threshold: float
    n: int
    events: int
    value: float
    n_control: int = 0
    events_control: int = 0
    value_control: float | None = None
    ratio: float | None = None
    interval: tuple[float | None, float | None] | None = None
    units: int = 0
    bound: float | None = None
    alpha_spent: float = 0.0


Action = Literal["alert", "hold", "pause", "step_back", "kill", "kill_flag", "advance", "resume", "complete"]


class Decision(_Out):
    """One decision, with all that is needed to recompute and to explain it. Times are epoch milliseconds inside."""

    decision_id: str
    flag_key: str
    environment: str
    variant: str
    control: str
    action: Action
    mode: Literal["enforce", "shadow"]
    guardrail: str
    signal: str
    decided_at: str
    evidence_from: str
    evidence_to: str
    evidence: Evidence | None
    policy_hash: str
    owner: str = ""
    share: float | None = None
    sources: dict[str, tuple[int, int]] = {}
    caused_by: str = ""
    explanation: str


ReceiptStatus = Literal["applied", "already", "failed", "conflict", "shadow", "expired", "effective", "not_effective"]


class Receipt(_Out):
    """What a store answered and what was read back; or, after a kill, whether exposures really ended."""

    receipt_id: str
    decision_id: str
    flag_key: str
    environment: str
    variant: str
    action: str
    status: ReceiptStatus
    store: str = ""
    at: str
    version: str = ""
    detail: str = ""
    attempts: int = 1


class ArmView(_Out):
    """One variation as the page shows it: counts of the standing epoch and the rate with its anytime-valid interval."""

    variation: str
    share: float | None = None
    n: int = 0
    errors: int = 0
    units: int = 0
    rate: float | None = None
    interval: tuple[float, float] | None = None
    recent_n: int = 0
    recent_errors: int = 0


class GuardrailView(_Out):
    """Where one guardrail stands for one variation: evidence against its threshold, in nats."""

    guardrail: str
    variation: str
    action: str
    log_e: float | None
    log_threshold: float


class RolloutView(_Out):
    """A rollout as it is now: compacted, one record per ``environment|flag``."""

    key: str
    flag_key: str
    environment: str
    control: str
    owner: str = ""
    mode: str = "enforce"
    status: str
    stage: int = 0
    stages: int = 1
    share: float | None = None
    at: str
    lag_ms: int = 0
    passed_ms: int = 0
    telemetry: str = "none"
    arms: tuple[ArmView, ...] = ()
    guardrails: tuple[GuardrailView, ...] = ()
    mixed_units: int = 0
    mixed_services: tuple[str, ...] = ()
    policy_hash: str = ""
    last_decision: str = ""
    explanation: str = ""
