"""
Conditions as people write them: ``signal op bound [for duration]``.

``error_rate > 1.2x control`` · ``latency_p95 > 300ms`` · ``csat < control - 0.3`` · ``sample_ratio off`` ·
``no_data for 2m`` · and whatever a policy declares under ``signals:``.

Values are held in base units: proportions (``5%`` is 0.05), milliseconds, plain scores; durations in seconds.
What a condition says is read here; whether it can do what it is written for is asked with ``why_no_harm`` (a
guardrail) and ``why_no_health`` (the ``until`` of a stage).
"""

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
Op = Literal[">", ">=", "<", "<="]
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

SECONDS = MappingProxyType({"d": 86400, "h": 3600, "m": 60, "s": 1})
LONGEST_S = 366 * 86400
DURATION = "a duration such as 90s, 10m, 1h or 3d"

NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"
ARM = r"(?:control|baseline)"  # people say both; they mean the variation that others are compared with


@dataclass(frozen=True, slots=True)
class Signal:
    """What is watched. *name* is as written, *quantile* is set for latency: 0.95 for ``latency_p95``."""

    name: str
    kind: Kind
    quantile: float | None = None


@dataclass(frozen=True, slots=True)
class Absolute:
    """A fixed bound, *value* in the base unit *unit*."""

    value: float
    unit: Unit


@dataclass(frozen=True, slots=True)
class Relative:
    """*factor* times control; bare ``control`` is factor 1."""

    factor: float


@dataclass(frozen=True, slots=True)
class Margin:
    """Control plus *delta*, signed, in the signal's base unit."""

    delta: float


@dataclass(frozen=True, slots=True)
class Off:
    """The traffic split differs from the configured one (``sample_ratio off``)."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing was heard *for_s* long (``no_data for 2m``)."""

    for_s: float


Bound = Absolute | Relative | Margin | Off | Silence


@dataclass(frozen=True, slots=True)
class Condition:
    """
    One condition.

    *text* is as written, with single spaces. *op* is ``None`` for ``sample_ratio off`` and ``no_data``,
    which compare nothing. *for_s* is the window of the literal rule (``for 10m``), else ``None``.
    """

    text: str
    signal: Signal
    op: Op | None
    bound: Bound
    for_s: float | None = None

    @property
    def meaning(self) -> tuple[Signal, Op | None, Bound, float | None]:
        """What it says, however it was worded: equal for two conditions that ask the same."""
        return self.signal, self.op, self.bound, self.for_s


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


def parse_duration(text: str) -> float:
    """
    ``90s 10m 1h 3d`` in seconds.

    Raises:
        ConditionError: for anything else, for nothing (``0s``), and for more than a year.
    """
    match = re.fullmatch(rf"({NUMBER})\s?([a-z]+)", text.strip(), re.ASCII)
    if match is None or match[2] not in SECONDS:
        raise ConditionError(f"write {DURATION}")
    for_s = float(Decimal(match[1]) * SECONDS[match[2]])
    if not 0 < for_s <= LONGEST_S:
        raise ConditionError(f"a duration lies above 0s and within 366d; write {DURATION}")
    return for_s


def duration_text(for_s: float) -> str:
    """The shortest way to write a duration: 5400.0 is ``90m``. ``parse_duration`` gives *for_s* exactly."""
    exact = Decimal(repr(for_s))
    unit = next(unit for unit, seconds in SECONDS.items() if unit == "s" or exact % seconds == 0)
    return f"{(exact / SECONDS[unit]).normalize():f}{unit}"


def parse_condition(text: str, signals: Signals = NONE) -> Condition:
    """
    Read one condition, with the *signals* that its policy declares.

    Raises:
        ConditionError: saying what would be right.
    """
    words = " ".join(text.split())
    if len(words) > 200:
        raise ConditionError("a condition is at most 200 characters long")
    if words in signals:
        return _meaning(words, signals)
    if match := re.fullmatch(r"(sample_ratio|no_data)\b ?(.*)", words):
        return _alarm(words, match[1], match[2])
    match = re.fullmatch(r"([^\s<>=≤≥]+) ?(>=|<=|>|<) ?([^<>=]*?)(?: for( .*)?)?", words)
    if match is None:
        raise _unread(words, signals)
    signal = _signal(match[1], signals)
    bound = _bound(match[3], signal)
    return Condition(words, signal, _op(match[2]), bound, _window(match[4], words))


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


def _meaning(name: str, signals: Signals) -> Condition:
    declared = signals[name]
    if declared is None:
        raise ConditionError(f"'{name}' is declared wrongly under signals:", follows=True)
    if declared.means is None:
        raise ConditionError(f"'{name}' must be compared with something; write {name} > … or {name} < …")
    # A word may not stand for another word: what a guardrail asks is then one look away.
    others = {other: given for other, given in signals.items() if given is None or given.means is None}
    meant = parse_condition(declared.means, others)
    return Condition(name, meant.signal, meant.op, meant.bound, meant.for_s)


def _alarm(words: str, name: str, rest: str) -> Condition:
    if name == "sample_ratio":
        if rest != "off":
            raise ConditionError("sample_ratio is right or off; write sample_ratio off")
        return Condition(words, built_in(name), None, Off())
    if not rest.startswith("for "):
        raise ConditionError("say how long nothing was heard; write no_data for 2m")
    for_s = _window(rest.removeprefix("for"), words)
    assert for_s is not None
    return Condition(words, built_in(name), None, Silence(for_s))


def _unread(words: str, signals: Signals) -> ConditionError:
    name = re.split(r"[\s<>=≤≥!]", words)[0]
    if not name:
        return ConditionError("write a condition such as error_rate > 5%")
    try:
        _signal(name, signals)
    except ConditionError as error:
        if error.follows:
            return error
        if words == name and not _is_near(name):
            return ConditionError(
                f"'{name}' is not a signal; declare what it means under signals:, for example "
                f'{name}: {{means: "report_rate < 0.1%"}}'
            )
        return error
    return ConditionError(
        f"compare {name} by one of > >= < <=; write a condition such as error_rate > 1.2x control"
    )


def _is_near(name: str) -> bool:
    return bool(get_close_matches(name.lower(), [*BUILT_IN, *QUANTILES], n=1, cutoff=0.75))


def _signal(name: str, signals: Signals) -> Signal:
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
            (not narrower and _is_near(name))
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


def _op(text: str) -> Op:
    ops: Mapping[str, Op] = {">": ">", ">=": ">=", "<": "<", "<=": "<="}
    return ops[text]


def _window(text: str | None, words: str) -> float | None:
    if text is None and not words.endswith(" for"):
        return None
    try:
        return parse_duration(text or "")
    except ConditionError as error:
        raise ConditionError(f"after 'for', {error}") from None


def _bound(text: str, signal: Signal) -> Bound:
    if re.fullmatch(ARM, text):
        return Relative(1.0)
    if match := re.fullmatch(rf"({NUMBER}) ?[x×] ?{ARM}", text):
        return Relative(float(match[1]))
    if match := re.fullmatch(rf"{ARM} ?([+-]) ?({NUMBER}) ?(\S*)", text):
        return Margin(_amount(match[1] + match[2], match[3], signal))
    if match := re.fullmatch(rf"(-?{NUMBER}) ?(\S*)", text):
        if re.fullmatch(r"[x×].*", match[2]):
            raise ConditionError(f"a multiple of what? write {match[1]}x control")
        return Absolute(_amount(match[1], match[2], signal), UNITS[signal.kind])
    example = AMOUNTS[UNITS[signal.kind]]
    raise ConditionError(
        f"'{text}' is not a bound; write {example}, or 1.2x control, or control + or - an amount"
    )


def _amount(number: str, unit: str, signal: Signal) -> float:
    wanted = UNITS[signal.kind]
    scale = SCALES.get((wanted, unit))
    if scale is not None:
        return float(Decimal(number) * scale)
    what = f"'{unit}' does not fit {signal.name}" if unit else f"{number} needs its unit"
    raise ConditionError(f"{what}; write {AMOUNTS[wanted]}")


def why_no_harm(condition: Condition, signals: Signals = NONE) -> str | None:
    """Why it is no guardrail: it never means harm, never happens, or a healthy variation crosses it."""
    name, op, bound, kind = condition.signal.name, condition.op, condition.bound, condition.signal.kind
    if op is None:
        return None
    high = op in (">", ">=")
    if kind in HARM_IS_HIGH and not high:
        return f"a low {name} is never harm, and every healthy variation would be stopped; write {name} > …"
    if kind in HARM_IS_LOW and high:
        return f"a high {name} is never harm, and every healthy variation would be stopped; write {name} < …"
    if isinstance(bound, Relative) and (bound.factor < 1 if high else bound.factor > 1):
        return (
            f"a variation as good as control crosses this; write {name} {op} {1.2 if high else 0.8}x control"
        )
    if isinstance(bound, Margin) and (bound.delta < 0 if high else bound.delta > 0):
        return (
            f"a variation as good as control crosses this; write {name} {op} control {'+' if high else '-'} …"
        )
    return _why_out_of_reach(condition, signals)


def why_no_health(condition: Condition, signals: Signals = NONE) -> str | None:
    """Why a stage cannot wait for it: it tells of harm and not of health, or it never happens."""
    name, op, kind = condition.signal.name, condition.op, condition.signal.kind
    if op is None:
        return "this tells of trouble; a stage goes on when health is shown: write error_rate < 1.1x control"
    if kind in HARM_IS_HIGH and op in (">", ">="):
        return f"the stage would go on because of a high {name}; write {name} < …"
    if kind in HARM_IS_LOW and op in ("<", "<="):
        return f"the stage would go on because of a low {name}; write {name} > …"
    return _why_out_of_reach(condition, signals)


def _why_out_of_reach(condition: Condition, signals: Signals) -> str | None:
    name, bound = condition.signal.name, condition.bound
    low, high = _scale(condition.signal, signals)
    if isinstance(bound, Absolute) and not low < bound.value < high:
        return f"{name} lies between {_scale_text(condition.signal, low, high)}; write a bound inside of that"
    if isinstance(bound, Margin) and abs(bound.delta) >= high - low:
        return f"{name} lies between {_scale_text(condition.signal, low, high)}; this can never happen"
    if isinstance(bound, Relative) and low < 0 and bound.factor != 1:
        return f"{name} may be negative, so a multiple of it says nothing; write control + or - an amount"
    if isinstance(bound, Relative) and bound.factor == 0:
        return f"{name} is never below 0; write a factor such as 1.2x control"
    return None


def _scale(signal: Signal, signals: Signals) -> tuple[float, float]:
    declared = signals.get(signal.name)
    if signal.kind == "measure" and declared is not None and declared.range is not None:
        return declared.range
    if signal.kind == "nps":
        return -100.0, 100.0
    return 0.0, 1.0 if UNITS[signal.kind] == "proportion" else float("inf")


def _scale_text(signal: Signal, low: float, high: float) -> str:
    if UNITS[signal.kind] == "proportion":
        return "0% and 100%"
    return f"{low:g} and {'the largest number' if high == float('inf') else f'{high:g}'}"
