"""
What services tell the guardian: exposures, outcomes, feedback, in their envelope.

These models are the documented contract (JSON Schema and AsyncAPI are made
from them) and the authority on what is valid: the hot path in
``streams.codecs`` accepts nothing that they refuse, and hands them whatever
it does not understand. Unknown fields are ignored. OpenTelemetry's dotted
names are taken where ours are absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from guardian.names import Millis

NAME_LENGTH_MAX = 256
FLAGS_MAX = 1_000
"""Flags that one request ran under."""
LATENCY_MS_MAX = 86_400_000
SAMPLED_RATE_MAX = 1_000_000
NOT_EXPOSED = frozenset({"default", "error", "disabled", "stale"})
"""Evaluation reasons that mean: no variation was chosen for this unit."""

_SHOWN = 80
"""Characters of a wrong value."""
_SLICED = (str, list)
_BITS_COUNTED = 1_000
_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_MS_FROM = 1e11
"""Below this a number of seconds (till the year 5138), from here on one of milliseconds (since 1973)."""
_MS_TO = 1e14


def parse_time(value: object) -> Millis:
    """
    Return the milliseconds since the epoch that ``value`` means.

    Takes RFC 3339 with an offset (digits beyond the millisecond are cut), or
    a number: seconds or milliseconds since the epoch, told apart by size.
    Raises ``ValueError`` that says what would be right.
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Compared, not converted: an integer may have thousands of digits. NaN is in no range.
        if not 0 <= value < _MS_TO:
            raise ValueError("should be seconds or milliseconds since 1970")
        return round(value * 1000) if value < _MS_FROM else int(value)
    raise ValueError("should be an RFC 3339 time or milliseconds since 1970")


def _parse_text(text: str) -> Millis:
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError("should be an RFC 3339 time with an offset, such as 2026-11-21T01:00:00.100Z")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, offset = found.group(7) or "", found.group(8)
    if second > 60:
        raise ValueError("should be a time that exists: a minute has 60 seconds")
    try:
        at = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"should be a time that exists: {error}") from None
    at_ms = round(at.timestamp()) * 1000 + second * 1000 + int(fraction[:3].ljust(3, "0"))
    at_ms -= _offset_ms(offset)
    if at_ms < 0:
        raise ValueError("should be a time after 1970")
    return at_ms


def _offset_ms(offset: str) -> int:
    if offset in "Zz":
        return 0
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError("should have an offset below 24 hours")
    return (-1 if offset[0] == "-" else 1) * (hours * 60 + minutes) * 60_000


def _without_bar(name: str) -> str:
    if "|" in name:
        raise ValueError("should not contain '|'")
    return name


Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
EnvironmentName = Annotated[Name, AfterValidator(_without_bar)]
EventTime = Annotated[
    int,
    BeforeValidator(parse_time),
    PlainSerializer(
        lambda at_ms: datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        when_used="json",
    ),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}]}),
]
Flags = Annotated[
    dict[Name, Name], Field(max_length=FLAGS_MAX, description="flag key to variation: all that the request ran under")
]
ContextId = Annotated[
    str | None,
    Field(default=None, description="pseudonymous id of the unit (user, session, device); empty is none"),
]


class _Data(BaseModel):
    """What all data have in common: strict types, unknown fields ignored, dotted names taken."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)
    aliases: ClassVar[dict[str, str]] = {
        "deployment.environment.name": "environment",
        "deployment.environment": "environment",
        "feature_flag.context.id": "context_id",
        "service.name": "service_name",
    }

    @model_validator(mode="before")
    @classmethod
    def _take_dotted_names(cls, data: object) -> object:
        if not isinstance(data, Mapping) or cls.aliases.keys().isdisjoint(data):
            return data
        taken = dict(data)
        for dotted, name in cls.aliases.items():
            if taken.get(name) is None and taken.get(dotted) is not None:
                taken[name] = taken[dotted]
        return taken


class Exposure(_Data):
    """
    A unit was shown a variation of a flag.

    An evaluation whose ``reason`` is default, error, disabled or stale, or
    that has no ``variant``, is valid but no exposure: it is counted and skipped.
    """

    aliases: ClassVar[dict[str, str]] = {
        "feature_flag.key": "flag_key",
        "feature_flag.version": "flag_version",
        "feature_flag.result.variant": "variant",
        "feature_flag.variant": "variant",
        "feature_flag.result.reason": "reason",
        "feature_flag.evaluation.reason": "reason",
        **_Data.aliases,
    }

    flag_key: Name
    variant: Name | None = None
    environment: EnvironmentName
    context_id: ContextId
    reason: str | None = Field(default=None, description="why this variation, in OpenFeature's words")
    service_name: str | None = None
    flag_version: Any = Field(default=None, description="version of the flag that it was evaluated by, as text or number")

    @property
    def is_exposure(self) -> bool:
        """Whether a variation was really chosen for the unit."""
        return self.variant is not None and (self.reason or "").lower() not in NOT_EXPOSED


class Outcome(_Data):
    """
    A request ended, under these flags. It started at ``time - latency_ms``.
    """

    aliases: ClassVar[dict[str, str]] = {"error.type": "error_type", **_Data.aliases}

    flags: Flags
    environment: EnvironmentName
    outcome: Literal["ok", "error"]
    service_name: str | None = None
    operation: str | None = None
    error_type: str | None = None
    latency_ms: float | None = Field(default=None, ge=0, le=LATENCY_MS_MAX)
    context_id: ContextId
    attributes: dict[str, Any] | None = Field(default=None, description="segments: country, plan, ...")
    measures: dict[str, float] | None = Field(default=None, description="named measurements of this request")


class Feedback(_Data):
    """
    A person said something about what these flags showed.

    ``score`` is needed for all kinds but ``report``: a ``rating`` lies in
    ``scale`` (1 to 5 where not given), ``nps`` in 0 to 10, a ``thumb`` is 0 or 1.
    """

    flags: Flags
    environment: EnvironmentName
    kind: Literal["rating", "nps", "thumb", "report"]
    score: float | None = None
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    context_id: ContextId
    service_name: str | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest score that this kind of feedback can have."""
        if self.kind == "rating" and self.scale is not None:
            return self.scale[0], self.scale[1]
        return {"rating": (1.0, 5.0), "nps": (0.0, 10.0)}.get(self.kind, (0.0, 1.0))

    @model_validator(mode="after")
    def _score_fits_kind(self) -> Feedback:
        if self.kind == "report":
            return self
        low, high = self.bounds
        if low >= high:
            raise ValueError(f"scale: should rise, not {self.scale}")
        if self.score is None:
            raise ValueError(f"score: is required for kind {self.kind!r}")
        if not low <= self.score <= high:
            raise ValueError(f"score: should lie in {low:g} to {high:g} for kind {self.kind!r}, not {self.score:g}")
        if self.kind == "thumb" and self.score not in (0, 1):
            raise ValueError(f"score: should be 0 or 1 for kind 'thumb', not {self.score:g}")
        return self


DataT = TypeVar("DataT", Exposure, Outcome, Feedback)


class CloudEvent(BaseModel, Generic[DataT]):
    """
    The envelope: CloudEvents 1.0. ``(source, id)`` makes an event unique.

    ``sampledrate`` N says that the event stands for N like it.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: str | None = None
    source: str | None = None
    type: Name
    time: EventTime
    sampledrate: Annotated[int, Field(ge=1, le=SAMPLED_RATE_MAX)] = 1
    data: DataT


AnyEvent = CloudEvent[Exposure] | CloudEvent[Outcome] | CloudEvent[Feedback]

MODELS: dict[str, type[AnyEvent]] = {
    "exposure": CloudEvent[Exposure],
    "outcome": CloudEvent[Outcome],
    "feedback": CloudEvent[Feedback],
}
TYPES = {f"dev.rolloutguardian.{kind}.v1": kind for kind in MODELS}
"""CloudEvents ``type`` to kind; in the bare form the kind itself is the type."""

_ENVELOPE_FIELDS = ("id", "source", "type", "time", "sampledrate")


def read_event(document: Mapping[str, Any], *, bare: bool = False) -> AnyEvent | None:
    """
    Return the event that a JSON object means, or None if its ``type`` is not one of ours.

    ``bare`` takes the flat form: the data's fields beside ``type``, ``time``,
    ``id`` and ``source``. Raises ``pydantic.ValidationError``; ``reason`` says it in a line.
    """
    of_type = document.get("type")
    if not isinstance(of_type, str) or not of_type:
        _EnvelopeOnly.model_validate({"type": of_type})  # refuses it, with the reason
        return None
    kind = TYPES.get(of_type) or (of_type if bare and of_type in MODELS else None)
    if kind is None:
        return None
    if bare:
        envelope = {name: document[name] for name in _ENVELOPE_FIELDS if name in document}
        document = {**envelope, "specversion": "1.0", "data": document}
    return MODELS[kind].model_validate(document)


class _EnvelopeOnly(BaseModel):
    """An event without a usable type: always refused, in the same words as all others."""

    model_config = ConfigDict(strict=True)
    type: Name


def reason(error: ValidationError) -> str:
    """Return one line that names every wrong field, what would be right, and what was there."""
    return "; ".join([_sentence(detail) for detail in error.errors(include_url=False, include_context=False)[:5]])


def _sentence(detail: Mapping[str, Any]) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
    where = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"{where}: is required"
    if detail["type"] == "value_error" and isinstance(detail["input"], Mapping) and ": " in message:
        # What a whole model says names its field itself.
        return f"{where}.{message}" if where else message
    return f"{where}: {message}, not {_shown(detail['input'])}"


def _shown(value: object) -> str:
    """Return how a value begins, without looking at all of it."""
    if isinstance(value, _SLICED):
        value = value[:_SHOWN]
    elif isinstance(value, dict):
        value = dict(islice(value.items(), _SHOWN))
    elif isinstance(value, int) and value.bit_length() > _SHOWN:
        # Who reads may have left digits out of a number that is larger than all fields.
        bits = min(value.bit_length(), _BITS_COUNTED)
        return f"an integer of {'more than ' if bits == _BITS_COUNTED else ''}{bits:,} bits"
    return repr(value)[:_SHOWN]
