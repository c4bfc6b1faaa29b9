"""
What a store of shares has to be able to do: read a flag, and change it. All else is the same for all of them.

A new store is one file that implements `Backend`, and its line in `streams.stores.kinds`; docs/hacking.md shows one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from guardian.ports import FlagCommand, StoreCapabilities, StoreError
from streams.findings import Finding
from streams.stores.shares.flag import Change, Seen


class NotTaken(StoreError):
    """The flag has changed since it was read; nothing was done."""


@dataclass(frozen=True, slots=True)
class Written:
    """The *etag* of a flag that was changed, and what people are told *also*, where there is something: ``; a relay is away``."""

    etag: str
    also: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Somebody's own change of what a flag serves, as the store's log has it; *id* is of this change alone."""

    id: str
    flag_key: str
    by: str
    what: str


@dataclass(frozen=True, slots=True)
class News:
    """
    What a store's log tells since it was last asked: people's *edits*, oldest first, and the flags that anybody *touched*.

    These are ``None`` where it may be any: at the first time, and when more has happened than was told.
    """

    edits: list[Edit]
    touched: frozenset[str] | None


@runtime_checkable
class Watched(Protocol):
    """A backend whose store has a log of changes."""

    poll_s: float
    """How often it is to be asked."""

    async def news(self) -> News:
        """
        What has happened since the last call; at the first, of people's changes those of the last minutes.

        Raises:
            StoreError: it does not say.
        """
        ...

    async def flags(self) -> list[str]:
        """
        Every flag that there is, by its key.

        Raises:
            StoreError: it does not say.
        """
        ...


@runtime_checkable
class Probed(Protocol):
    """A backend that can find out whether it could change a flag, and changes nothing by it."""

    async def probe(self, flag_key: str, control: str) -> list[Finding]:
        """
        What a dry run of a change in favour of *control* has shown; nothing that is told is about shares.

        Raises:
            StoreError: the change would not be made; as `Backend.write`.
        """
        ...


class Backend(Protocol):
    """One environment of a flag store, as shares."""

    @property
    def name(self) -> str:
        """What messages call it: ``the webhook store``."""
        ...

    @property
    def capabilities(self) -> StoreCapabilities:
        """What it can do; with ``has_compare_and_set`` a change is made only to the flag that was read."""
        ...

    async def read(self, flag_key: str) -> Seen:
        """
        The flag as it is served now, with what the guardian keeps beside it where the store has a place for that.

        Raises:
            UnknownFlag: the store has no such flag.
            StoreUnavailable: no answer, or none that can be read.
            StoreError: the store refuses to tell; the text says what would help.
        """
        ...

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str | Written:
        """
        Change the flag that was *seen*; return its etag afterwards, empty where the store does not say it, or with more to say.

        Raises:
            NotTaken: it is another one by now; nothing was done.
            UnknownFlag: the store has no such flag.
            StoreUnavailable: the change may have been made or not.
            StoreError: the store refuses it; the text says what would help.
        """
        ...
