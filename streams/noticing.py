"""People's changes in a flag store that keeps a log of them: judge hears of each, though no command has met it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from guardian.journal import Override, encode
from guardian.names import rollout_key
from guardian.ports import StoreError
from streams.clock import now_ms
from streams.outlet import NotDelivered, Outlet
from streams.stores.shares.backend import Edit, Watched

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def noticing(backend: Watched, outlet: Outlet, *, journal: str, environment: str, store: str) -> AsyncIterator[None]:
    """
    Ask the store for people's changes, for as long as the block runs, and write each into the *journal*.

    There it is a change from outside that has a name: an epoch begins, and harm that follows it is found sooner. Each has
    an id, by which judge knows it when several workers notice it. A store that does not answer is asked again.
    """
    asking = asyncio.ensure_future(_notice(backend, outlet, journal, environment, store))
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.wait({asking})


async def _notice(backend: Watched, outlet: Outlet, journal: str, environment: str, store: str) -> None:
    waiting: list[Edit] = []
    while True:
        try:
            waiting += await backend.edits()
            while waiting:
                await _tell(waiting[0], outlet, journal, environment, store)
                waiting.pop(0)
        except (StoreError, NotDelivered) as error:
            log.warning("edits_unknown", store=store, error=str(error))
        await asyncio.sleep(backend.poll_s)


async def _tell(edit: Edit, outlet: Outlet, journal: str, environment: str, store: str) -> None:
    key, where = rollout_key(environment, edit.flag_key), f" in {store}" if store else ""
    said = f"{edit.by} changed the flag{where}: {edit.what}"
    entry = Override(at_ms=now_ms(), key=key, action="changed", by=edit.by, reason=said, id=edit.id)
    await outlet.send(journal, key, encode(entry))
    log.info("flag_edited", rollout=key, by=edit.by, what=edit.what, store=store)
