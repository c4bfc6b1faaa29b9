"""GO Feature Flag as a kind of store: the file is changed, then each relay is told to read it again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import aiohttp
import msgspec
from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from yarl import URL

from guardian.errors import wrong
from guardian.ports import FlagCommand, StoreCapabilities, StoreError, StoreUnavailable
from streams.fields import ExistingFile, StoreSection, Strings, as_asked
from streams.stores.goff.document import changed, read_flag
from streams.stores.goff.file import change_text, read_text
from streams.stores.http import StoreClient, place_of
from streams.stores.kinds import Kind
from streams.stores.shares.backend import NotTaken, Written
from streams.stores.shares.flag import Change, Malformed, Seen, kept_in, seen
from streams.web import checked_url

CAPABILITIES = StoreCapabilities(
    can_kill_variation=True,
    can_set_share=True,
    can_target_rings=True,
    needs_full_document=True,
    has_compare_and_set=True,
    requires_approval=False,
    # A relay and a library look every 60 s unless they are told otherwise; a relay that is refreshed is quicker.
    typical_propagation_ms=60_000.0,
    finest_share=1e-5,
    slowest_propagation_ms=65_000.0,
)
_REFRESH = "admin/v1/retriever/refresh"
_REFUSED = "it does not take the key: give api_key_file one of its authorizedKeys.admin"


def _configuration(value: str) -> str:
    if Path(value).suffix not in (".yaml", ".yml", ".json"):
        raise wrong("the guardian writes YAML and JSON; name a file that ends in .yaml, .yml or .json")
    return value


class GoffSection(StoreSection):
    """The file that the retrievers read, and the relays that are told when it has changed."""

    file: Annotated[ExistingFile, AfterValidator(_configuration)]
    relays: Strings = ()
    api_key: SecretStr = SecretStr("")
    api_key_file: str = ""
    timeout_s: float = Field(1.5, ge=0.05, le=4.0)

    @field_validator("relays")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            as_asked(address, checked_url)
        return value

    @model_validator(mode="after")
    def _fits(self) -> GoffSection:
        if self.relays and not self.api_key.get_secret_value():
            raise wrong("relays take a refresh from an administrator alone: give api_key_file one of their authorizedKeys.admin")
        return self


class GoffBackend:
    """The flags of one file."""

    name = "GO Feature Flag"
    capabilities = CAPABILITIES

    def __init__(self, section: GoffSection, session: aiohttp.ClientSession) -> None:
        self._environment, self._path = section.environment, Path(section.file)
        key = section.api_key.get_secret_value()
        self._headers = {"x-api-key": key} if key else {}
        self._relays = [_Relay(checked_url("relays", relay), session, section.timeout_s) for relay in section.relays]

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        return await asyncio.to_thread(self._read, flag_key)

    def _read(self, flag_key: str) -> Seen:
        try:
            flag = read_flag(read_text(self._path), flag_key)
        except Malformed as error:
            raise StoreUnavailable(f"{self._path} cannot be used: {error}") from None
        return seen(
            self._environment,
            flag_key,
            etag=flag.etag,
            shares=flag.shares,
            kept=kept_in(flag.kept),
            enabled=flag.enabled,
            rings=flag.rings,
        )

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> Written:
        """
        See `streams.stores.shares.backend.Backend.write`.

        The change is made once the file has it. A relay that cannot be told reads it by itself when it next looks.
        """
        etag = await asyncio.to_thread(self._write, seen, change, command.flag_key)
        said = await asyncio.gather(*(relay.refresh(self._headers) for relay in self._relays))
        return Written(etag, "".join(f"; {one}" for one in said if one))

    def _write(self, seen: Seen, change: Change, flag_key: str) -> str:
        kept = msgspec.json.encode(change.kept).decode()

        def edit(text: str) -> str:
            if read_flag(text, flag_key).etag != seen.etag:
                raise NotTaken("the flag was changed meanwhile")
            made = changed(text, flag_key, change.shares, change.rings, kept)
            etags.append(read_flag(made, flag_key).etag)
            return made

        etags: list[str] = []
        try:
            change_text(self._path, edit)
        except Malformed as error:
            raise StoreUnavailable(f"{self._path} cannot be used: {error}") from None
        return etags[0]


class _Relay:
    """A relay proxy, which reads the file again when it is asked to."""

    def __init__(self, url: URL, session: aiohttp.ClientSession, timeout_s: float) -> None:
        self._url, self._where = url / _REFRESH, f"the relay at {place_of(url)}"
        self._client = StoreClient(session, where=self._where, setting="relays", refused=_REFUSED, timeout_s=timeout_s)

    async def refresh(self, headers: dict[str, str]) -> str:
        """Have it read the file; return what is to be said where it does not, else nothing."""
        try:
            answer = await self._client.ask("POST", self._url, unknown=f"POST /{_REFRESH}", headers=headers)
            if msgspec.json.decode(answer.json(), type=dict[str, bool]).get("refreshed"):
                return ""
            why = f"{self._where} could not read it"
        except (StoreError, msgspec.DecodeError, UnicodeDecodeError) as error:
            why = str(error)
        return f"served by a relay when it next looks by itself: {why}"


KIND = Kind(settings=GoffSection, capabilities=CAPABILITIES, backend=GoffBackend)
