"""A store that has no place for the guardian's record and cannot compare and set, as many of those that people buy."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from guardian.ports import FlagCommand, StoreUnavailable, UnknownFlag
from streams.flag_state import Records
from streams.stores.shares.flag import Change, Seen
from streams.stores.shares.flag import seen as flag_seen
from streams.stores.shares.noted import Noted, noted_key
from streams.stores.webhook.client import WebhookBackend

NAME = "forgetful"


class ForgetfulBackend:
    """
    *flags* by key, and the records of the topic in *records*; shares are rounded to *finest*.

    *before_note* and *before* each change something may happen, such as a person's edit. The next of *fails* is what becomes
    of a change: ``lost`` (not made, and nobody hears), ``late`` (made, and nobody hears).
    """

    name = "the forgetful store"

    def __init__(
        self, flags: Mapping[str, Mapping[str, Any]], *, finest: float = 1e-6, environment: str = "production"
    ) -> None:
        self.capabilities = replace(WebhookBackend.capabilities, has_compare_and_set=False, finest_share=finest)
        self.flags = {key: {"rings": {}, "changed_by": "", "version": 1, **flag} for key, flag in flags.items()}
        self.records, self.environment = Records(), environment
        self.before: Callable[[], None] = lambda: None
        self.before_note: Callable[[], Awaitable[None]] = _nothing
        self.fails: list[str] = []
        self.changes = 0

    def noted(self) -> Noted:
        """A guardian's own view of it, with the topic that all guardians share."""
        return Noted(self, self.publish, self.records.get, environment=self.environment, store=NAME)

    async def publish(self, record: dict[str, Any]) -> None:
        await self.before_note()
        key = noted_key(record["environment"], record["flag_key"], record["store"])
        known = self.records.get(key)
        if known is None or record["version"] > known["version"]:
            self.records._records[key] = json.loads(json.dumps(record))

    def edit(self, flag_key: str, **fields: Any) -> None:
        """A person's change."""
        known = self.flags[flag_key]
        self.flags[flag_key] = {**known, "changed_by": "ada", **fields, "version": known["version"] + 1}

    async def read(self, flag_key: str) -> Seen:
        if flag_key not in self.flags:
            raise UnknownFlag(f"flag {flag_key!r} is not there")
        flag = self.flags[flag_key]
        return flag_seen(
            self.environment,
            flag_key,
            etag=str(flag["version"]),
            shares=dict(flag["shares"]),
            kept=None,
            rings=flag["rings"],
            changed_by=flag["changed_by"],
        )

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        del seen  # it cannot compare
        self.before()
        fate = self.fails.pop(0) if self.fails else ""
        if fate != "lost":
            self.changes += 1
            finest = self.capabilities.finest_share
            shares = {name: round(round(share / finest) * finest, 9) for name, share in change.shares.items()}
            self.edit(command.flag_key, shares=shares, rings=change.rings, changed_by="guardian")
        if fate:
            raise StoreUnavailable("nobody answers")
        return str(self.flags[command.flag_key]["version"])


async def _nothing() -> None: ...
