"""
Togglz in a Spring Boot application, changed over its actuator endpoint: docs/stores.md.

A feature is on or off: it has two variations, and the share of the one is the percentage of the strategy ``gradual``.
"""

from __future__ import annotations

import base64
import re

import aiohttp
import msgspec
from pydantic import SecretStr, model_validator
from yarl import URL

from guardian.errors import wrong
from guardian.flagdoc import SAME_SHARE
from guardian.ports import FlagCommand, StoreCapabilities, StoreError, UnknownFlag
from streams.fields import StoreSection, Text
from streams.stores.http import Answer, StoreClient, place_of, unusable
from streams.stores.kinds import Kind
from streams.stores.shares.backend import NotTaken
from streams.stores.shares.flag import Change, Malformed, Seen, seen
from streams.stores.vendors import Address, OneRequest
from streams.web import checked_url

CAPABILITIES = StoreCapabilities(
    can_kill_variation=True,
    can_set_share=True,
    can_target_rings=False,
    needs_full_document=False,
    has_compare_and_set=False,
    requires_approval=False,
    typical_propagation_ms=100.0,
    finest_share=0.01,
)
GRADUAL = "gradual"
_PERCENTAGE = "percentage"
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_KEY = re.compile(r"[A-Za-z0-9_$.-]{1,100}")
_REFUSED = (
    "it does not let the guardian in. Give username and password_file, or token_file, of somebody who may POST to "
    "/actuator/togglz; Spring's protection against CSRF must be off for the actuator, too"
)
_READ_ONLY = (
    "its endpoint can only be read: set management.endpoint.togglz.access to unrestricted, and let POST through to "
    "/actuator/togglz"
)


class TogglzSection(StoreSection):
    """Where the actuator is, how to log in, and what events call a feature that is off and one that is on."""

    url: Address
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""
    token: SecretStr = SecretStr("")
    token_file: str = ""
    control: Text = "off"
    variation: Text = "on"
    timeout_s: OneRequest = 1.5

    @model_validator(mode="after")
    def _fits(self) -> TogglzSection:
        if self.control == self.variation:
            raise wrong(f"control and variation are both {self.control!r}; name what events say where it is off and where on")
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise wrong("a login needs both: give username and password_file, or token_file alone")
        if self.username and self.token.get_secret_value():
            raise wrong("there are two logins: give username and password_file, or token_file, not both")
        return self


class Feature(msgspec.Struct, frozen=True):
    """A feature as the endpoint shows it."""

    name: str
    enabled: bool
    strategy: str | None = None
    params: dict[str, str | None] = {}

    @property
    def is_gradual(self) -> bool:
        """Whether a percentage of the users has it."""
        return (self.strategy or "").lower() == GRADUAL

    @property
    def share(self) -> float:
        """
        The share of users that has it; those whom another strategy selects count as all.

        A percentage that is no whole number is served to nobody, and one above 100 to everybody.
        """
        if not self.enabled:
            return 0.0
        if not self.is_gradual:
            return 1.0
        given = self.params.get(_PERCENTAGE) or ""
        return min(max(int(given), 0), 100) / 100 if _WHOLE.fullmatch(given) else 0.0

    @property
    def etag(self) -> str:
        """Another text after every change that is one to the guardian."""
        return f"{'on' if self.enabled else 'off'} {self.strategy or ''} {self.params.get(_PERCENTAGE) or ''}".rstrip()


class TogglzBackend:
    """The features of one application, whose actuator *section* names."""

    name = "Togglz"
    capabilities = CAPABILITIES

    def __init__(self, section: TogglzSection, session: aiohttp.ClientSession) -> None:
        self._section = section
        self._endpoint = checked_url("url", section.url.rstrip("/")) / "togglz"
        self._where = f"Togglz at {place_of(self._endpoint)}"
        self._client = StoreClient(
            session, where=self._where, setting="url", refused=_REFUSED, timeout_s=section.timeout_s
        )

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        feature = self._feature(await self._ask("GET", flag_key))
        shares = {self._section.control: 1.0 - feature.share, self._section.variation: feature.share}
        return seen(
            self._section.environment,
            flag_key,
            etag=feature.etag,
            shares={name: round(share, 9) for name, share in shares.items()},
            kept=None,
            enabled=feature.enabled,
            raw=feature,
        )

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        """
        See `streams.stores.shares.backend.Backend.write`.

        Togglz has no compare and set: the feature is compared once more just before it is changed.
        """
        wanted = self._wanted(seen.raw, change.shares[self._section.variation])
        if self._feature(await self._ask("GET", command.flag_key)).etag != seen.etag:
            raise NotTaken("the feature was changed meanwhile")
        return self._feature(await self._ask("POST", command.flag_key, msgspec.json.encode(wanted))).etag

    def _wanted(self, feature: Feature, share: float) -> dict[str, object]:
        """What is sent for a share. Off leaves the strategy as it is, so that people find it again."""
        if share <= SAME_SHARE:
            return {"enabled": False}
        if not feature.is_gradual and share >= 1.0 - SAME_SHARE:
            return {"enabled": True}
        if feature.strategy and not feature.is_gradual:
            raise StoreError(
                f"feature {feature.name!r} has the strategy {feature.strategy!r}: it can be switched off and on again, and gets "
                f"no share. Choose the strategy {GRADUAL!r} in Togglz"
            )
        return {"enabled": True, "strategy": GRADUAL, "parameters": f"{_PERCENTAGE}={round(share * 100)}"}

    def _feature(self, answer: Answer) -> Feature:
        try:
            return msgspec.json.decode(answer.json(), type=Feature)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unusable(self._where, Malformed(str(error))) from None
        except Malformed as error:
            raise unusable(self._where, error) from None

    async def _ask(self, method: str, flag_key: str, body: bytes = b"") -> Answer:
        if not _KEY.fullmatch(flag_key) or flag_key in (".", ".."):
            raise UnknownFlag(f"{flag_key!r} is no name of a feature in Togglz: letters, digits, _, -, . and $")
        return await self._client.ask(
            method,
            URL(f"{self._endpoint}/{flag_key}", encoded=True),
            headers=self._login(),
            body=body,
            unknown=f"feature {flag_key!r}, or management.endpoints.web.exposure.include leaves out togglz",
            meaning=_meaning,
        )

    def _login(self) -> dict[str, str]:
        section = self._section
        if token := section.token.get_secret_value():
            return {"authorization": f"Bearer {token}"}
        if not section.username:
            return {}
        login = f"{section.username}:{section.password.get_secret_value()}"
        return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def _meaning(answer: Answer) -> StoreError | None:
    return StoreError(f"Togglz answers HTTP 405: {_READ_ONLY}") if answer.status == 405 else None


KIND = Kind(settings=TogglzSection, capabilities=CAPABILITIES, backend=TogglzBackend, keeps_record=False)
