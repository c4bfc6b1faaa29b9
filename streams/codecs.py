"""
Bytes of a topic to events, a batch at a time.

Two ways to the same values. The fast one lets msgspec check everything that
the contract types while it decodes; the careful one is ``guardian.events``.
Whatever the fast one does not accept goes the careful way, which alone may
refuse an event, and gives the reason.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, cast

import msgspec
from pydantic import ValidationError

from guardian.events import (
    MODELS,
    TYPES,
    AnyEvent,
    Exposure,
    Feedback,
    Outcome,
    read_event,
    reason,
)
from streams.folding.costly import made_cheap
from streams.folding.wire import (
    DETAILED,
    PLAIN,
    UNREADABLE,
    Decoders,
    Envelope,
    Fields,
    Headers,
    Line,
    Message,
    Record,
    Unread,
    decode_any,
    decode_foreign,
)

__all__ = [
    "EXPOSURE", "FEEDBACK", "OUTCOME", "REFUSED", "SKIPPED", "UNKNOWN",
    "Codec", "Event", "Line", "Message", "Record", "Refused", "Row", "read_record", "row_of",
]  # fmt: skip

EXPOSURE, OUTCOME, FEEDBACK, SKIPPED, UNKNOWN, REFUSED = range(6)
"""Kinds of rows. SKIPPED: an evaluation that exposed nobody; UNKNOWN: a ``type`` that is not ours."""
_OUTCOME_TYPE = "dev.rolloutguardian.outcome.v1"
_FRAME_BYTES = 5
_RATE_DIGITS_MAX = 9
_OF_TYPE, _MISSED_SPECVERSION = "`$.type`", "Object missing required field `specversion`"
"""How msgspec's errors name the field that is wrong, and one that is not there."""
_NO_SPECVERSION = "specversion: is required: neither a CloudEvent, nor is this topic configured as bare"
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
EXPLAINED_BYTES_MAX = 2**18
"""To say what is wrong with more than that could take seconds; most events have a few hundred bytes."""
_value_of = operator.attrgetter("value")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """
    One valid event: what the careful way returns and ``Fold.take_events`` takes.

    ``kind`` is EXPOSURE, OUTCOME or FEEDBACK; an exposure has exactly one
    flag; ``latency_ms`` and ``context_id`` are None where the event has none;
    ``weight`` is its ``sampledrate``. ``said`` is the kind of feedback, with
    ``score`` and ``scale``; ``operation``, ``error_type``, ``attributes`` and
    ``measures`` are those of an outcome.
    """

    kind: int
    time_ms: int
    environment: str
    flags: dict[str, str]
    error: bool = False
    latency_ms: float | None = None
    context_id: str | None = None
    service_name: str | None = None
    weight: int = 1
    id: str | None = None
    source: str | None = None
    operation: str | None = None
    error_type: str | None = None
    attributes: dict[str, Any] | None = None
    measures: dict[str, float] | None = None
    said: Literal["rating", "nps", "thumb", "report"] | None = None
    score: float | None = None
    scale: list[float] | None = None


_KINDS = {
    **{kind: number for number, kind in enumerate(MODELS)},
    **{of_type: number for number, of_type in enumerate(TYPES)},
}


class Refused(Exception):
    """The event cannot be read; the message says which field is wrong and what would be right."""


Row = tuple[int, Any, Any]
"""Kind, envelope and data of one event, in the shapes of the hot path; without the latter two if it does not count."""


class Decoded(NamedTuple):
    """
    What the fast way made of some records.

    ``envelopes``, ``data`` and ``kinds`` are those of the records at the indices ``at``. ``odd`` says, by index, what
    the fast way missed in those that ``Codec.resolve`` must read; ``reasons`` why all others are no events in any form.
    """

    at: Sequence[int]
    envelopes: list[Any]
    data: list[Any]
    kinds: list[int]
    odd: Mapping[int, str]
    reasons: Mapping[int, str]


class Codec:
    """
    Decodes the records of one source.

    ``bare`` says that records may be flat JSON objects; CloudEvents,
    structured or binary, are read in any case. While ``detailed``, the
    attributes of outcomes are kept.
    """

    def __init__(self, *, bare: bool = False) -> None:
        self._bare = bare
        self.detailed = False

    @property
    def _decoders(self) -> Decoders:
        return DETAILED if self.detailed else PLAIN

    def decode(self, records: Sequence[Message]) -> Decoded:
        """Return some records decoded, as far as the fast way takes them. Never raises for what a record holds."""
        decode = self._decoders.flat if self._bare else self._decoders.envelope
        at, envelopes, odd, reasons = _decoded(records, decode)
        data = envelopes if self._bare else [envelope.data for envelope in envelopes]
        types = [envelope.type for envelope in envelopes]
        all_outcomes = types.count(_OUTCOME_TYPE) == len(types)
        kinds = [OUTCOME] * len(types) if all_outcomes else [_KINDS[of_type] for of_type in types]
        return Decoded(at, envelopes, data, kinds, odd, reasons)

    def resolve(self, record: Message, missed: str) -> Row:
        """
        Return what one odd record holds, whichever form it has; ``missed`` is what ``decode`` said of it.

        Raises ``Refused`` with the field and what would be right.
        """
        row = _quick(record, self._decoders, missed, tried=not self._bare)
        return self.resolve_carefully(record) if row is None else row

    def resolve_carefully(self, record: Message) -> Row:
        """Return what one record holds, as the documented models read it; raises ``Refused``."""
        _check(record)
        return row_of(read_record(record.value, record.headers, bare=self._bare))


def _quick(record: Message, decoders: Decoders, missed: str, *, tried: bool) -> Row | None:
    """
    Try the usual other forms with the fast decoders: Confluent framing, binary mode, a foreign type.

    ``tried`` says that the plain form was, and missed what ``missed`` says.
    """
    whole = record.value or b""
    value = _unframed(whole)
    binary = None if _is_structured(record.headers) else _binary_envelope(record.headers)
    if tried and binary is None and value is whole:
        # Whose type was not looked at, as something before it is wrong, is told to be foreign the careful way.
        return (UNKNOWN, None, None) if _OF_TYPE in missed and _is_foreign(value) else None
    try:
        if binary is not None:
            data = decoders.fields(value)
            envelope = msgspec.convert({**binary, "data": Fields()}, Envelope)
        else:
            envelope = decoders.envelope(value)
            data = envelope.data
    except UNREADABLE:
        return (UNKNOWN, None, None) if binary is None and _is_foreign(value) else None
    return _KINDS[envelope.type], envelope, data


def _is_foreign(value: bytes) -> bool:
    try:
        return decode_foreign(value).type not in TYPES
    except UNREADABLE:
        return False


def read_record(value: bytes | None, headers: Headers = (), *, bare: bool = False) -> Event | int:
    """
    Return the event that one record holds, or SKIPPED or UNKNOWN; the careful way.

    Raises ``Refused`` with the field and what would be right.
    """
    if not value:
        raise Refused("value: is empty, should be an event")
    try:
        document = decode_any(made_cheap(_unframed(value)))
    except UNREADABLE as error:
        raise Refused(f"value: should be JSON: {error}") from None
    if not isinstance(document, dict):
        raise Refused(f"value: should be a JSON object, not {type(document).__name__}")
    binary = _binary_envelope(headers)
    if "specversion" in document or _is_structured(headers):
        bare = False
    elif binary is not None:
        document, bare = {**binary, "data": document}, False
    elif not bare:
        raise Refused(_NO_SPECVERSION)
    try:
        event = read_event(document, bare=bare)
    except ValidationError as error:
        raise Refused(reason(error)) from None
    return UNKNOWN if event is None else _event_of(event)


def _event_of(event: AnyEvent) -> Event | int:
    data = event.data
    common: dict[str, Any] = {
        "time_ms": event.time, "environment": data.environment, "context_id": data.context_id or None,
        "service_name": data.service_name, "weight": event.sampledrate, "id": event.id, "source": event.source,
    }  # fmt: skip
    if isinstance(data, Exposure):
        if not data.is_exposure or data.variant is None:
            return SKIPPED
        return Event(kind=EXPOSURE, flags={data.flag_key: data.variant}, **common)
    if isinstance(data, Outcome):
        error = data.outcome == "error"
        return Event(
            kind=OUTCOME, flags=data.flags, error=error, latency_ms=data.latency_ms, operation=data.operation,
            error_type=data.error_type, attributes=data.attributes, measures=data.measures, **common,
        )  # fmt: skip
    assert isinstance(data, Feedback)
    return Event(kind=FEEDBACK, flags=data.flags, said=data.kind, score=data.score, scale=data.scale, **common)


def row_of(event: Event | int) -> Row:
    """Return the shapes that the fast way would have made of the same event."""
    if isinstance(event, int):
        return event, None, None
    at = (_EPOCH + timedelta(milliseconds=event.time_ms)).isoformat(timespec="milliseconds")
    data: Fields[Any] = Fields(
        environment=event.environment, context_id=event.context_id, service_name=event.service_name,
        latency_ms=event.latency_ms, operation=event.operation, error_type=event.error_type, measures=event.measures,
        attributes=None if event.attributes is None else msgspec.Raw(msgspec.json.encode(event.attributes)),
        kind=event.said, score=event.score, scale=event.scale,
    )  # fmt: skip
    envelope: Envelope[Any] = Envelope(
        specversion="1.0", type=cast("Any", _OUTCOME_TYPE), time=at, data=data, id=event.id, source=event.source,
        sampledrate=event.weight,
    )  # fmt: skip
    if event.kind == EXPOSURE:
        ((data.flag_key, data.variant),) = event.flags.items()
    else:
        data.flags = msgspec.Raw(msgspec.json.encode(event.flags))
        data.outcome = "error" if event.error else "ok"
    return event.kind, envelope, data


def _decoded(
    records: Sequence[Message], decode: Callable[[Any], Any]
) -> tuple[list[int], list[Any], dict[int, str], dict[int, str]]:
    """
    Return the indices of the records that can be decoded, what they are, and of all others, by index, why they cannot.

    That is in two parts: what another way may still read, and what none can. None is decoded twice, however many cannot.
    """
    at: list[int] = []
    found: list[Any] = []
    odd: dict[int, str] = {}
    reasons: dict[int, str] = {}
    rest = map(_value_of, records)
    begin, count = 0, len(records)
    while begin < count:
        try:
            # What was decoded before one that cannot be stays in the list.
            found.extend(map(decode, rest))
            end = count
        except UNREADABLE as error:
            end = begin + len(found) - len(at)
            missed = str(error)
            if reason := _why_never(type(error), missed, records[end]):
                reasons[end] = reason
            else:
                odd[end] = missed
        at += range(begin, end)
        begin = end + 1
    return at, found, odd, reasons


def _why_never(kind: type[Exception], missed: str, record: Message) -> str:
    """Return why a record that was not decoded is no event in any form; empty where it may be one of another form."""
    value = record.value
    if not value or len(value) > EXPLAINED_BYTES_MAX:
        return ""
    if kind in _NO_JSON:
        return f"value: should be JSON: {missed}" if _unframed(value) is value else ""
    return _NO_SPECVERSION if missed == _MISSED_SPECVERSION and not record.headers else ""


def _check(record: Message) -> None:
    """Refuse what is not even looked at the careful way."""
    if isinstance(record, Unread):
        raise Refused(record.why)
    if record.value is not None and len(record.value) > EXPLAINED_BYTES_MAX:
        raise Refused(f"value: is no event, and too large to say why: {len(record.value):,} bytes")


def _unframed(value: bytes) -> bytes:
    """Return the JSON behind Confluent's frame: a zero byte and the schema's id."""
    return value[_FRAME_BYTES:] if value[:1] == b"\x00" else value


def _is_structured(headers: Headers) -> bool:
    return bool(headers) and any(
        name.lower() == "content-type" and content.lower().startswith(b"application/cloudevents")
        for name, content in headers
        if content
    )


def _binary_envelope(headers: Headers) -> dict[str, Any] | None:
    """Return the attributes of a CloudEvent in binary mode, or None where there are none."""
    if not headers:
        return None
    named: Mapping[str, bytes] = dict(headers)
    if "ce_specversion" not in named and "ce_type" not in named:
        return None
    envelope: dict[str, Any] = {}
    for name in ("specversion", "id", "source", "type", "time", "sampledrate"):
        content = named.get(f"ce_{name}")
        if content is not None:
            envelope[name] = content.decode("utf-8", "replace")
    rate = envelope.get("sampledrate", "")
    if len(rate) <= _RATE_DIGITS_MAX and rate.isascii() and rate.isdecimal():
        envelope["sampledrate"] = int(rate)
    return envelope
