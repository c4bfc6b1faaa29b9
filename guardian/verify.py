"""The closed loop after a kill: exposures must end within the store's propagation bound, else somebody is told."""

from __future__ import annotations

from guardian.decide import iso
from guardian.decisions import Receipt, ReceiptStatus
from guardian.names import Millis, split_rollout_key
from guardian.state import RolloutState, Verify

WINDOW_MS = 2_000
"""How long exposures are watched after the bound before the kill is called effective."""


def applied(state: RolloutState, decision: str, at_ms: Millis, propagation_ms: Millis) -> None:
    """The store has taken a kill: count exposures that start after it had time to spread."""
    for verify in state.verify.values():
        if verify.decision_id == decision and not verify.applied_ms:
            verify.applied_ms = at_ms + propagation_ms


def confirm(state: RolloutState, passed_ms: Millis, now_ms: Millis) -> list[Receipt]:
    """
    Return what can be said now: ``effective``, or ``not_effective`` with what is still seen.

    Without any exposure of control nothing can be said: silence proves nothing.
    """
    said = []
    for variation, verify in sorted(state.verify.items()):
        if not verify.applied_ms or passed_ms < verify.applied_ms + WINDOW_MS:
            continue
        if verify.still_exposed:
            if verify.said != "not_effective":
                said.append(_receipt(state, variation, verify, "not_effective", now_ms))
            verify.applied_ms, verify.still_exposed, verify.control_exposed = passed_ms, 0, 0
        elif verify.control_exposed:
            said.append(_receipt(state, variation, verify, "effective", now_ms))
    for receipt in said:
        if receipt.status == "effective":
            del state.verify[receipt.variant]
    return said


def _receipt(
    state: RolloutState, variation: str, verify: Verify, status: ReceiptStatus, now_ms: Millis
) -> Receipt:
    verify.said = status
    environment, flag_key = split_rollout_key(state.key)
    if status == "effective":
        detail = f"no exposure to {variation} since {iso(verify.applied_ms)}"
    else:
        detail = f"{verify.still_exposed} exposures to {variation} began after {iso(verify.applied_ms)}"
    return Receipt(
        receipt_id=f"{verify.decision_id}|{variation}|{status}", decision_id=verify.decision_id, flag_key=flag_key,
        environment=environment, variant=variation, action="kill", status=status, store="", at=iso(now_ms),
        detail=detail,
    )  # fmt: skip
