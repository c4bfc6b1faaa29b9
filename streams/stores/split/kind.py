"""Split, or Harness FME, as a kind of store: docs/stores.md."""

from __future__ import annotations

from typing import Annotated

import aiohttp
from pydantic import AfterValidator, SecretStr

from streams.fields import StoreSection, Text
from streams.stores.kinds import Kind
from streams.stores.split.client import SplitBackend
from streams.stores.vendors import Address, OneRequest, checked_token


class SplitSection(StoreSection):
    """A workspace by its id, an environment by its id or name (*environment* where it is empty), and an Admin API key."""

    workspace: Text
    environment_id: str = ""
    token: Annotated[SecretStr, AfterValidator(checked_token())]
    token_file: str = ""
    url: Address = "https://api.split.io/internal/api/v2"
    timeout_s: OneRequest = 1.5


def _backend(section: SplitSection, session: aiohttp.ClientSession) -> SplitBackend:
    return SplitBackend(
        session,
        url=section.url,
        token=section.token.get_secret_value(),
        workspace=section.workspace,
        environment=section.environment,
        environment_id=section.environment_id or section.environment,
        timeout_s=section.timeout_s,
    )


KIND = Kind(settings=SplitSection, capabilities=SplitBackend.capabilities, backend=_backend, keeps_record=False)
