"""What a flag of a store of shares gives whom, as judge is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from guardian.names import sequence_of
from guardian.ports import StoreError, StoreUnavailable
from guardian.served import NOT_KNOWN, Serves
from streams.stores.shares.flag import Malformed, Seen


async def given(read: Callable[[str], Awaitable[Seen]], flag_key: str) -> Serves:
    """
    *Read* a flag and return what it gives whom; where that cannot be said of it, that it is not known.

    Raises:
        StoreUnavailable: the store does not say it now.
    """
    try:
        return serves(await read(flag_key))
    except StoreUnavailable:
        raise
    except (StoreError, Malformed):
        return NOT_KNOWN


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
