"""
The guardian's record of a flag whose store has no place for it: in ``guardian.flag-state.v1``, written before the store.

What is written there first is only a plan. Whether the store has carried it out is read off what it serves: the shares of
the plan, or still those of before. A second record says once that it has, so that what people change later is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import msgspec

from guardian.flagdoc import Overlay
from guardian.names import rollout_key
from guardian.ports import FlagCommand, StoreCapabilities, StoreUnavailable
from streams.stores.shares.backend import Backend, NotTaken, Written
from streams.stores.shares.flag import Change, Kept, Seen, Shares, remembered

NOTE, STORE = "note", "store"
_POLL_S = 0.01


def noted_key(environment: str, flag_key: str, store: str) -> str:
    """The key of a record that is of one store of several: ``environment|flag|store``."""
    return f"{rollout_key(environment, flag_key)}|{store}"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a record of the topic says beside the decision: the shares and rings that the flag is to have, and what is kept.

    *before* is what was kept until then, and in force until the store *is_done*.
    """

    shares: Shares
    rings: dict[str, Shares]
    kept: Kept
    before: Kept | None
    is_done: bool = False

    @property
    def change(self) -> Change:
        """The change that was planned."""
        return Change(self.shares, self.rings, self.kept)


class Noted:
    """
    *backend* with a memory: a `Backend` that keeps the record.

    *publish* writes a record to the compacted topic; *read_record* gives the newest one known for its `noted_key`, of two
    with one version the first. It knows the whole topic before the first command. The topic has one order for all who
    write to it, so of two guardians one is refused before it has sent anything to the store. *store* is the name that
    settings give it: a flag may be in several.
    """

    def __init__(
        self,
        backend: Backend,
        publish: Callable[[dict[str, Any]], Awaitable[None]],
        read_record: Callable[[str], dict[str, Any] | None],
        *,
        environment: str,
        store: str,
    ) -> None:
        self._backend, self._publish, self._read_record = backend, publish, read_record
        self._environment, self._store = environment, store

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return self._backend.name

    @property
    def capabilities(self) -> StoreCapabilities:
        """See `Backend.capabilities`."""
        return self._backend.capabilities

    async def read(self, flag_key: str) -> Seen:
        """See `Backend.read`; what is found carried out for the first time is noted so."""
        found = await self._backend.read(flag_key)
        version, note = self._newest(flag_key)
        if note is None:
            return found
        if not note.is_done and note.change.is_met(found, self.capabilities.finest_share / 2):
            note = msgspec.structs.replace(note, is_done=True)
            await self._write(flag_key, version + 1, note)
        kept = note.kept if note.is_done else note.before
        return remembered(found, kept, self._environment, flag_key)

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str | Written:
        """See `Backend.write`."""
        flag_key = command.flag_key
        version, last = self._newest(flag_key)
        in_force = None if last is None else last.kept if last.is_done else last.before
        if (in_force.mark if in_force else "") != seen.mark:
            raise NotTaken("another guardian has decided about the flag meanwhile")
        note = Note(shares=change.shares, rings=change.rings, kept=change.kept, before=in_force)
        await self._write(flag_key, version + 1, note)
        _, last = self._newest(flag_key)
        if last is None or last.kept.mark != change.kept.mark:
            raise NotTaken("another guardian has decided about the flag first")
        return await self._backend.write(replace(seen, mark=""), change, command)

    def _newest(self, flag_key: str) -> tuple[int, Note | None]:
        record = self._read_record(noted_key(self._environment, flag_key, self._store))
        if record is None:
            return 0, None
        try:
            return record["version"], msgspec.convert(record.get(NOTE), Note)
        except msgspec.ValidationError as error:
            raise StoreUnavailable(f"the record of {flag_key!r} in the flag-state topic cannot be read: {error}") from None

    async def _write(self, flag_key: str, version: int, note: Note) -> None:
        """Write it, and wait until it, or what came first, is known: not before may the store hear of it."""
        overlay = cast("Overlay", note.kept.overlay)
        own = {"flag_key": flag_key, "environment": self._environment, "version": version, STORE: self._store}
        try:
            await self._publish({**overlay, **own, NOTE: msgspec.to_builtins(note)})
        except Exception as error:  # whatever the publisher raises, the record may or may not have been written
            why = f"the decision could not be noted ({error!r})"
            raise StoreUnavailable(f"{why}: unknown outcome; read back before sending again") from error
        while self._newest(flag_key)[0] < version:  # noqa: ASYNC110 - who reads the topic knows nothing of this
            await asyncio.sleep(_POLL_S)  # the store's deadline says when it is enough
