"""A webhook store without a wire: the bodies are those that go over it, what becomes of them is decided in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from guardian.ports import FlagCommand, UnknownFlag
from streams.stores.shares.backend import NotTaken
from streams.stores.shares.flag import Change, Seen
from streams.stores.webhook.client import WebhookBackend
from streams.stores.webhook.wire import body_of, read_answer


class ShelfBackend:
    """Stands in for ``WebhookBackend``: *flags* by key, changed by compare and set; *before* each change something may happen."""

    name, capabilities = "the shelf", WebhookBackend.capabilities

    def __init__(self, flags: Mapping[str, Mapping[str, Any]], environment: str = "production") -> None:
        self.flags: dict[str, dict[str, Any]] = {key: {"rings": {}, "version": 1, **flag} for key, flag in flags.items()}
        self.environment = environment
        self.before: Callable[[], None] = lambda: None
        self.bodies: list[dict[str, Any]] = []

    def edit(self, flag_key: str, **fields: Any) -> None:
        """A person's change."""
        known = self.flags[flag_key]
        self.flags[flag_key] = {**known, "changed_by": "ada", **fields, "version": known["version"] + 1}

    def etag(self, flag_key: str) -> str:
        return f'"{self.flags[flag_key]["version"]}"'

    async def read(self, flag_key: str) -> Seen:
        if flag_key not in self.flags:
            raise UnknownFlag(f"flag {flag_key!r} is not there")
        shown = {"flag": flag_key, "environment": self.environment, **self.flags[flag_key]}
        return read_answer(json.dumps(shown).encode(), self.etag(flag_key), self.environment, flag_key)

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        self.before()
        flag_key, asked = command.flag_key, json.loads(body_of(change, command, seen.etag))
        if seen.etag != self.etag(flag_key):
            raise NotTaken("the flag was changed meanwhile")
        self.bodies.append(asked)
        self.edit(flag_key, **{name: asked[name] for name in ("shares", "rings", "guardian")}, changed_by="guardian")
        return self.etag(flag_key)
