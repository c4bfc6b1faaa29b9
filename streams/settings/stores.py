"""The flag stores: those that settings name under ``stores:``, each as its kind asks, and the one behind an address."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, SecretStr, field_validator

from guardian.errors import wrong
from streams.fields import Section, StoreSection, Text, as_asked
from streams.stores.kinds import KINDS, kind_of
from streams.web import checked_url
from streams.webhooks import key_of

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def section_of(written: object) -> type[StoreSection]:
    """The settings that a store has which is *written* so; those of every store where its kind is none."""
    kind = written.get("kind") if isinstance(written, Mapping) else None
    return kind_of(kind).settings if isinstance(kind, str) and kind in KINDS else StoreSection


def _store(value: Any) -> StoreSection:
    if isinstance(value, StoreSection):
        return value
    section = section_of(value)
    if isinstance(value, Mapping) and isinstance(kind := value.get("kind"), str) and kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1, cutoff=0.6)
        meant = f"did you mean {near[0]}? " if near else ""
        raise wrong(f"kind: {kind!r}: {meant}write one of {', '.join(KINDS)}")
    # What is wrong in it is told with the place of each field: pydantic adds where the store stands.
    return section.model_validate(value)


def _named(value: dict[str, StoreSection]) -> dict[str, StoreSection]:
    for name in value:
        if not name or not _NAME.issuperset(name):
            raise wrong(f"{name!r} is no name of a store; write lower-case letters, digits, - and _")
    return value


Stores = Annotated[dict[str, Annotated[StoreSection, PlainValidator(_store)]], AfterValidator(_named)]


class WebhookStore(Section):
    """A flag store of one's own behind an address; used where ``store`` says so."""

    url: str = ""
    secret: SecretStr = SecretStr("")
    secret_file: str = ""
    environment: Text = "production"
    timeout_s: float = Field(1.5, ge=0.05, le=4.0)

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        return as_asked(value, checked_url)

    @field_validator("secret")
    @classmethod
    def _of_standard_webhooks(cls, value: SecretStr) -> SecretStr:
        as_asked(value.get_secret_value(), key_of)
        return value
