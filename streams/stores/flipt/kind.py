"""Flipt v2 as a kind of store: whole flags, changed only at the revision that was read."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import aiohttp
import msgspec
from pydantic import SecretStr

from guardian.ports import FlagCommand, StoreCapabilities, StoreError, UnknownFlag
from streams.fields import StoreSection, Text
from streams.stores.flipt.document import Segment, Told, changed, told
from streams.stores.http import Answer, StoreClient, place_of, unusable
from streams.stores.kinds import Kind
from streams.stores.shares.flag import Change, Malformed, Seen, kept_in, seen
from streams.stores.vendors import Address, OneRequest
from streams.web import checked_url

CAPABILITIES = StoreCapabilities(
    can_kill_variation=True,
    can_set_share=True,
    can_target_rings=True,
    needs_full_document=True,
    has_compare_and_set=True,
    requires_approval=False,
    # Flipt itself evaluates by it at once; SDKs that evaluate look every 120 s unless they are told otherwise.
    typical_propagation_ms=120_000.0,
    finest_share=0.001,
    slowest_propagation_ms=125_000.0,
)
_KEY = re.compile(r"[-_,A-Za-z0-9]+")
_FLAG, _SEGMENT = "flipt.core.Flag", "flipt.core.Segment"
_REFUSED = "give token_file a client token of Flipt's that may read and update flags in this environment and namespace"


class FliptSection(StoreSection):
    """Where it is, which of its environments and namespaces, and its segment that holds everybody."""

    url: Address
    token: SecretStr = SecretStr("")
    token_file: str = ""
    flipt_environment: Text = "default"
    namespace: Text = "default"
    everybody: Text = "everyone"
    timeout_s: OneRequest = 1.5


class _Resource(msgspec.Struct, frozen=True):
    payload: dict[str, Any]


class _One(msgspec.Struct, frozen=True):
    resource: _Resource
    revision: str


class _Some(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...] = ()


_Read = TypeVar("_Read", _One, _Some)


class FliptBackend:
    """The flags of one namespace."""

    name = "Flipt"
    capabilities = CAPABILITIES

    def __init__(self, section: FliptSection, session: aiohttp.ClientSession) -> None:
        self._section = section
        root = checked_url("url", section.url)
        self._resources = (
            root / "api/v2/environments" / section.flipt_environment / "namespaces" / section.namespace / "resources"
        )
        self._where = f"Flipt at {place_of(root)}"
        self._client = StoreClient(session, where=self._where, setting="url", refused=_REFUSED, timeout_s=section.timeout_s)
        token = section.token.get_secret_value()
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        if not _KEY.fullmatch(flag_key):
            raise UnknownFlag(f"{flag_key!r} is no key of a flag in Flipt: letters, digits, -, _ and ,")
        answer = await self._ask("GET", flag_key, f"{_FLAG}/{flag_key}")
        named = await self._ask("GET", flag_key, _SEGMENT)
        try:
            one, segments = _read(answer, _One), _segments(_read(named, _Some))
            flag = told(one.resource.payload, one.revision, self._section.everybody, segments)
            return seen(
                self._section.environment,
                flag_key,
                etag=flag.etag,
                shares=flag.shares,
                kept=kept_in(flag.kept),
                enabled=flag.enabled,
                rings=flag.rings,
                raw=(flag, segments),
            )
        except Malformed as error:
            raise unusable(self._where, error) from None

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        """See `streams.stores.shares.backend.Backend.write`."""
        before, segments = seen.raw
        everybody = self._section.everybody
        if everybody not in {one.key for one in segments}:
            raise StoreError(
                f"{self._where} has no segment {everybody!r}: make one without constraints, or name yours in `everybody`"
            )
        kept = msgspec.json.encode(change.kept).decode()
        payload = changed(before, change.shares, change.rings, kept, everybody)
        body = msgspec.json.encode({"key": command.flag_key, "revision": before.revision, "payload": payload})
        answer = await self._ask("PUT", command.flag_key, "", body)
        try:
            one = _read(answer, _One)
            after: Told = told(one.resource.payload, one.revision, everybody, segments)
        except Malformed as error:
            raise unusable(self._where, error) from None
        return after.etag

    async def _ask(self, method: str, flag_key: str, under: str, body: bytes = b"") -> Answer:
        section = self._section
        place = f"namespace {section.namespace!r} of environment {section.flipt_environment!r}"
        return await self._client.ask(
            method,
            self._resources / under if under else self._resources,
            headers=self._headers,
            body=body,
            unknown=f"flag {flag_key!r} in {place} (settings: namespace, flipt_environment)",
        )


def _segments(some: _Some) -> tuple[Segment, ...]:
    try:
        return tuple(msgspec.convert(one.payload, Segment) for one in some.resources)
    except msgspec.ValidationError as error:
        raise Malformed(f"resources: {error}") from None


def _read(answer: Answer, of: type[_Read]) -> _Read:
    try:
        return msgspec.json.decode(answer.json(), type=of)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


KIND = Kind(settings=FliptSection, capabilities=CAPABILITIES, backend=FliptBackend)
