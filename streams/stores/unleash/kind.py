"""Unleash as a kind of store: docs/stores.md."""

from __future__ import annotations

import aiohttp
from pydantic import Field, SecretStr, field_validator

from guardian.errors import wrong
from streams.fields import StoreSection, Text, as_asked
from streams.stores.kinds import Kind
from streams.stores.unleash.backend import UnleashBackend
from streams.web import checked_url


class UnleashSection(StoreSection):
    """Where it is and who asks; *unleash_environment* is its name for the environment."""

    url: Text
    token: SecretStr
    token_file: str = ""
    project: Text = "default"
    unleash_environment: str = ""
    timeout_s: float = Field(1.5, ge=0.05, le=4.0)
    poll_s: float = Field(5.0, ge=0.5, le=3_600.0)

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value.rstrip("/").endswith(("/api", "/api/admin", "/api/client")):
            raise wrong("is the address of an interface; write that of Unleash itself, without /api")
        return as_asked(value.rstrip("/"), checked_url)

    @field_validator("token")
    @classmethod
    def _alone(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if not token.isascii() or not token.isprintable() or " " in token:
            raise wrong('is no token; write it as Unleash showed it, without "Bearer"')
        return value


def _backend(section: UnleashSection, session: aiohttp.ClientSession) -> UnleashBackend:
    return UnleashBackend(
        session,
        url=section.url,
        token=section.token.get_secret_value(),
        project=section.project,
        at=section.unleash_environment or section.environment,
        environment=section.environment,
        timeout_s=section.timeout_s,
        poll_s=section.poll_s,
    )


KIND = Kind(settings=UnleashSection, capabilities=UnleashBackend.capabilities, backend=_backend, tells=True)
