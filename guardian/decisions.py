"""
What the guardian tells the world: decisions, receipts, rollouts as they are now.

These are the documented payloads of ``guardian.decisions.v1``,
``guardian.receipts.v1``, ``guardian.rollouts.v1`` and
``guardian.flag-state.v1``. On the wire each is the ``data`` of a CloudEvent.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

DECISION_TYPE = "dev.rolloutguardian.decision.v1"
RECEIPT_TYPE = "dev.rolloutguardian.receipt.v1"
ROLLOUT_TYPE = "dev.rolloutguardian.rollout.v1"
REFUSAL_TYPE = "dev.rolloutguardian.refusal.v1"


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Interval = tuple[float | None, float | None]
"""``None`` where a side is unbounded."""


class Part(_Out):
    """One guardrail's part in a verdict: its share of the evidence, and whether it would have been enough alone."""

    guardrail: str
    segment: str = ""
    share: float
    on_its_own: bool


Verdict = Literal["explains", "open", "inseparable", "together", "besides", "not_behind"]


class WithFlag(_Out):
    """
    What a variation of another flag has to do with a harm, and the numbers behind that.

    ``explains``: it does harm whatever ours is, and ours does none beside it. ``open``: nothing told them apart in
    time. ``inseparable``: nothing could. ``together``: there is harm only where both are. ``besides``: both do harm.
    ``not_behind``: ours does harm beside it. ``n``/``events`` are requests and failures of our variation under it,
    ``*_without`` those without it, ``*_control`` the same of control. ``log_e`` is the evidence of late that it does
    harm, ``log_e_own`` that ours does beside it, in nats.
    """

    flag: str
    variation: str
    verdict: Verdict
    n: int
    events: int
    n_control: int
    events_control: int
    n_without: int
    events_without: int
    n_control_without: int
    events_control_without: int
    log_e: float
    log_e_own: float


class Evidence(_Out):
    """
    The numbers behind a verdict.

    ``log_e`` is the natural log of the evidence over the budget spent so far,
    ``log_threshold`` what it must reach. ``n``/``events`` are requests and
    failed requests of the variation, ``*_control`` those of control at the
    same time; ``units`` the distinct units that failed under the variation.
    For other signals: requests and those over the bound or over control's
    quantile, ratings and bad ones, exposures and reports, first exposures.
    ``value`` is what the signal is in its own unit (a proportion,
    milliseconds, points), ``bound`` the fixed bound in the same. ``segment``
    is the part of the traffic in which it was found (``country=DE``).
    ``interval`` bounds the ratio, ``difference_interval`` the difference of
    the values since the standing epoch began, whatever the rates did
    meanwhile; where harm came later and they no longer hold what was
    measured, ``interval`` is that of the stretch alone. ``p`` is the anytime
    p-value. ``parts`` say which guardrails the verdict rests on, the largest
    first. ``silence`` says what fell silent: ``exposures``, ``outcomes`` (of
    the variation) or ``pipeline``. ``company`` tells of other flags that may
    have been behind it, those that were looked at.
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
    interval: Interval | None = None
    difference_interval: Interval | None = None
    units: int = 0
    bound: float | None = None
    alpha_spent: float = 0.0
    segment: str = ""
    p: float | None = None
    parts: tuple[Part, ...] = ()
    silence: str = ""
    company: tuple[WithFlag, ...] = ()


Action = Literal["alert", "hold", "pause", "step_back", "kill", "kill_flag", "advance", "resume", "complete"]


class Decision(_Out):
    """
    One decision, with all that is needed to recompute and to explain it. Times are epoch milliseconds inside.

    ``share`` is what the variation is to have of everybody, ``rings`` what it is to have of each ring that gets more.
    ``from_share`` is what an advance found that it has of everybody: where another share is found, people have changed it.
    """

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
    from_share: float | None = None
    rings: dict[str, float] = {}
    sources: dict[str, tuple[int, int]] = {}
    caused_by: str = ""
    explanation: str


ReceiptStatus = Literal[
    "applied", "already", "failed", "conflict", "superseded", "waiting", "shadow", "expired", "effective", "not_effective"
]


class ServiceSeen(_Out):
    """
    One service that went on with a killed variation after the store had the kill.

    In the window that a receipt is about, ``still`` of its ``seen`` exposures were of that variation, ``versions`` says
    under which versions of the flag, where its events tell. ``total`` are all since the store had it, ``since`` is when the
    stretch began in which it serves it, ``last_at`` when it last did. ``stopped_ms`` is how long after the store it
    stopped, None where it has not. Services that were too many are ``(others)``.
    """

    service: str
    still: int = 0
    seen: int = 0
    versions: dict[str, int] = {}
    total: int = 0
    since: str = ""
    last_at: str = ""
    stopped_ms: int | None = None


class Receipt(_Out):
    """
    What a store answered and what was read back; or, after a kill, whether exposures really ended.

    ``waiting`` is no end: the store does not answer, and the decision stays open. ``waited_s`` says how long after
    the decision it was carried out, where that is longer than act's deadline. ``share`` is the one that people have
    set, where that is the conflict. After a kill, ``services`` are those that went on with the variation after the store
    had it, of the last ``window_ms``; ``took_ms`` is when the last one began to show it, counted from there.
    """

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
    waited_s: float = 0.0
    share: float | None = None
    services: tuple[ServiceSeen, ...] = ()
    window_ms: int = 0
    took_ms: int | None = None


class Refusal(_Out):
    """
    A record in the place of a decision or a receipt that the guardian has not signed: for people, not on a topic.

    Nothing of what it says is here, as somebody else has written it.
    """

    topic: str
    partition: int
    offset: int
    reason: str


class ArmView(_Out):
    """
    One variation: counts of the standing epoch, its rate, and the counts of the last half minute.

    ``status`` and ``stage`` (from 0) are how far it has come by itself; empty for control.
    """

    variation: str
    share: float | None = None
    n: int = 0
    errors: int = 0
    units: int = 0
    rate: float | None = None
    recent_n: int = 0
    recent_errors: int = 0
    status: str = ""
    stage: int | None = None


class GuardrailView(_Out):
    """
    Where one guardrail stands for one variation, or for a segment of it: evidence against its threshold, in nats.

    ``p``, ``value``, ``value_control``, ``interval`` (of the ratio) and ``difference_interval`` as in ``Evidence``;
    ``kind`` is the signal's (a declared signal's name does not tell it), ``quantile`` a latency's. ``why`` says why
    there is no evidence, or why it is not acted on. ``literal`` marks a rule that is not tested: its values are those
    of its window.
    """

    guardrail: str
    variation: str
    action: str
    log_e: float | None
    log_threshold: float
    segment: str = ""
    p: float | None = None
    value: float | None = None
    value_control: float | None = None
    interval: Interval | None = None
    difference_interval: Interval | None = None
    kind: str = ""
    quantile: float | None = None
    literal: bool = False
    why: str = ""


class HindsightView(_Out):
    """
    What became of a kill that was decided and not carried out.

    ``seen`` is ``confirmed`` where it was turned off (at ``off_at``; by whom, if a wish said so) or where what started
    afterwards shows the harm as well; ``contradicted`` where that shows that there is none; else ``open``. ``missed``
    is a kill by a person that the guardian had not decided. ``starts`` and ``failed`` (units that failed for the first
    time) are those between the decision and ``off_at``, or until now.
    """

    decision_id: str
    variation: str
    guardrail: str
    segment: str = ""
    seen: Literal["open", "confirmed", "contradicted", "missed"]
    decided_at: str
    off_at: str = ""
    by: str = ""
    starts: int = 0
    failed: int = 0


class ProofView(_Out):
    """
    A kill whose effect is not proven yet: exposures that begin later than ``bound_ms`` after ``applied_at`` speak against it.

    ``applied_at`` is empty while the store has not taken it. ``said`` is ``not_effective`` once that was told.
    """

    variation: str
    decision_id: str
    store: str = ""
    applied_at: str = ""
    bound_ms: int = 0
    said: str = ""
    services: tuple[ServiceSeen, ...] = ()


class PropagationView(_Out):
    """
    How long the last kills took from the store's receipt to the last exposure: by store, or by one service of its clients.

    ``service`` is None for all clients of the store together. ``count`` is how many of the last kills are behind it.
    """

    store: str
    service: str | None = None
    count: int
    median_ms: int
    p95_ms: int
    longest_ms: int


class RolloutView(_Out):
    """
    A rollout as it is now: compacted, one record per ``environment|flag``; ``plan`` is what its policy wants summed.

    ``status`` and ``stage`` are those of the variation that needs people most, and of the one that is least far;
    ``share`` is what the stage gives all variations together, of ``ring`` where it is one's.
    ``waits`` says why it has not gone on, a sentence for each closed gate. ``approvals`` holds by group who approved
    leaving the stage that stands; nothing for a group that is still waited for. ``hindsight`` is what became of the
    kills of shadow mode, the oldest first. ``proofs`` are kills whose effect is not proven yet; observe counts their flags by
    service. ``propagation`` is what was learned of the store that this rollout is kept in. ``note`` says where the
    rollout's state does not hold its whole past, or was rebuilt.
    """

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
    ring: str = ""
    at: str
    lag_ms: int = 0
    passed_ms: int = 0
    telemetry: str = "none"
    arms: tuple[ArmView, ...] = ()
    guardrails: tuple[GuardrailView, ...] = ()
    mixed_units: int = 0
    mixed_services: tuple[str, ...] = ()
    policy_hash: str = ""
    plan: dict[str, Any] = {}
    last_decision: str = ""
    explanation: str = ""
    waits: tuple[str, ...] = ()
    approvals: dict[str, str] = {}
    hindsight: tuple[HindsightView, ...] = ()
    proofs: tuple[ProofView, ...] = ()
    propagation: tuple[PropagationView, ...] = ()
    note: str = ""
