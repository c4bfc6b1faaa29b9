"""
What happens in a flag store that keeps a log: people's changes, and what its flags give whom, though no command has met them.

Judge hears of both through the journal. Each change of people's has an id, by which judge knows it when several workers
notice it; what a flag gives whom is told whenever anybody has changed it, the guardian itself too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from guardian.ports import StoreError, StoreUnavailable
from guardian.served import Serves
from streams.clock import now_ms
from streams.outlet import NotDelivered
from streams.sources import Source
from streams.stores.shares.backend import Edit, Watched
from streams.stores.shares.flag import Seen
from streams.stores.shares.told import given

log = structlog.get_logger()

LEAST_S = 0.25
"""From one look to the next, however often somebody says that there is something to see."""
TOGETHER = 8
"""Flags that are read side by side."""


class Noticing:
    """
    Looks into the log of *backend*, and has the *source* tell what is news of the flags that the store *keeps*.

    *read* reads a flag with the guardian's record beside it.
    """

    def __init__(
        self,
        backend: Watched,
        read: Callable[[str], Awaitable[Seen]],
        source: Source,
        *,
        keeps: Callable[[str], bool] = lambda _flag: True,
    ) -> None:
        self._backend, self._read, self._source, self._keeps = backend, read, source, keeps
        self._nudged = asyncio.Event()
        self._edits: list[Edit] = []
        self._unread: dict[str, str] = {}
        self._is_all_unread = False

    def nudge(self) -> None:
        """Somebody says that there is something to see: look now, not after the usual time."""
        self._nudged.set()

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look again and again for as long as the block runs. A store that does not answer is asked again."""
        task = asyncio.ensure_future(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            try:
                await self._look()
            except (StoreError, NotDelivered) as error:
                log.warning("changes_unknown", store=self._source.store, error=str(error))
            except Exception:
                # A defect here must not keep act from acting, nor this from looking again.
                log.exception("changes_not_looked_at", store=self._source.store)
            await asyncio.sleep(LEAST_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), max(self._backend.poll_s - LEAST_S, 0.0))

    async def _look(self) -> None:
        """Read the log, tell people's changes, and then what the flags give that were changed."""
        news = await self._backend.news()
        self._edits += [edit for edit in news.edits if self._keeps(edit.flag_key)]
        self._is_all_unread |= news.touched is None
        for flag_key in filter(self._keeps, news.touched or ()):
            self._unread.setdefault(flag_key, "")
        self._unread.update({edit.flag_key: edit.id for edit in self._edits})
        while self._edits:
            await self._source.tell_edit(self._edits[0])
            self._edits.pop(0)
        if self._is_all_unread:
            for flag_key in filter(self._keeps, await self._backend.flags()):
                self._unread.setdefault(flag_key, "")
            self._is_all_unread = False
        await self._read_all()

    async def _read_all(self) -> None:
        """Tell what those flags give that were not read since they were changed; what cannot be read now, is next time."""
        waiting = list(self._unread)
        for start in range(0, len(waiting), TOGETHER):
            # What is read is at least as new as this, so of two workers the one that read later is believed.
            at_ms, some = now_ms(), waiting[start : start + TOGETHER]
            found = dict(zip(some, await asyncio.gather(*map(self._given, some)), strict=True))
            told = {flag_key: one for flag_key, one in found.items() if one is not None}
            changes = {flag_key: self._unread[flag_key] for flag_key in told}
            if await self._source.tell(told, changes, at_ms=at_ms):
                for flag_key in told:
                    del self._unread[flag_key]

    async def _given(self, flag_key: str) -> Serves | None:
        """What a flag gives whom; ``None`` where the store does not say it now."""
        try:
            return await given(self._read, flag_key)
        except StoreUnavailable:
            return None
