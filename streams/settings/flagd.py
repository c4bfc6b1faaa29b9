"""The guardian's own server of flags: what it serves, where, and to whom."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import SecretStr, ValidationInfo, field_validator

from guardian.errors import wrong
from streams.fields import Port, Section, Strings, Text

TOKEN_LEAST = 16
"""Characters: with fewer a token could be guessed."""
_ORIGIN = re.compile(r"\*|https?://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
"""As browsers send it: in small letters, without a path."""


class Flagd(Section):
    """The flag document, and where flagd and its clients get it."""

    host: Text = "127.0.0.1"
    port: Port = 8015
    document: Text = "config/flags.json"
    environment: Text = "production"
    file: str = ""
    ofrep_port: Port = 0
    ofrep_origins: Strings = ()
    ofrep_tokens: SecretStr = SecretStr("")
    ofrep_tokens_file: str = ""

    @field_validator("file")
    @classmethod
    def _another(cls, value: str, info: ValidationInfo) -> str:
        document = info.data.get("document")
        if value and document and Path(value).resolve() == Path(document).resolve():
            raise wrong("is flagd.document, which people edit and the guardian only reads; name another file")
        return value

    @field_validator("ofrep_port")
    @classmethod
    def _free(cls, value: int, info: ValidationInfo) -> int:
        if value and value == info.data.get("port"):
            raise wrong("is flagd.port, too; give each a port of its own")
        return value

    @field_validator("ofrep_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise wrong(f'{origin!r} is no origin; write one such as https://shop.example.com, or "*" for all')
        return value

    @field_validator("ofrep_tokens")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        tokens = value.get_secret_value().split()
        if any(len(token) < TOKEN_LEAST or not token.isascii() for token in tokens):
            raise wrong(f"a token has {TOKEN_LEAST} ASCII characters or more, such as openssl rand -hex 32; one a line")
        return value
