"""Signals: what can be watched, built in or declared by a policy, and the units of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictStr, field_validator, model_validator

from guardian.errors import ConditionError, wrong

Kind = Literal[
    "error_rate",
    "latency",
    "csat",
    "nps",
    "thumbs_down_rate",
    "report_rate",
    "sample_ratio",
    "no_data",
    "measure",
]
Unit = Literal["proportion", "ms", "score"]

BUILT_IN: Mapping[str, Kind] = MappingProxyType(
    {
        "error_rate": "error_rate",
        "csat": "csat",
        "nps": "nps",
        "thumbs_down_rate": "thumbs_down_rate",
        "report_rate": "report_rate",
        "sample_ratio": "sample_ratio",
        "no_data": "no_data",
    }
)
QUANTILES = ("latency_p50", "latency_p90", "latency_p95", "latency_p99", "latency_p999")
UNITS: Mapping[Kind, Unit] = MappingProxyType(
    {
        "error_rate": "proportion",
        "thumbs_down_rate": "proportion",
        "report_rate": "proportion",
        "latency": "ms",
        "csat": "score",
        "nps": "score",
        "measure": "score",
    }
)
AMOUNTS: Mapping[Unit, str] = MappingProxyType(
    {
        "proportion": "a percentage such as 5%",
        "ms": "milliseconds or seconds such as 300ms or 2s",
        "score": "a plain number such as 0.85",
    }
)
SCALES: Mapping[tuple[Unit, str], Decimal] = MappingProxyType(
    {
        ("proportion", "%"): Decimal("0.01"),
        ("ms", "ms"): Decimal(1),
        ("ms", "s"): Decimal(1000),
        ("score", ""): Decimal(1),
    }
)
HARM_IS_HIGH = frozenset({"error_rate", "latency", "thumbs_down_rate", "report_rate"})
HARM_IS_LOW = frozenset({"csat", "nps"})


@dataclass(frozen=True, slots=True)
class Signal:
    """What is watched. *name* is as written, *quantile* is set for latency: 0.95 for ``latency_p95``."""

    name: str
    kind: Kind
    quantile: float | None = None


Finite = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Given = Annotated[StrictStr, Field(min_length=1)]


class Declaration(BaseModel):
    """
    A signal that a policy declares, in one of three forms.

    ``{measure: NAME, range: [LOW, HIGH]}``: its mean is compared. ``{of: BUILT-IN, where: {FIELD: VALUE}}``:
    a built-in signal, narrowed. ``{means: CONDITION}``: a word that stands for a whole condition.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Given | None = Field(None, description="A measure that outcomes carry")
    range: tuple[Finite, Finite] | None = Field(
        None, examples=[[0, 1]], description="The lowest and the highest value that the measure can have"
    )
    of: StrictStr | None = Field(
        None, examples=["latency_p95"], description="The built-in signal that is narrowed"
    )
    where: dict[Given, Given] | None = Field(
        None, min_length=1, examples=[{"operation": "GET /search"}], description="Which outcomes count"
    )
    means: StrictStr | None = Field(
        None, examples=["report_rate < 0.1%"], description="The condition that this word stands for"
    )

    @field_validator("range")
    @classmethod
    def _rises(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and not given[0] < given[1]:
            raise wrong("the range must rise; write the lowest value first, such as range: [0, 1]")
        return given

    @field_validator("of")
    @classmethod
    def _is_built_in(cls, given: str | None) -> str | None:
        try:
            if given is not None and built_in(given).kind not in UNITS:
                raise ConditionError(f"{given} cannot be narrowed; write of: error_rate or of: latency_p95")
        except ConditionError as error:
            raise wrong(str(error)) from None
        return given

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        forms = [{"measure", "range"}, {"of", "where"}, {"means"}]
        if {name for name, given in self if given is not None} not in forms:
            raise wrong(
                "write {measure: NAME, range: [0, 1]}, or {of: latency_p95, where: {operation: NAME}}, "
                "or {means: CONDITION}"
            )
        return self


Signals = Mapping[str, Declaration | None]
"""The declared signals by name; ``None`` for one that is declared wrongly, which is told in its own place."""

NONE: Signals = MappingProxyType({})


def is_built_in(name: str) -> bool:
    """Whether the name is taken, so that no declaration can change what it means."""
    return name in BUILT_IN or re.fullmatch(r"latency_p\d+", name) is not None


def built_in(name: str) -> Signal:
    """
    The signal that needs no declaration.

    Raises:
        ConditionError: when there is none of that name.
    """
    if kind := BUILT_IN.get(name):
        return Signal(name, kind)
    if match := re.fullmatch(r"latency_p(\d{2,3})", name, re.ASCII):
        quantile = float(Decimal(match[1]).scaleb(-len(match[1])))
        if 0.5 <= quantile < 1 and not (len(match[1]) == 3 and match[1].endswith("0")):
            return Signal(name, "latency", quantile)
    if re.match(r"latency\b|latency_", name):
        raise ConditionError(
            f"latency is watched by quantile, from p50 to p999; write {', '.join(QUANTILES)}"
        )
    near = get_close_matches(name.lower(), [*BUILT_IN, *QUANTILES], n=1, cutoff=0.75)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else f"built-in signals are {', '.join(BUILT_IN)}, {', '.join(QUANTILES)}"
    )
    raise ConditionError(f"'{name}' is not a signal; {hint}")


def is_near(name: str) -> bool:
    """Whether the name is nearly that of a built-in signal."""
    return bool(get_close_matches(name.lower(), [*BUILT_IN, *QUANTILES], n=1, cutoff=0.75))


def signal_of(name: str, signals: Signals) -> Signal:
    """
    The signal of that name, declared or built in.

    Raises:
        ConditionError: there is none; the text says which may be meant, or how to declare it.
    """
    if name in signals:
        declared = signals[name]
        if declared is None:
            raise ConditionError(f"'{name}' is declared wrongly under signals:", follows=True)
        if declared.means is not None:
            raise ConditionError(f"'{name}' stands for a whole condition (its means:); write it alone")
        if declared.of is not None:
            narrowed = built_in(declared.of)
            return Signal(name, narrowed.kind, narrowed.quantile)
        return Signal(name, "measure")
    try:
        return built_in(name)
    except ConditionError:
        near = get_close_matches(name, signals, n=1, cutoff=0.75)
        if near:
            raise ConditionError(f"'{name}' is not a signal; did you mean {near[0]}?") from None
        narrower = re.search(r"_(latency_p\d+|error_rate)$", name)
        if (
            (not narrower and is_near(name))
            or name.startswith("latency")
            or not re.fullmatch(r"[A-Za-z]\w*", name)
        ):
            raise
    raise ConditionError(
        f"'{name}' is not a signal; declare it under signals:, for example {_declaration(name)}"
    )


def _declaration(name: str) -> str:
    if quantile := re.search(r"latency_p\d{2,3}$", name):
        return f'{name}: {{of: {quantile[0]}, where: {{operation: "GET /search"}}}}'
    if name.endswith("error_rate"):
        return f'{name}: {{of: error_rate, where: {{operation: "GET /search"}}}}'
    return f"{name}: {{measure: {name}, range: [0, 1]}}"
