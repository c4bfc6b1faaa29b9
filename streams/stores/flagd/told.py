"""What the document gives whom, flag by flag, for as long as it is served: told whenever it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from guardian.dividing import serves
from guardian.served import NOT_KNOWN, Serves
from streams.stores.flagd.documents import Documents

CHUNK = 50
"""Flags that are looked at before others have their turn: a kill waits no longer than these take, some milliseconds."""
AGAIN_S = 1.0
"""From what was not kept to the next try."""
Tell = Callable[[Mapping[str, Serves]], Awaitable[bool]]
"""Tells by flag what each gives whom; says whether that is kept. A repeat does no harm."""


async def follow_shares(documents: Documents, tell: Tell, *, again_s: float = AGAIN_S) -> None:
    """
    *tell* what each flag of the *documents* gives whom, now and after each change, until cancelled.

    Only flags that are written or served anew are looked at; what was not kept is told again after *again_s* seconds.
    """
    wake = asyncio.Event()
    forget = documents.subscribe(wake.set)
    known: dict[str, tuple[Any, Any]] = {}
    try:
        while True:
            wake.clear()
            if await _tell(documents, tell, known):
                await wake.wait()
            else:
                await asyncio.sleep(again_s)
    finally:
        forget()


async def _tell(documents: Documents, tell: Tell, known: dict[str, tuple[Any, Any]]) -> bool:
    """Tell of the flags that are others than those *known*, which they are once it is kept; say whether all of it is."""
    keys, is_kept = [*documents.document["flags"], *(known.keys() - documents.document["flags"].keys())], True
    for start in range(0, len(keys), CHUNK):
        found = {key: documents.flag(key) for key in keys[start : start + CHUNK]}
        new = {key: both for key, both in found.items() if not _is_same(both, known.get(key))}
        if new and await tell({key: _serves(documents, key) for key in new}):
            known.update(new)
            for key in [key for key, both in new.items() if both[0] is None]:
                del known[key]
        elif new:
            is_kept = False
        await asyncio.sleep(0)
    return is_kept


def _is_same(one: tuple[Any, Any], other: tuple[Any, Any] | None) -> bool:
    return other is not None and one[0] is other[0] and one[1] is other[1]


def _serves(documents: Documents, key: str) -> Serves:
    base, served = documents.flag(key)
    if base is None or served is None:
        return NOT_KNOWN
    return serves(base, served, documents.overlay(key), documents.evaluators)
