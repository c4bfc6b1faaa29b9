"""Flagsmith as a kind of store: docs/stores.md."""

from __future__ import annotations

from typing import Annotated

import aiohttp
from pydantic import AfterValidator, Field, SecretStr

from streams.fields import StoreSection, Text
from streams.stores.flagsmith.client import FlagsmithBackend
from streams.stores.kinds import Kind
from streams.stores.vendors import Address, OneRequest, checked_token

_SDK = "it is a key of server-side SDKs, which cannot change flags: give an API key of the organisation"


class FlagsmithSection(StoreSection):
    """A project by its number, an environment by its client-side key, and an API key of the organisation."""

    project: Annotated[int, Field(ge=1)]
    environment_key: Text
    token: Annotated[SecretStr, AfterValidator(checked_token(("ser.", _SDK), schemes=("Api-Key", "Token", "Bearer")))]
    token_file: str = ""
    url: Address = "https://api.flagsmith.com"
    control: Text = "control"
    timeout_s: OneRequest = 1.5


def _backend(section: FlagsmithSection, session: aiohttp.ClientSession) -> FlagsmithBackend:
    return FlagsmithBackend(
        session,
        url=section.url,
        token=section.token.get_secret_value(),
        project=section.project,
        environment=section.environment,
        environment_key=section.environment_key,
        control=section.control,
        timeout_s=section.timeout_s,
    )


KIND = Kind(settings=FlagsmithSection, capabilities=FlagsmithBackend.capabilities, backend=_backend, keeps_record=False)
