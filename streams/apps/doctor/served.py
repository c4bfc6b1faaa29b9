"""What the guardian's own server serves, for a comparison with other stores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guardian.ports import StoreUnavailable, UnknownFlag
from streams.settings import Settings
from streams.stores.drift import Served

Known = dict[tuple[str, str], dict[str, Served | None]]
"""What each store serves of a flag, by (environment, flag)."""
ANSWER_S = 2.0


async def flagd_served(settings: Settings, flags: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Served | None]:
    """What is served of *flags* now; nothing where the server does not run."""
    from streams.stores.flagd.adapter import FlagdStore

    address = f"{settings.flagd.host}:{settings.flagd.port}"
    store = FlagdStore(_publish_nothing, lambda _: None, address, environment=settings.flagd.environment, deadline_s=ANSWER_S)
    found: dict[tuple[str, str], Served | None] = {}
    try:
        for environment, flag in flags:
            try:
                state = await store.read(environment, flag)
            except UnknownFlag:
                found[environment, flag] = None
            else:
                found[environment, flag] = Served(state.enabled, state.weights, store.capabilities.finest_share)
    except StoreUnavailable:
        return {}
    finally:
        await store.close()
    return found


async def _publish_nothing(record: dict[str, Any]) -> None:
    raise AssertionError(f"a doctor writes nothing: {record.keys()}")
