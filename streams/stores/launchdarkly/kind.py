"""LaunchDarkly as a kind of store: docs/stores.md."""

from __future__ import annotations

from typing import Annotated

import aiohttp
from pydantic import AfterValidator, SecretStr

from streams.fields import StoreSection, Strings, Text
from streams.stores.kinds import Kind
from streams.stores.launchdarkly.client import LaunchDarklyBackend
from streams.stores.launchdarkly.flag import NamedBy
from streams.stores.vendors import Address, OneRequest, checked_token

_SDK = "it is a key of SDKs, which cannot change flags: give an access token, which begins with api-"


class LaunchDarklySection(StoreSection):
    """A project, an environment by its key there (*environment* where it is empty), and an access token."""

    project: Text
    environment_key: str = ""
    token: Annotated[SecretStr, AfterValidator(checked_token(("sdk-", _SDK), ("mob-", _SDK)))]
    token_file: str = ""
    url: Address = "https://app.launchdarkly.com"
    rings: Strings = ()
    named_by: NamedBy = "name"
    context_kind: Text = "user"
    timeout_s: OneRequest = 1.5


def _backend(section: LaunchDarklySection, session: aiohttp.ClientSession) -> LaunchDarklyBackend:
    return LaunchDarklyBackend(
        session,
        url=section.url,
        token=section.token.get_secret_value(),
        project=section.project,
        environment=section.environment,
        environment_key=section.environment_key or section.environment,
        rings=section.rings,
        named_by=section.named_by,
        context_kind=section.context_kind,
        timeout_s=section.timeout_s,
    )


KIND = Kind(
    settings=LaunchDarklySection,
    capabilities=LaunchDarklyBackend.capabilities,
    backend=_backend,
    keeps_record=False,
)
