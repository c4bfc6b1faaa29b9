"""Whose word counts, by keys, and what keeps users unknown, by a salt."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr, model_validator

from guardian.errors import wrong
from streams.fields import Section, Strings
from streams.keys import Keys, read_private, read_public

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SALT_LEAST = 16
"""Characters: with fewer the salt itself could be guessed."""


class Signing(Section):
    """What decisions and receipts are signed with, and whose signatures count; without any key nothing is signed."""

    key: SecretStr = SecretStr("")
    key_file: str = ""
    trusted: Strings = ()

    @model_validator(mode="after")
    def _readable(self) -> Self:
        # Read here, so that what is wrong is said at the start, and what is a key then stays one.
        _ = self.keys
        return self

    @cached_property
    def keys(self) -> Keys:
        """The keys themselves."""
        try:
            private = read_private(pem) if (pem := self.key.get_secret_value()) else None
        except ValueError as error:
            raise wrong(f"key {error}") from None
        return Keys(private, [_public(file) for file in self.trusted])


class Privacy(Section):
    """What is done so that nobody learns from the guardian's topics who used what."""

    salt: SecretStr = SecretStr("")
    salt_file: str = ""

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if 0 < len(self.salt.get_secret_value().encode()) < SALT_LEAST:
            raise wrong(f"salt is too short to be one; write {SALT_LEAST} random characters or more: openssl rand -hex 32")
        return self


def _public(file: str) -> Ed25519PublicKey:
    try:
        return read_public(Path(file).read_bytes())
    except OSError as error:
        raise wrong(f"trusted: {file!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise wrong(f"trusted: {file!r} {error}") from None
