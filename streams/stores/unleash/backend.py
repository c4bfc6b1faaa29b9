"""The requests to Unleash's Admin API, and what each answer means."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
from yarl import URL

from guardian.ports import FlagCommand, StoreCapabilities, StoreError, UnknownFlag
from streams.findings import Finding
from streams.stores.http import Answer, StoreClient, place_of, unusable
from streams.stores.shares.backend import News, NotTaken
from streams.stores.shares.flag import Change, Malformed, Seen
from streams.stores.unleash.audit import EVENTS, Audit, news_in
from streams.stores.unleash.strategy import FINEST_WEIGHT, Strategy, etag_of, patch_of, read_flag
from streams.web import checked_url

_REFUSED = (
    "it does not know the token, or it has expired. Make a personal access token of a user who is the guardian's, and put it "
    "into token_file"
)
_ANOTHER_KIND = (
    "this is a token of SDKs. The guardian needs a personal access token of a user of its own (or an admin token) in token_file"
)
EDITS = 100
"""As many of the project's newest events are asked for."""
LOOK_BACK = timedelta(minutes=5)
"""At the start: what people changed while nobody looked. Who was told before does not mind."""
AUDIT_S = 0.25
"""A flag that was read waits no longer for who has changed it: kills wait."""
_NO_ID = "a strategy of no flag"
"""What no strategy's id is: a patch that tests for it is allowed or not, and never made."""
SOON = timedelta(days=14)
"""A token that expires within this is told of."""
_NAME = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,199}|\.[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
"""Unleash takes no other names; a dot or two alone would lead elsewhere."""


class _Said(msgspec.Struct, frozen=True):
    message: str = ""
    permissions: list[str] = []


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Features(msgspec.Struct, frozen=True):
    features: list[_Named]


class _Token(msgspec.Struct, frozen=True, rename="camel"):
    expires_at: datetime
    description: str = ""


class _Tokens(msgspec.Struct, frozen=True):
    pats: list[_Token]


class UnleashBackend:
    """
    One environment of a project at *url*: *at* is its name in Unleash, *environment* the guardian's.

    Raises:
        ValueError: no address, which is not shown.
    """

    name = "Unleash"
    capabilities = StoreCapabilities(
        can_kill_variation=True,
        can_set_share=True,
        can_target_rings=False,
        needs_full_document=False,
        # Its comparison stands before its transaction; `Audit.lost` finds what came between.
        has_compare_and_set=False,
        requires_approval=False,
        # SDKs ask every 15 s unless they are told otherwise.
        typical_propagation_ms=8_000.0,
        finest_share=FINEST_WEIGHT,
        slowest_propagation_ms=20_000.0,
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        token: str,
        project: str,
        at: str,
        environment: str,
        timeout_s: float,
        poll_s: float = 5.0,
    ) -> None:
        self._token, self._project, self._at, self._environment = token, project, at, environment
        self.poll_s, self._newest = poll_s, 0
        self._replaced: dict[str, Strategy] = {}
        self._api = checked_url("url", url) / "api" / "admin"
        self._where = f"Unleash at {place_of(self._api)}"
        self._client = StoreClient(session, where=self._where, setting="url", refused=_REFUSED, timeout_s=timeout_s)

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        if not _NAME.fullmatch(flag_key) or flag_key == "..":
            raise UnknownFlag(f"flag {flag_key!r} cannot be in Unleash: names hold letters, digits, and . _ ~ - there")
        audit = asyncio.ensure_future(self._audit(flag_key))
        try:
            found = await self._flag(flag_key)
            await asyncio.wait({audit}, timeout=AUDIT_S)
            return self._audited(found, audit.result()) if audit.done() else found
        finally:
            audit.cancel()

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        """See `streams.stores.shares.backend.Backend.write`."""
        strategy: Strategy = seen.raw
        address = self._strategy(command.flag_key, strategy)
        self._replaced[strategy.id] = strategy
        patch = msgspec.json.encode(patch_of(strategy, change, command.control))
        answer = await self._ask("PATCH", address, command.flag_key, patch)
        try:
            return etag_of(msgspec.json.decode(answer.json(), type=Strategy), seen.enabled)
        except (Malformed, msgspec.DecodeError):
            return ""  # reading tells

    async def probe(self, flag_key: str, control: str) -> list[Finding]:
        """See `streams.stores.shares.backend.Probed.probe`: Unleash asks for the right before it looks at the patch."""
        del control
        strategy: Strategy = (await self._flag(flag_key)).raw
        patch = msgspec.json.encode([{"op": "test", "path": "/id", "value": _NO_ID}])
        try:
            await self._ask("PATCH", self._strategy(flag_key, strategy), flag_key, patch)
        except NotTaken:
            may = f"the token's user may change strategies in project {self._project!r}, environment {self._at!r}"
            return [Finding("ok", "permission to kill", may), *await self._expiring()]
        return [Finding("warning", "permission to kill", "a patch that cannot hold was answered as if it did: nothing is known")]

    async def _expiring(self) -> list[Finding]:
        """The tokens of the token's user that expire soon; none where that is not told (an admin token)."""
        try:
            answer = await self._ask("GET", self._api / "user" / "tokens", "")
            tokens = msgspec.json.decode(answer.json(), type=_Tokens).pats
        except (StoreError, Malformed, msgspec.DecodeError):
            return []
        now = datetime.now(UTC)
        return [
            Finding(
                "warning",
                "token",
                f"token {token.description!r} of the guardian's user expires on {token.expires_at:%Y-%m-%d}",
                "make another one and put it into token_file, if that is the one in use",
            )
            for token in tokens
            if now < token.expires_at < now + SOON
        ]

    def _audited(self, found: Seen, audit: Audit | None) -> Seen:
        """The flag with what the log says of its last change."""
        if audit is None:
            return found
        replaced = self._replaced.get(found.raw.id)
        return replace(found, changed_by=audit.changed_by, lost=audit.lost(found.raw, replaced) if replaced else None)

    async def news(self) -> News:
        """See `streams.stores.shares.backend.Watched.news`."""
        query = {"project": f"IS:{self._project}", "limit": str(EDITS)}
        answer = await self._ask("GET", (self._api / "search" / "events").with_query(query), "")
        since = datetime.min.replace(tzinfo=UTC) if self._newest else datetime.now(UTC) - LOOK_BACK
        try:
            self._newest, found = news_in(answer.json(), at=self._at, after=self._newest, since=since, most=EDITS)
        except (Malformed, msgspec.DecodeError) as error:
            raise unusable(self._where, Malformed(str(error))) from None
        return found

    async def flags(self) -> list[str]:
        """See `streams.stores.shares.backend.Watched.flags`."""
        answer = await self._ask("GET", self._api / "projects" / self._project / "features", "")
        try:
            return [one.name for one in msgspec.json.decode(answer.json(), type=_Features).features]
        except (Malformed, msgspec.DecodeError) as error:
            raise unusable(self._where, Malformed(str(error))) from None

    async def _flag(self, flag_key: str) -> Seen:
        address = self._feature(flag_key).with_query(variantEnvironments="true")
        answer = await self._ask("GET", address, flag_key)
        try:
            body = answer.json()
        except Malformed as error:
            cure = "is url the address of Unleash itself, such as https://unleash.example.com, without /api?"
            raise unusable(self._where, Malformed(f"{error}; {cure}")) from None
        try:
            return read_flag(body, flag_key, at=self._at, environment=self._environment)
        except Malformed as error:
            raise unusable(self._where, error) from None

    def _feature(self, flag_key: str) -> URL:
        return self._api / "projects" / self._project / "features" / flag_key

    def _strategy(self, flag_key: str, strategy: Strategy) -> URL:
        return self._feature(flag_key) / "environments" / self._at / "strategies" / strategy.id

    async def _ask(self, method: str, url: URL, flag_key: str, body: bytes = b"") -> Answer:
        place = f"flag {flag_key!r} in project {self._project!r}, environment {self._at!r}"
        headers = {"authorization": self._token}
        return await self._client.ask(method, url, unknown=place, headers=headers, body=body, meaning=self._meaning)

    async def _audit(self, flag_key: str) -> Audit | None:
        """The newest events of the flag; ``None`` where they are not told: nothing but words depends on them."""
        query = {"feature": f"IS:{flag_key}", "environment": f"IS:{self._at}", "limit": str(EVENTS)}
        try:
            return Audit((await self._ask("GET", (self._api / "search" / "events").with_query(query), flag_key)).json())
        except (StoreError, Malformed, msgspec.DecodeError):
            return None

    def _meaning(self, answer: Answer) -> StoreError | None:
        """What Unleash says in its own way."""
        told, said = f"{self._where} answers HTTP {answer.status}", _said(answer)
        if answer.status == 500 and "TEST_OPERATION_FAILED" in said.message:
            return NotTaken(f"{told}: the strategy was changed meanwhile")
        if answer.status == 404 and "strategy" in said.message:
            return NotTaken(f"{told}: the strategy was removed meanwhile")
        if answer.status == 404 and said.message:
            return UnknownFlag(f"{told}: {said.message[:200]} (it may be archived; else see project and url)")
        if answer.status == 403 and "token type" in said.message:
            return StoreError(f"{told}: {_ANOTHER_KIND}")
        if answer.status == 403 and "SKIP_CHANGE_REQUEST" in answer.body.decode(errors="replace"):
            return StoreError(
                f"{told}: environment {self._at!r} wants change requests; give the guardian's user SKIP_CHANGE_REQUEST there"
            )
        if answer.status == 403 and said.permissions:
            missing = ", ".join(said.permissions)
            where = f"project {self._project!r}, environment {self._at!r}"
            return StoreError(f"{told}: the token's user lacks the permission {missing} in {where}; give them a role that has it")
        return None


def _said(answer: Answer) -> _Said:
    try:
        return msgspec.json.decode(answer.body, type=_Said)
    except msgspec.DecodeError:
        return _Said()
