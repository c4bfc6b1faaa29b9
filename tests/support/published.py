"""Decisions, receipts and rollouts as they are published, for tests of what reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from guardian.decisions import ArmView, Decision, Evidence, GuardrailView, Receipt, RolloutView
from guardian.explain import explain

GUARDRAIL = "error_rate > 1.2x control"


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def evidence(**more: Any) -> Evidence:
    fields = {
        "test": "two_sample_block",
        "lane": "fast",
        "log_e": 7.4,
        "log_threshold": 6.9,
        "n": 312,
        "events": 31,
        "value": 31 / 312,
        "n_control": 2790,
        "events_control": 27,
        "value_control": 27 / 2790,
        "ratio": 10.3,
        "interval": (4.6, 22.9),
        "units": 29,
    }
    return Evidence(**fields | more)


def decision(number: int = 17, *, flag: str = "checkout-v2", at_ms: int, **more: Any) -> Decision:
    """A decision by evidence of a variation ``treatment`` in production; *more* replaces fields."""
    fields: dict[str, Any] = {
        "decision_id": f"production|{flag}|treatment|{number}",
        "flag_key": flag,
        "environment": "production",
        "variant": "treatment",
        "control": "control",
        "action": "kill",
        "mode": "enforce",
        "guardrail": GUARDRAIL,
        "signal": "error_rate",
        "decided_at": rfc3339(at_ms),
        "evidence_from": rfc3339(at_ms - 3400),
        "evidence_to": rfc3339(at_ms - 200),
        "evidence": evidence(),
        "policy_hash": "sha256:5df6",
        "owner": "team-checkout",
        "share": 0.1,
        "sources": {"flag.outcomes.v1/0": (18231, 21333)},
    } | more
    if "explanation" not in fields:
        fields["explanation"] = explain(
            fields["action"],
            fields["flag_key"],
            fields["variant"],
            fields["environment"],
            fields["control"],
            fields["evidence"],
            mode=fields["mode"],
            guardrail=fields["guardrail"],
            budget=0.001,
        )
    return Decision(**fields)


def receipt(of: Decision, status: str, *, after_ms: int = 41, **more: Any) -> Receipt:
    """What became of a decision, *after_ms* later."""
    decided_ms = int(datetime.fromisoformat(of.decided_at).timestamp() * 1000)
    fields = {
        "receipt_id": f"{of.decision_id}|{status}",
        "decision_id": of.decision_id,
        "flag_key": of.flag_key,
        "environment": of.environment,
        "variant": of.variant,
        "action": of.action,
        "status": status,
        "store": "" if status in ("effective", "not_effective") else "flagd",
        "at": rfc3339(decided_ms + after_ms),
        "version": "17",
    }
    return Receipt(**fields | more)


def rollout(flag: str = "checkout-v2", *, at_ms: int, **more: Any) -> RolloutView:
    """A rollout at 10 % under one guardrail, running; *more* replaces fields."""
    arms = (
        ArmView(
            variation="control", share=0.9, n=2790, errors=27, rate=27 / 2790, recent_n=900,
            recent_errors=9,
        ),
        ArmView(
            variation="treatment", share=0.1, n=311, errors=4, rate=4 / 311, recent_n=100,
            recent_errors=1,
        ),
    )  # fmt: skip
    row = GuardrailView(guardrail=GUARDRAIL, variation="treatment", action="kill", log_e=1.9, log_threshold=6.9)
    fields: dict[str, Any] = {
        "key": f"production|{flag}",
        "flag_key": flag,
        "environment": "production",
        "control": "control",
        "owner": "team-checkout",
        "status": "running",
        "stage": 1,
        "stages": 4,
        "share": 0.1,
        "at": rfc3339(at_ms),
        "lag_ms": 240,
        "passed_ms": at_ms - 240,
        "telemetry": "fresh",
        "arms": arms,
        "guardrails": (row,),
        "policy_hash": "sha256:5df6",
    }
    return RolloutView(**fields | more)
