"""Whether a condition can do what it is written for: tell harm, or show health."""

from __future__ import annotations

from guardian.conditions import Absolute, Condition, Margin, Relative
from guardian.signals import HARM_IS_HIGH, HARM_IS_LOW, NONE, UNITS, Signal, Signals


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
