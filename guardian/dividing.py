"""What a flag document gives whom, as judge is told of it: the shares that are served, and those that people wrote beneath."""

from __future__ import annotations

from collections.abc import Mapping

from guardian.flagdoc import Flag, Json, Overlay, conditions_of, inlined, is_for_all, ring_splits, weights
from guardian.names import sequence_of
from guardian.served import Serves


def serves(base: Flag, served: Flag, overlay: Overlay | None, evaluators: Mapping[str, Json] | None = None) -> Serves:
    """
    Return what a flag gives whom: *base* is as people wrote it, *served* with what was decided (*overlay*) over it.

    Both are valid. Of a ring that is served apart in several places the first counts.
    """
    base, served = inlined(base, evaluators), inlined(served, evaluators)
    conditions = conditions_of(evaluators or {}, evaluators)
    rings: dict[str, dict[str, float]] = {}
    for ring, split in ring_splits(served.get("targeting"), conditions):
        if ring:
            rings.setdefault(ring, {name: split.get(name, 0.0) for name in served["variants"]})
    return Serves(
        shares=weights(served, conditions),
        written=weights(base, conditions),
        rings=rings,
        apart=not is_for_all(served),
        order=max(sequence_of(overlay.get("decision_id", "")), 0) if overlay else 0,
    )
