"""What a store serves, told to judge through the journal: each flag at the start, and again when its shares are others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import structlog

from guardian.journal import SERVES, ReceiptEntry, encode
from guardian.names import rollout_key
from guardian.served import Serves
from streams.clock import now_ms
from streams.outlet import NotDelivered

log = structlog.get_logger()

UNNAMED: Mapping[str, str] = MappingProxyType({})


class Writer(Protocol):
    """What the journal is written through: an outlet."""

    async def post(self, topic: str, key: str, value: bytes | None) -> asyncio.Task[None]:
        """Put one record in line; the task ends when it is kept, or with ``NotDelivered``."""
        ...


class Source:
    """
    One environment of the store called *store*, whose shares are written into the *journal* where they are news.

    Of flags that another store keeps as well which does not tell (*is_shared*) the parts of all traffic are not known.
    """

    def __init__(
        self, outlet: Writer, journal: str, *, environment: str, store: str, is_shared: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._outlet, self._journal = outlet, journal
        self._environment, self._store, self._is_shared = environment, store, is_shared
        self._told: dict[str, Serves] = {}

    async def tell(self, flags: Mapping[str, Serves], changes: Mapping[str, str] = UNNAMED) -> bool:
        """
        Write what each of the flags gives whom, unless that was written last; say whether all of it is kept.

        *changes* holds by flag the id of people's change that led there. What Kafka has not taken is news with the next call.
        """
        sent = []
        for flag_key, given in flags.items():
            serves = Serves(given.shares, given.written, given.rings, given.apart or self._is_shared(flag_key), given.order)
            if self._told.get(flag_key) != serves:
                sent.append((flag_key, serves, await self._post(flag_key, serves, changes.get(flag_key, ""))))
        is_kept = True
        for flag_key, serves, delivery in sent:
            try:
                await delivery
            except NotDelivered as error:
                is_kept = False
                log.warning("shares_not_told", flag=flag_key, reason=str(error))
            else:
                self._told[flag_key] = serves
        return is_kept

    async def _post(self, flag_key: str, serves: Serves, change: str) -> asyncio.Task[None]:
        key = rollout_key(self._environment, flag_key)
        entry = ReceiptEntry(
            at_ms=now_ms(), key=key, decision_id="", status=SERVES, store=self._store, serves=serves, change=change
        )
        return await self._outlet.post(self._journal, key, encode(entry))
