"""What was measured, in words: the clause between what was done and the chance of being wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

from guardian.decisions import Evidence
from guardian.numerals import among, count, latency, number, percent


def measured(evidence: Evidence, guardrail: str, control: str) -> str:
    """Return what a guardrail (its text) measured, against control or against its bound, as a clause."""
    signal = guardrail.partition(" ")[0]
    if signal == "sample_ratio":
        return _split(evidence, control)
    if signal == "no_data":
        return unmeasured(guardrail)
    quantile = re.search(r"latency_p(\d{2,3})$", signal)
    if quantile is None and is_proportion(signal):
        return _proportions(evidence, guardrail, control, _failing(signal))
    if quantile is not None and _counts_exceedances(evidence):
        limit = f"the {_p(quantile[1])} of {control}" if evidence.bound is None else latency(evidence.bound)
        return _proportions(evidence, guardrail, control, f"requests took longer than {limit}", bounded=False)
    if quantile is not None:
        return _levels(evidence, guardrail, control, f"{_p(quantile[1])} latency was", latency)
    return _levels(evidence, guardrail, control, f"{signal or evidence.test} averaged", number)


def _proportions(evidence: Evidence, guardrail: str, control: str, failing: str, *, bounded: bool = True) -> str:
    of_all = f"{count(evidence.events)} of {count(evidence.n)} {failing}"
    said = f"{of_all} ({percent(_rate(evidence.events, evidence.n, evidence.value))})"
    if evidence.n_control:
        rate = _rate(evidence.events_control, evidence.n_control, evidence.value_control)
        theirs = f"{count(evidence.events_control)} of {count(evidence.n_control)} ({percent(rate)})"
        return f"{said} against {theirs} in {control} at the same time"
    if evidence.bound is not None and bounded:
        said += f" against the bound of {percent(evidence.bound, exact=True)}"
    return said + window(guardrail)


def _levels(evidence: Evidence, guardrail: str, control: str, was: str, shown: Callable[[float], str]) -> str:
    said = f"{was} {shown(evidence.value)} over {among(evidence.n, 'request')}"
    if evidence.value_control is not None:
        theirs = f"{shown(evidence.value_control)} over {count(evidence.n_control)}"
        return f"{said} against {theirs} in {control} at the same time"
    if evidence.bound is not None:
        said += f" against the bound of {shown(evidence.bound)}"
    return said + window(guardrail)


def _split(evidence: Evidence, control: str) -> str:
    said = f"its share of the exposures was {percent(evidence.value)}"
    said += f" ({count(evidence.n)} against {count(evidence.n_control)} in {control})"
    if evidence.bound is None:
        return said
    return f"{said} where {percent(evidence.bound, exact=True)} is configured"


def unmeasured(guardrail: str) -> str:
    """Return what there is to say of a guardrail that measures nothing, or nothing."""
    if match := re.fullmatch(r"no_data for (\S+)", guardrail):
        return f"nothing was heard of it for {match[1]}"
    return ""


def is_proportion(signal: str) -> bool:
    """Say whether a signal is so many out of so many requests."""
    return signal.endswith("_rate") or not signal


def _failing(signal: str) -> str:
    if signal.endswith("thumbs_down_rate"):
        return "ratings were thumbs down"
    return "requests were reported" if signal.endswith("report_rate") else "requests failed"


def _counts_exceedances(evidence: Evidence) -> bool:
    """Whether the latency is told as how many requests were too slow, rather than as milliseconds."""
    return evidence.n > 0 and abs(evidence.value - evidence.events / evidence.n) < 1e-3


def _rate(events: int, n: int, value: float | None) -> float:
    return events / n if n else value or 0.0


def window(guardrail: str) -> str:
    """Return the window of a literal rule as it was written, `` for 10m``, or nothing."""
    match = re.search(r" for \d\w*$", guardrail)
    return match[0] if match else ""


def _p(digits: str) -> str:
    return f"p{digits}" if len(digits) == 2 else f"p{digits[:2]}.{digits[2]}"
