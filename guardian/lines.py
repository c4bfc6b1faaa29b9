"""What of the telemetry each guardrail reads, and with that what ``observe`` has to sum."""

from __future__ import annotations

from guardian.plan import Plan
from guardian.policy import Policy


def plan_of(policy: Policy) -> Plan:
    """Return what is to be summed for the policy's guardrails, besides requests and failures."""
    return Plan()
