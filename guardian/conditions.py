"""
Conditions as people write them: ``signal op bound [for duration]``.

``error_rate > 1.2x control`` · ``latency_p95 > 300ms`` · ``csat < control - 0.3`` · ``sample_ratio off`` ·
``no_data for 2m`` · and whatever a policy declares under ``signals:``.

Values are held in base units: proportions (``5%`` is 0.05), milliseconds, plain scores; durations in seconds.
What a condition says is read here; whether it can do what it is written for: ``guardian.sense``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from guardian.errors import ConditionError
from guardian.signals import (
    AMOUNTS,
    NONE,
    SCALES,
    UNITS,
    Declaration,
    Kind,
    Signal,
    Signals,
    Unit,
    built_in,
    is_near,
    signal_of,
)

__all__ = [
    "NONE",
    "UNITS",
    "Absolute",
    "Bound",
    "Condition",
    "Declaration",
    "Kind",
    "Margin",
    "Off",
    "Op",
    "Relative",
    "Signal",
    "Signals",
    "Silence",
    "duration_text",
    "parse_condition",
    "parse_duration",
]

Op = Literal[">", ">=", "<", "<="]
SECONDS = MappingProxyType({"d": 86400, "h": 3600, "m": 60, "s": 1})
LONGEST_S = 366 * 86400
DURATION = "a duration such as 90s, 10m, 1h or 3d"

NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"
ARM = r"(?:control|baseline)"  # people say both; they mean the variation that others are compared with


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
    signal = signal_of(match[1], signals)
    bound = _bound(match[3], signal)
    return Condition(words, signal, _op(match[2]), bound, _window(match[4], words))


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
        signal_of(name, signals)
    except ConditionError as error:
        if error.follows:
            return error
        if words == name and not is_near(name):
            return ConditionError(
                f"'{name}' is not a signal; declare what it means under signals:, for example "
                f'{name}: {{means: "report_rate < 0.1%"}}'
            )
        return error
    return ConditionError(
        f"compare {name} by one of > >= < <=; write a condition such as error_rate > 1.2x control"
    )


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
