"""Flags that people get more than one variation of, and that no policy is about: rollouts that nobody watches."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping

from guardian.dividing import serves
from guardian.flagdoc import Document
from guardian.ports import StoreUnavailable
from guardian.served import NOT_KNOWN, Serves
from streams.findings import Finding
from streams.stores.shares.backend import Backend, Watched
from streams.stores.shares.told import given

MOST_READ = 100
"""Flags of one store that are looked at."""
MOST_NAMED = 10


def in_document(about: str, document: Document, watched: Collection[str]) -> list[Finding]:
    """Find them among the flags of a valid document, but for those that are *watched*."""
    evaluators, flags = document.get("$evaluators"), document["flags"]
    return _found(about, {key: serves(flags[key], flags[key], None, evaluators) for key in flags if key not in watched})


async def in_store(about: str, backend: Backend, flags: Collection[str], limit: asyncio.Semaphore) -> list[Finding]:
    """Find them among *flags* of a store; one that cannot be read as shares is none."""

    async def read(flag_key: str) -> Serves:
        async with limit:
            try:
                return await given(backend.read, flag_key)
            except StoreUnavailable:
                return NOT_KNOWN

    some = sorted(flags)[:MOST_READ]
    return _found(about, dict(zip(some, await asyncio.gather(*map(read, some)), strict=True)))


async def listed(backend: Backend) -> list[str]:
    """
    Every flag of a store that can say which it has; none of one that cannot.

    Raises:
        StoreError: it does not say it now.
    """
    return await backend.flags() if isinstance(backend, Watched) else []


def _found(about: str, told: Mapping[str, Serves]) -> list[Finding]:
    divided = {key: one for key, one in told.items() if one.is_divided}
    if not divided:
        return []
    named = ", ".join(_named(divided))
    said = f"people get more than one variation of {len(divided)} flags that no policy is about: {named}"
    return [Finding("ok", about, said, "to have them watched: guardian init writes a policy; policies_default is for all")]


def _named(divided: Mapping[str, Serves]) -> Iterator[str]:
    for key, one in list(divided.items())[:MOST_NAMED]:
        yield f"{key} ({one.told})"
    if len(divided) > MOST_NAMED:
        yield f"and {len(divided) - MOST_NAMED} more"
