"""
The shapes that msgspec decodes on the hot path.

They check all that the contract types and keep only what the sums need.
Where a field is present that only the careful way understands, decoding
fails on purpose, so that the careful way gets the event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, Protocol, TypeVar, cast

import msgspec

from guardian.events import LATENCY_MS_MAX, SAMPLED_RATE_MAX

Headers = Sequence[tuple[str, bytes]]


class Message(Protocol):
    """What an event is decoded from, wherever it stands."""

    @property
    def value(self) -> bytes | None:
        """Its bytes; None is a deletion."""
    @property
    def headers(self) -> Headers:
        """Its headers, in order."""


class Record(Message, Protocol):
    """What is read of a Kafka record; ``aiokafka.ConsumerRecord`` has it."""

    @property
    def offset(self) -> int:
        """Where it stands in its partition."""
    @property
    def timestamp(self) -> int:
        """When it was written, in milliseconds."""
    @property
    def key(self) -> bytes | None:
        """The key it was written with."""


class Line(NamedTuple):
    """A record that comes from elsewhere than Kafka, such as a line of a file."""

    value: bytes | None
    headers: Headers = ()
    offset: int = -1
    timestamp: int = 0
    key: bytes | None = None


class Unread(NamedTuple):
    """Stands for records that could not even be told apart; ``why`` says so. It has the offset of the last of them."""

    why: str
    offset: int
    value: bytes | None = None
    headers: Headers = ()
    timestamp: int = 0
    key: bytes | None = None


class Anything(msgspec.Struct, gc=False):
    """Any JSON object: checked to be one, its content left alone."""


Elsewhere = Literal["\x00"] | None
"""Type of a field whose presence sends the event the careful way."""
Structured = Literal[
    "dev.rolloutguardian.exposure.v1", "dev.rolloutguardian.outcome.v1", "dev.rolloutguardian.feedback.v1"
]
Bare = Literal[
    "exposure",
    "outcome",
    "feedback",
    "dev.rolloutguardian.exposure.v1",
    "dev.rolloutguardian.outcome.v1",
    "dev.rolloutguardian.feedback.v1",
]
SampledRate = Annotated[int, msgspec.Meta(ge=1, le=SAMPLED_RATE_MAX)]
Time = str | float
"""Whole milliseconds are exact as a float; an integer of thousands of digits would be multiplied out first."""
AttributesT = TypeVar("AttributesT")


class Fields(msgspec.Struct, Generic[AttributesT], gc=False):
    """
    The data of all events in one, in the order in which they are mostly written.

    Attributes are only checked to be an object (``Anything | None``), or kept as they are written (``Raw``).
    """

    flags: msgspec.Raw = msgspec.Raw(b"")
    environment: str | None = None
    service_name: str | None = None
    operation: str | None = None
    outcome: Literal["ok", "error"] | None = None
    error_type: str | None = None
    latency_ms: Annotated[float, msgspec.Meta(ge=0, le=LATENCY_MS_MAX)] | None = None
    context_id: str | None = None
    attributes: AttributesT = cast("Any", None)
    measures: dict[str, float] | None = None
    flag_key: str | None = None
    variant: str | None = None
    reason: str | None = None
    kind: Literal["rating", "nps", "thumb", "report"] | None = None
    score: float | None = None
    scale: Annotated[list[float], msgspec.Meta(min_length=2, max_length=2)] | None = None
    dotted_error: str | None = msgspec.field(default=None, name="error.type")
    dotted_context: Elsewhere = msgspec.field(default=None, name="feature_flag.context.id")
    dotted_reason: Elsewhere = msgspec.field(default=None, name="feature_flag.result.reason")
    dotted_reason_old: Elsewhere = msgspec.field(default=None, name="feature_flag.evaluation.reason")
    dotted_variant: Elsewhere = msgspec.field(default=None, name="feature_flag.result.variant")
    dotted_variant_old: Elsewhere = msgspec.field(default=None, name="feature_flag.variant")
    dotted_service: Elsewhere = msgspec.field(default=None, name="service.name")


class Envelope(msgspec.Struct, Generic[AttributesT], gc=False, kw_only=True):
    """A structured CloudEvent of one of our types; all that makes it one is required."""

    specversion: Literal["1.0"]
    id: str | None = None
    source: str | None = None
    type: Structured
    time: Time
    sampledrate: SampledRate = 1
    data: Fields[AttributesT]


class Flat(Fields[AttributesT], Generic[AttributesT], gc=False, kw_only=True):
    """The bare form: envelope and data in one object."""

    specversion: Elsewhere = None
    id: str | None = None
    source: str | None = None
    type: Bare
    time: Time
    sampledrate: SampledRate = 1


class Foreign(msgspec.Struct, gc=False):
    """A CloudEvent of any type, to tell foreign ones from broken ones."""

    specversion: Literal["1.0"]
    type: Annotated[str, msgspec.Meta(min_length=1)]


class Decoders(NamedTuple):
    """Bytes to a CloudEvent, to its bare form, and to its data alone."""

    envelope: Callable[[Any], Any]
    flat: Callable[[Any], Any]
    fields: Callable[[Any], Any]


def _decoders(attributes: Any) -> Decoders:
    shapes: tuple[Any, ...] = (Envelope, Flat, Fields)
    return Decoders(*(msgspec.json.Decoder(shape[attributes]).decode for shape in shapes))


PLAIN = _decoders(Anything | None)
"""Leave the content of attributes alone."""
DETAILED = _decoders(msgspec.Raw)
"""Keep attributes, unread, not even checked to be an object; ``None`` where there are none."""
decode_foreign = msgspec.json.Decoder(Foreign).decode
decode_any = msgspec.json.Decoder().decode
UNREADABLE = (msgspec.MsgspecError, TypeError, ValueError, RecursionError)
"""All that a decoder raises for bytes that it cannot read."""
