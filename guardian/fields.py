"""The fields of policies: plain values in the models, and in documents what people write (``10%``, ``1h``)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictFloat,
    StrictStr,
    ValidationInfo,
    WithJsonSchema,
)

from guardian.conditions import Condition, duration_text, parse_condition, parse_duration
from guardian.errors import ConditionError, followed, wrong
from guardian.sense import why_no_harm, why_no_health
from guardian.signals import NONE, Signals, is_built_in
from guardian.timetable import Moment


@dataclass(frozen=True, slots=True)
class Reading:
    """The context of a document that is being read; without it, models are built from plain values."""

    signals: Signals


def _name(value: str) -> str:
    if " " in value or not value.isprintable():
        raise wrong("is one word; write it without spaces and control characters")
    return value


def _switch(value: object) -> object:
    if not isinstance(value, bool):
        raise wrong("write true or false")
    return value


def _environment(value: str) -> str:
    if "|" in value:
        raise wrong("an environment has no '|' in its name")
    return value


def topic_name(value: str) -> str:
    """The name of a Kafka topic as it is; a problem for one that cannot be."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value):
        raise wrong("is no topic name; write up to 249 letters, digits, dots, dashes and underscores")
    return value


def _attribute(value: str) -> str:
    if "=" in value:
        raise wrong("name the attribute alone, such as country: each of its values is a segment")
    return value


def share_of(value: object) -> float:
    """``10%`` as 0.1. A bare number is refused: 1 might mean 1% or everybody."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        example = f"{value}%" if re.fullmatch(r"\d+", str(value)) else "10%"
        raise wrong(f"a share is written with its percent sign, such as {example}")
    return _within(float(Decimal(match[1]) / 100))


def _within(share: float) -> float:
    if not 0 < share <= 1:
        raise wrong("a share lies above 0% and within 100%")
    return share


def _share(value: object, info: ValidationInfo) -> float:
    if info.context is None and isinstance(value, float | int):
        return _within(float(value))
    return share_of(value)


def percent_text(share: float) -> str:
    """A share as people write it: 0.125 is ``12.5%``."""
    return f"{(Decimal(repr(share)) * 100).normalize():f}%"


def _duration(value: object, info: ValidationInfo) -> float:
    if info.context is None and isinstance(value, float | int):
        return float(value)
    try:
        # A number has lost its unit, and one like 1:30 never had a clear one.
        return parse_duration(value if isinstance(value, str) else "")
    except ConditionError as error:
        raise wrong(str(error)) from None


def _read_condition(
    value: object, info: ValidationInfo, why_not: Callable[[Condition, Signals], str | None]
) -> Condition:
    signals = info.context.signals if isinstance(info.context, Reading) else NONE
    if isinstance(value, Condition):
        return value
    if not isinstance(value, str):
        raise wrong("write a condition such as error_rate > 5%")
    try:
        condition = parse_condition(value, signals)
    except ConditionError as error:
        raise followed() if error.follows else wrong(str(error)) from None
    if said := why_not(condition, signals):
        raise wrong(said)
    return condition


def _harm(value: object, info: ValidationInfo) -> Condition:
    return _read_condition(value, info, why_no_harm)


def _health(value: object, info: ValidationInfo) -> Condition:
    return _read_condition(value, info, why_no_health)


def signal_name(name: str) -> str:
    """The name of a declared signal as it is; a problem for one that cannot be."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in ("control", "baseline", "for", "off"):
        raise wrong(
            "a signal is named in small letters, digits and _; write a name such as search_quality_score"
        )
    if is_built_in(name):
        raise wrong("is a built-in signal; give the declared one a name of its own")
    return name


_TEXT = PlainSerializer(lambda condition: condition.text, return_type=str)
_CONDITION = {"type": "string", "examples": ["error_rate > 1.2x control"]}


def _several(value: object) -> object:
    return (value,) if isinstance(value, str | Condition) else value


def _one_or_several(conditions: tuple[Condition, ...] | None) -> str | list[str] | None:
    texts = [condition.text for condition in conditions or ()]
    return texts[0] if len(texts) == 1 else texts or None


Switch = Annotated[bool, BeforeValidator(_switch)]
Key = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(_name)]
Environment = Annotated[Key, AfterValidator(_environment)]
Topic = Annotated[StrictStr, AfterValidator(topic_name)]
"""The name of a Kafka topic."""
Word = Annotated[StrictStr, Field(min_length=1, max_length=256)]
Attribute = Annotated[Word, AfterValidator(_attribute)]
Budget = Annotated[StrictFloat, Field(gt=0, le=0.5, allow_inf_nan=False, examples=[0.001])]
Share = Annotated[
    float,
    BeforeValidator(_share),
    PlainSerializer(percent_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$", "examples": ["10%"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?|\.[0-9]+) ?[smhd]$", "examples": ["10m"]}
    ),
]
Start = Moment
HarmCondition = Annotated[Condition, PlainValidator(_harm), _TEXT, WithJsonSchema(_CONDITION)]
HealthCondition = Annotated[Condition, PlainValidator(_health), _TEXT, WithJsonSchema(_CONDITION)]
Until = Annotated[
    tuple[HealthCondition, ...] | None,
    Field(min_length=1),
    BeforeValidator(_several),
    PlainSerializer(_one_or_several, return_type=str | list[str] | None),
    WithJsonSchema({"anyOf": [_CONDITION, {"type": "array", "items": _CONDITION, "minItems": 1}]}),
]


class Document(BaseModel):
    """What people write: nothing unknown is accepted, nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)
