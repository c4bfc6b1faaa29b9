"""Kills whose effect is not proven yet (``guardian.verify``), and how fast stores were (``propagation``), in words."""

from __future__ import annotations

from datetime import datetime

from guardian.decisions import ProofView, PropagationView, ServiceSeen
from guardian.explain import clean, sentence
from guardian.numerals import among, duration
from guardian.serving import NAMED_MAX, name_of
from guardian.summaries import OTHERS


def unproven(proof: ProofView) -> str:
    """Return where the proof of a kill stands, in one sentence: who served the variation since the store had the kill."""
    variation, store = clean(proof.variation), clean(proof.store) or "the flag store"
    if not proof.applied_at:
        return sentence(f"The kill of {variation} is not with the flag store yet", "")
    said = f"The kill of {variation} is with {store} since {_clock(proof.applied_at)} and not proven yet"
    if not proof.services:
        return sentence(said, f"clients have {duration(proof.bound_ms)}")
    most = sorted(proof.services, key=lambda one: (one.last_at, one.total), reverse=True)
    clauses = [_served(one) for one in most[:NAMED_MAX]]
    if len(most) > NAMED_MAX:
        clauses.append(f"and {len(most) - NAMED_MAX} more services")
    return sentence(said, "; ".join(clauses))


def reach(row: PropagationView) -> str:
    """Return how long the last kills of a store, or of one service, took to reach the last client: in one sentence."""
    of = clean(row.store) if row.service is None else f"{name_of(row.service)} under {clean(row.store)}"
    took = f"{duration(row.median_ms)} in the median, 95 % within {duration(row.p95_ms)}, the longest {duration(row.longest_ms)}"
    return sentence(f"{of}: to the last exposure after a kill {took}, of the last {among(row.count, 'kill')}", "")


def _served(one: ServiceSeen) -> str:
    number = among(one.total, "exposure")
    served = "have" if one.service == OTHERS else "has"
    return f"{name_of(one.service)} {served} served it since ({number}, the last at {_clock(one.last_at)})"


def _clock(rfc3339: str) -> str:
    return f"{datetime.fromisoformat(rfc3339):%H:%M:%S}"
