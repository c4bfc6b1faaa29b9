"""The flag stores that settings name under ``stores:``, each with the settings of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, PlainValidator

from guardian.errors import wrong
from streams.fields import StoreSection
from streams.stores.kinds import KINDS, kind_of

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
