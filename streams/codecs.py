"""
Bytes of a topic to events, a batch at a time.

Two ways to the same values. The fast one lets msgspec check everything that
the contract types while it decodes; the careful one is ``guardian.events``.
Whatever the fast one does not accept goes the careful way, which alone may
refuse an event, and gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import msgspec
from pydantic import ValidationError

from guardian.events import (
    LATENCY_MS_MAX,
    SAMPLED_RATE_MAX,
    TYPES,
    AnyEvent,
    Exposure,
    Feedback,
    Outcome,
    read_event,
    reason,
)

EXPOSURE, OUTCOME, FEEDBACK, SKIPPED, UNKNOWN = range(5)
"""Kinds of rows: SKIPPED is an evaluation that exposed nobody, UNKNOWN a ``type`` that is not ours."""
_KINDS = {"exposure": EXPOSURE, "outcome": OUTCOME, "feedback": FEEDBACK}
_STRUCTURED = {of_type: _KINDS[kind] for of_type, kind in TYPES.items()}
_BARE = {**_STRUCTURED, **_KINDS}
_FRAMED = b"\x00"
_FRAME_BYTES = 5

Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """What is read of a Kafka record; ``aiokafka.ConsumerRecord`` has it."""

    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...


class Line(NamedTuple):
    """A record that comes from elsewhere than Kafka, such as a line of a file."""

    value: bytes | None
    headers: Headers = ()
    offset: int = -1
    timestamp: int = 0
    key: bytes | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """
    One valid event, decoded: what ``Fold.take_events`` takes.

    ``kind`` is EXPOSURE, OUTCOME or FEEDBACK; an exposure has exactly one
    flag; ``latency_ms`` is None where the event has none; ``weight`` is the
    ``sampledrate``.
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


class _Anything(msgspec.Struct, gc=False):
    """Any JSON object: checked to be one, its content left alone."""


_Elsewhere = Literal["\x00"] | None
"""A field whose presence sends the event the careful way."""


class Fields(msgspec.Struct, gc=False):
    """The data of exposures and outcomes in one; types as in the contract."""

    flags: msgspec.Raw = msgspec.Raw(b"")
    environment: str | None = None
    service_name: str | None = None
    operation: str | None = None
    outcome: Literal["ok", "error"] | None = None
    error_type: str | None = None
    latency_ms: Annotated[float, msgspec.Meta(ge=0, le=LATENCY_MS_MAX)] | None = None
    context_id: str | None = None
    attributes: _Anything | None = None
    measures: dict[str, float] | None = None
    flag_key: str | None = None
    variant: str | None = None
    reason: str | None = None
    dotted_context: _Elsewhere = msgspec.field(default=None, name="feature_flag.context.id")
    dotted_reason: _Elsewhere = msgspec.field(default=None, name="feature_flag.result.reason")
    dotted_reason_old: _Elsewhere = msgspec.field(default=None, name="feature_flag.evaluation.reason")
    dotted_variant: _Elsewhere = msgspec.field(default=None, name="feature_flag.result.variant")
    dotted_variant_old: _Elsewhere = msgspec.field(default=None, name="feature_flag.variant")
    dotted_service: _Elsewhere = msgspec.field(default=None, name="service.name")


SampledRate = Annotated[int, msgspec.Meta(ge=1, le=SAMPLED_RATE_MAX)]


class Envelope(msgspec.Struct, gc=False):
    """A structured CloudEvent, as far as it is needed."""

    specversion: Literal["1.0"] | None = None
    id: str | None = None
    source: str | None = None
    type: str | None = None
    time: str | int | float | None = None
    sampledrate: SampledRate = 1
    data: Fields | None = None


class Flat(Fields, gc=False):
    """The bare form: envelope and data in one object."""

    specversion: _Elsewhere = None
    id: str | None = None
    source: str | None = None
    type: str | None = None
    time: str | int | float | None = None
    sampledrate: SampledRate = 1


class Refused(Exception):
    """The event cannot be read; the message says which field is wrong and what would be right."""


class Rows:
    """
    A batch, decoded: parallel lists, one entry a record.

    ``kinds`` says what each record is; where it is an exposure or an outcome,
    ``envelopes`` and ``data`` hold it. ``refused`` maps indices to reasons;
    those rows have kind UNKNOWN.
    """

    __slots__ = ("data", "envelopes", "kinds", "refused")

    def __init__(self, kinds: list[int], envelopes: list[Any], data: list[Any]) -> None:
        self.kinds = kinds
        self.envelopes = envelopes
        self.data = data
        self.refused: dict[int, str] = {}


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_flat = msgspec.json.Decoder(Flat).decode
_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_any = msgspec.json.Decoder().decode
_NOT_FAST = (msgspec.MsgspecError, TypeError, ValueError, RecursionError)
_MISSING = Envelope()


class Codec:
    """
    Decodes the records of one source.

    ``bare`` says that records may be flat JSON objects; CloudEvents,
    structured or binary, are read in any case.
    """

    def __init__(self, *, bare: bool = False) -> None:
        self._bare = bare

    def decode(self, records: Sequence[Record]) -> Rows:
        """Decode a batch; never raises for what a record holds."""
        envelopes, data = self._decode_fast(records)
        kind_of = (_BARE if self._bare else _STRUCTURED).get
        rows = Rows([kind_of(envelope.type, UNKNOWN) for envelope in envelopes], envelopes, data)
        clean = rows.kinds.count(OUTCOME) + rows.kinds.count(EXPOSURE) == len(records)
        if not clean or None in data or (not self._bare and None in [e.specversion for e in envelopes]):
            for index, record in enumerate(records):
                if not self._is_clean(rows, index):
                    self._take_careful(rows, index, record)
        return rows

    def take_careful(self, rows: Rows, index: int, record: Record) -> None:
        """Decode one record of a batch again, the careful way; keeps the reason where it is refused."""
        self._take_careful(rows, index, record)

    def _decode_fast(self, records: Sequence[Record]) -> tuple[list[Any], list[Any]]:
        decode = _decode_flat if self._bare else _decode_envelope
        try:
            envelopes: list[Any] = [decode(record.value) for record in records]  # type: ignore[arg-type]
        except _NOT_FAST:
            envelopes = [self._decode_one(record) for record in records]
        if self._bare:
            return envelopes, [envelope if type(envelope) is Flat else envelope.data for envelope in envelopes]
        return envelopes, [envelope.data for envelope in envelopes]

    def _decode_one(self, record: Record) -> Any:
        value = record.value
        try:
            if value is None or not record.headers or value.startswith(_FRAMED):
                return self._decode_value(_unframed(value) if value else b"")
            return self._decode_value(value)
        except _NOT_FAST:
            return _MISSING

    def _decode_value(self, value: bytes) -> Any:
        if self._bare:
            try:
                return _decode_flat(value)
            except _NOT_FAST:
                return _decode_envelope(value)
        return _decode_envelope(value)
