"""
CloudEvents 1.0 in structured JSON: how decisions, receipts and rollouts travel.

``data`` is a pydantic model's own JSON, embedded as it is: an event is written in one pass, and the same model always
gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from guardian.errors import EventError

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


Data = TypeVar("Data", bound=BaseModel)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def to_event(
    type: str,  # noqa: A002 - the names that CloudEvents gives them
    data: BaseModel | Mapping[str, Any],
    *,
    id: str,  # noqa: A002
    time: str,
    source: str,
) -> bytes:
    """Return *data* as an event; *time* is RFC 3339, (*source*, *id*) is unique to the event."""
    plain = data.model_dump_json().encode() if isinstance(data, BaseModel) else _encoder.encode(data)
    json = msgspec.Raw(plain)
    return _encoder.encode(Event(id=id, source=source, type=type, time=time, data=json))


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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventError(f"not a CloudEvent in structured JSON: {error}") from None
    if event.specversion != "1.0":
        raise EventError(f"specversion: {event.specversion!r}: only 1.0 is read")
    return event


def from_event(raw: bytes | None, model: type[Data], *, type: str = "") -> Data:  # noqa: A002
    """
    Return an event's data; where *type* is given, the event must be of it.

    Raises:
        EventError: it cannot be read; the text names each field, its value, and what would be right.
    """
    event = read_event(raw)
    if type and event.type != type:
        raise EventError(f"type: {event.type!r}: expected {type!r}")
    try:
        return model.model_validate_json(bytes(event.data))
    except ValidationError as error:
        wrong = (f"data.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise EventError("; ".join(wrong)) from None
