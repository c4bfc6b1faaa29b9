"""A store of somebody's own behind one address, as a kind of store: docs/stores.md."""

from __future__ import annotations

import aiohttp
from pydantic import SecretStr, field_validator

from streams.fields import StoreSection, as_asked
from streams.stores.kinds import Kind
from streams.stores.vendors import Address, OneRequest
from streams.stores.webhook.client import WebhookBackend
from streams.webhooks import key_of


class WebhookSection(StoreSection):
    """Where it is, and what requests are signed with."""

    url: Address
    secret: SecretStr
    secret_file: str = ""
    timeout_s: OneRequest = 1.5

    @field_validator("secret")
    @classmethod
    def _of_standard_webhooks(cls, value: SecretStr) -> SecretStr:
        as_asked(value.get_secret_value(), key_of)
        return value


def _backend(section: WebhookSection, session: aiohttp.ClientSession) -> WebhookBackend:
    return WebhookBackend(
        session,
        url=section.url,
        secret=section.secret.get_secret_value(),
        environment=section.environment,
        timeout_s=section.timeout_s,
    )


KIND = Kind(settings=WebhookSection, capabilities=WebhookBackend.capabilities, backend=_backend)
