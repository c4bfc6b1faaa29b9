"""
CloudEvents 1.0 in structured JSON: how decisions, receipts and rollouts travel.

``data`` is a pydantic model's own JSON, embedded as it is: an event is written in one pass, and the same model always
gives the same bytes.

Signed events have two extension attributes more, ``keyid`` and ``signature`` (docs/security.md). What is signed is the
bytes of ``signed_content``, which anybody can put together from the event as it stands on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from guardian.errors import EventError
from streams.keys import UNSIGNED, Keys

CONTENT_TYPE = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
"""Kafka headers of a structured event (CloudEvents Kafka protocol binding 1.0, 3.3)."""


class Event(msgspec.Struct, omit_defaults=False):
    """An event as it stands on the wire; *data* is still JSON."""

    id: str
    source: str
    type: str
    time: str
    data: msgspec.Raw
    specversion: str = "1.0"
    datacontenttype: str = "application/json"
    keyid: str | msgspec.UnsetType = msgspec.UNSET
    signature: str | msgspec.UnsetType = msgspec.UNSET


Data = TypeVar("Data", bound=BaseModel)

_DOMAIN = "rollout-guardian/event/1"
"""So that a signature of something else by the same key is never one of an event."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def to_event(
    type: str,  # noqa: A002 - the names that CloudEvents gives them
    data: BaseModel | Mapping[str, Any],
    *,
    id: str,  # noqa: A002
    time: str,
    source: str,
    keys: Keys = UNSIGNED,
) -> bytes:
    """Return *data* as an event, signed if *keys* can; *time* is RFC 3339, (*source*, *id*) is unique to the event."""
    plain = data.model_dump_json().encode() if isinstance(data, BaseModel) else _encoder.encode(data)
    json = msgspec.Raw(plain)
    event = Event(id=id, source=source, type=type, time=time, data=json)
    if keys.own_id:
        event.keyid, event.signature = keys.own_id, keys.sign(signed_content(event))
    return _encoder.encode(event)


def signed_content(event: Event) -> bytes:
    """
    Return what a signature is of.

    Eight fields, each as its length (8 bytes, big-endian) and its bytes: ``_DOMAIN``, specversion, id, source, type, time,
    datacontenttype, and data as it stands on the wire. So two different events never have the same content.
    """
    named = (_DOMAIN, event.specversion, event.id, event.source, event.type, event.time, event.datacontenttype)
    fields = [*(name.encode() for name in named), bytes(event.data)]
    return b"".join(len(one).to_bytes(8, "big") + one for one in fields)


def read_event(raw: bytes | None) -> Event:
    """
    Return the envelope.

    Raises:
        EventError: it is no CloudEvent in structured JSON; the text says what is missing.
    """
    if raw is None:
        raise EventError("the record has no value; an event is a CloudEvent in structured JSON")
    try:
        event = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(f"not a CloudEvent in structured JSON: {error}") from None
    if event.specversion != "1.0":
        raise EventError(f"specversion: {event.specversion!r}: only 1.0 is read")
    return event


def check_signature(event: Event, keys: Keys) -> None:
    """
    Check that an event is signed by a key that *keys* trust; nothing is asked for where they trust none.

    Raises:
        SignatureError: it is not.
    """
    keys.check(signed_content(event), event.keyid or "", event.signature or "")


def from_event(
    raw: bytes | None,
    model: type[Data],
    *,
    type: str = "",  # noqa: A002
    keys: Keys = UNSIGNED,
) -> Data:
    """
    Return an event's data; where *type* is given, the event must be of it, and signed by a key that *keys* trust.

    Raises:
        SignatureError: it is not signed as it must be.
        EventError: it cannot be read; the text names each field, its value, and what would be right.
    """
    event = read_event(raw)
    check_signature(event, keys)
    if type and event.type != type:
        raise EventError(f"type: {event.type!r}: expected {type!r}")
    try:
        return model.model_validate_json(bytes(event.data))
    except ValidationError as error:
        wrong = (f"data.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise EventError("; ".join(wrong)) from None
