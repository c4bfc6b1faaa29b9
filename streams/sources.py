"""
What a store serves, told to judge through the journal: each flag at the start, and again when its shares are others.

What people change there is told too, where the store says who.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import structlog

from guardian.journal import SERVES, Override, ReceiptEntry, encode
from guardian.names import Millis, rollout_key
from guardian.served import Serves
from streams.clock import now_ms
from streams.fields import StoreSection
from streams.outlet import NotDelivered
from streams.settings import Settings
from streams.stores.kinds import propagation_ms
from streams.stores.shares.backend import Edit

log = structlog.get_logger()

UNNAMED: Mapping[str, str] = MappingProxyType({})


class Writer(Protocol):
    """What the journal is written through: an outlet."""

    async def post(self, topic: str, key: str, value: bytes | None) -> asyncio.Task[None]:
        """Put one record in line; the task ends when it is kept, or with ``NotDelivered``."""
        ...


class Source:
    """
    One environment of the *store*, as it is called in receipts, whose shares are written into the *journal* where they are news.

    Of flags that another store keeps as well which does not tell (*is_shared*) the parts of all traffic are not known.
    Its slowest clients take *propagation_ms* to follow a change.
    """

    def __init__(
        self,
        outlet: Writer,
        journal: str,
        *,
        environment: str,
        store: str,
        is_shared: Callable[[str], bool] = lambda _: False,
        propagation_ms: int = 0,
    ) -> None:
        self._outlet, self._journal, self._propagation_ms = outlet, journal, propagation_ms
        self._environment, self.store, self._is_shared = environment, store, is_shared
        self._told: dict[str, Serves] = {}

    async def tell(
        self, flags: Mapping[str, Serves], changes: Mapping[str, str] = UNNAMED, *, at_ms: Millis | None = None
    ) -> bool:
        """
        Write what each of the flags gives whom, unless that was written last; say whether all of it is kept.

        *changes* holds by flag the id of people's change that led there; *at_ms* is when it was so, where that is not now. What
        Kafka has not taken is news with the next call.
        """
        at_ms = now_ms() if at_ms is None else at_ms
        sent = []
        for flag_key, given in flags.items():
            serves = Serves(given.shares, given.written, given.rings, given.apart or self._is_shared(flag_key), given.order)
            if self._told.get(flag_key) != serves:
                sent.append((flag_key, serves, await self._post(flag_key, serves, changes.get(flag_key, ""), at_ms)))
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

    async def tell_edit(self, edit: Edit) -> None:
        """
        Write what somebody has changed; judge knows it by its id, whoever tells it again.

        Raises:
            NotDelivered: it may not be kept.
        """
        key = rollout_key(self._environment, edit.flag_key)
        said = f"{edit.by} changed the flag in {self.store}: {edit.what}"
        entry = Override(at_ms=now_ms(), key=key, action="changed", by=edit.by, reason=said, id=edit.id)
        await (await self._outlet.post(self._journal, key, encode(entry)))
        log.info("flag_edited", rollout=key, by=edit.by, what=edit.what, store=self.store)

    async def _post(self, flag_key: str, serves: Serves, change: str, at_ms: Millis) -> asyncio.Task[None]:
        key = rollout_key(self._environment, flag_key)
        entry = ReceiptEntry(
            at_ms=at_ms, key=key, decision_id="", status=SERVES, store=self.store, serves=serves, change=change,
            propagation_ms=self._propagation_ms,
        )  # fmt: skip
        return await self._outlet.post(self._journal, key, encode(entry))


def source_of(settings: Settings, outlet: Writer, name: str, section: StoreSection) -> Source:
    """The store that settings call *name* as a source, under the name that receipts have for it."""
    environment = section.environment
    return Source(
        outlet,
        settings.topics.journal,
        environment=environment,
        store=name or section.kind,
        is_shared=lambda flag_key: not settings.is_told_by_all(environment, flag_key),
        propagation_ms=propagation_ms(section),
    )
