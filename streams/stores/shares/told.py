"""What a flag of a store of shares gives whom, as judge is told of it."""

from __future__ import annotations

from guardian.names import sequence_of
from guardian.served import Serves
from streams.stores.shares.flag import Seen

NOT_KNOWN = Serves(apart=True)
"""Of a flag that is gone, or served in a way that is no shares."""


def serves(found: Seen) -> Serves:
    """Return it. One that is switched off gives nobody anything: what clients make of that is in their code."""
    rings = {ring: dict(own) for ring, own in found.rings.items() if own}
    return Serves(
        shares=dict(found.shares) if found.enabled else dict.fromkeys(found.shares, 0.0),
        written=dict(found.written),
        rings=rings if found.enabled else {},
        apart=bool(rings or found.singled_out),
        order=max(sequence_of(found.known.get("decision_id", "")), 0),
    )
