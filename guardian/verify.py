"""The closed loop after a kill: exposures must end within the store's propagation bound, else people hear who goes on."""

from __future__ import annotations

from guardian.decisions import ProofView, Receipt, ReceiptStatus
from guardian.journal import ReceiptEntry
from guardian.names import Millis, iso, split_rollout_key
from guardian.serving import begin_window, seen_by, still_serving, take_service
from guardian.state import RolloutState, Verify
from guardian.summaries import Tick

WINDOW_MS = 2_000
"""How long exposures are watched after the bound before the kill is called effective."""


def applied(state: RolloutState, entry: ReceiptEntry, bound_ms: Millis) -> None:
    """The store has taken a kill: exposures that start after it had time to spread speak against it."""
    for verify in state.verify.values():
        if verify.decision_id == entry.decision_id and not verify.since_ms:
            verify.done_ms, verify.bound_ms, verify.store = entry.at_ms, bound_ms, entry.store
            verify.applied_ms = entry.at_ms + bound_ms
            state.to_show = True


def look_for_exposures(state: RolloutState, control: str, tick: Tick) -> None:
    """Take what a tick shows of kills that the store has: who still serves what was killed."""
    at = 0 if state.population.by_exposures else 1
    seen = {name: (arm.exposures, arm.outcomes)[at] for name, arm in tick.arms.items()}
    for killed, verify in state.verify.items():
        if not verify.since_ms or tick.start_ms < verify.since_ms:
            continue
        is_in_window = tick.start_ms >= verify.applied_ms
        if seen.get(killed):
            verify.last_ms = max(verify.last_ms, tick.end_ms)
        if is_in_window:
            verify.still_exposed += seen.get(killed, 0)
            verify.control_exposed += seen.get(control, 0)
        for service, shown in tick.served.items():
            span_ms = tick.start_ms, tick.end_ms
            take_service(verify.services, service, shown, killed, at, span_ms, is_in_window=is_in_window)


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
                said.append(_receipt(state, variation, verify, "not_effective", passed_ms, now_ms))
            verify.applied_ms, verify.still_exposed, verify.control_exposed = passed_ms, 0, 0
            begin_window(verify.services)
        elif verify.control_exposed:
            said.append(_receipt(state, variation, verify, "effective", passed_ms, now_ms))
    for receipt in said:
        if receipt.status == "effective":
            del state.verify[receipt.variant]
    return said


def proofs(state: RolloutState) -> tuple[ProofView, ...]:
    """Return the kills whose effect is not proven yet, by variation."""
    return tuple(
        ProofView(
            variation=variation, decision_id=verify.decision_id, store=verify.store, bound_ms=verify.bound_ms,
            applied_at=iso(verify.since_ms) if verify.since_ms else "", said=verify.said,
            services=seen_by(verify.services, verify.since_ms),
        )
        for variation, verify in sorted(state.verify.items())
    )  # fmt: skip


def _receipt(
    state: RolloutState, variation: str, verify: Verify, status: ReceiptStatus, passed_ms: Millis, now_ms: Millis
) -> Receipt:
    verify.said = status
    environment, flag_key = split_rollout_key(state.key)
    services, window_ms = seen_by(verify.services, verify.since_ms), passed_ms - verify.applied_ms
    noun = "exposures" if state.population.by_exposures else "requests"
    if status == "effective":
        detail = f"no exposure to {variation} since {iso(verify.applied_ms)}"
    else:
        detail = f"{verify.still_exposed} {noun} to {variation} began after {iso(verify.applied_ms)}"
    by_service = still_serving(services, verify.since_ms, window_ms, noun) if status == "not_effective" else ""
    return Receipt(
        receipt_id=f"{verify.decision_id}|{variation}|{status}", decision_id=verify.decision_id, flag_key=flag_key,
        environment=environment, variant=variation, action="kill", status=status, store=verify.store, at=iso(now_ms),
        detail="; ".join(filter(None, (detail, by_service))), services=services, window_ms=window_ms,
        took_ms=max(verify.last_ms - verify.done_ms, 0) if status == "effective" and verify.done_ms else None,
    )  # fmt: skip
