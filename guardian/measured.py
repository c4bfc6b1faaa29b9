"""What was measured, in words: the clause between what was done and the chance of being wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from guardian.decisions import Evidence, Interval
from guardian.numerals import among, count, latency, number, percent

LITERAL = "window"
"""``Evidence.test`` of a literal rule."""


class Watched(NamedTuple):
    """What a guardrail watches: its kind (`conditions.Kind`), the name it goes by, and of latency the quantile."""

    kind: str
    name: str
    quantile: float | None = None


def watched(guardrail: str) -> Watched:
    """
    Return what a guardrail (its text) watches, as far as its name tells.

    The name of a narrowed signal tells it by its end (``search_latency_p95``); any other that is declared is taken for
    a measure.
    """
    name = guardrail.partition(" ")[0]
    if match := re.search(r"latency_p(\d{2,3})$", name):
        return Watched("latency", name, float(f"0.{match[1]}"))
    for kind in ("thumbs_down_rate", "report_rate", "csat", "nps", "sample_ratio", "no_data"):
        if name.endswith(kind):
            return Watched(kind, name)
    return Watched("error_rate" if name.endswith("_rate") or not name else "measure", name)


def measured(
    evidence: Evidence, guardrail: str, control: str, *, variation: str = "", what: Watched | None = None
) -> str:
    """Return what a guardrail (its text) measured, against control or against its bound, as a clause."""
    what = what or watched(guardrail)
    if what.kind == "no_data":
        return _silence(evidence, guardrail, control, variation) or unmeasured(guardrail)
    if what.kind == "sample_ratio":
        return _split(evidence, control)
    if what.kind == "latency" and evidence.bound is not None:
        return _too_slow(evidence, what.quantile) + window(guardrail, evidence)
    if what.kind == "latency":
        name = quantile_name(what.quantile)
        return _levels(evidence, guardrail, control, f"{name} latency was", "request", latency)
    if what.kind in FAILING:
        return _proportions(evidence, guardrail, control, FAILING[what.kind])
    was, noun = LEVELS.get(what.kind, (f"{what.name} averaged", "value"))
    return _levels(evidence, guardrail, control, was, noun, number)


FAILING = {
    "error_rate": "requests failed",
    "thumbs_down_rate": "ratings were thumbs down",
    "report_rate": "exposures were reported as a problem",
}
LEVELS = {"csat": ("csat averaged", "rating"), "nps": ("nps was", "rating")}


def amount(value: float, what: Watched) -> str:
    """Return a value of a signal in its own unit: ``9.9 %``, ``812 ms``, ``4.31``."""
    if what.kind == "latency":
        return latency(value)
    return percent(value) if what.kind in FAILING or what.kind == "sample_ratio" else number(value)


def differs(ratio: Interval | None, difference: Interval | None, what: Watched) -> str:
    """
    Return by how much a variation differs from control: ``4.6 to 23 times``, ``at most 1.2 times``.

    The difference where no ratio is known: ``+0.5 to +2.2 points``, ``+120 ms or more``; nothing where neither is.
    """
    if ratio is not None and ratio != (None, None):
        lo, hi = (None if end is None else f"{end:.2g}" if end < 10.0 else f"{end:,.0f}" for end in ratio)
        return f"{f'{lo} to {hi}' if lo and hi else f'at least {lo}' if lo else f'at most {hi}'} times"
    if difference is not None and difference != (None, None):
        proportion = what.kind in FAILING or what.kind == "sample_ratio"
        unit = " ms" if what.kind == "latency" else " points"
        scale = 100.0 if proportion else 1.0
        lo, hi = (None if end is None else f"{float(f'{end * scale:.2g}'):+,.6g}" for end in difference)
        return f"{lo} to {hi}{unit}" if lo and hi else f"{lo}{unit} or more" if lo else f"{hi}{unit} or less"
    return ""


def _proportions(evidence: Evidence, guardrail: str, control: str, failing: str) -> str:
    part = percent(_rate(evidence.events, evidence.n, evidence.value))
    said = f"{count(evidence.events)} of {count(evidence.n)} {failing} ({part})"
    theirs = ""
    if evidence.n_control:
        rate = _rate(evidence.events_control, evidence.n_control, evidence.value_control)
        theirs = f"{count(evidence.events_control)} of {count(evidence.n_control)} ({percent(rate)}) in {control}"
    bound = "" if evidence.bound is None else percent(evidence.bound, exact=True)
    return said + _beside(theirs, bound, window(guardrail, evidence))


def _levels(
    evidence: Evidence, guardrail: str, control: str, was: str, noun: str, shown: Callable[[float], str]
) -> str:
    said = f"{was} {shown(evidence.value)} over {among(evidence.n, noun)}"
    theirs = ""
    if evidence.value_control is not None:
        theirs = f"{shown(evidence.value_control)} over {count(evidence.n_control)} in {control}"
    return said + _beside(theirs, "" if evidence.bound is None else shown(evidence.bound), window(guardrail, evidence))


def _beside(theirs: str, bound: str, over: str) -> str:
    """What it was held against, ``over`` which window: a bound, or else control; beside a bound, control tells an incident."""
    if not bound:
        return f"{f' against {theirs} at the same time' if theirs else ''}{over}"
    return f" against the bound of {bound}{over}{f', with {theirs} at the same time' if theirs else ''}"


def _too_slow(evidence: Evidence, quantile: float | None) -> str:
    assert evidence.bound is not None
    part = percent(_rate(evidence.events, evidence.n, 0.0))
    slow = f"{count(evidence.events)} of {among(evidence.n, 'request')} took longer than {latency(evidence.bound)}"
    if quantile is None:
        return f"{slow} ({part})"
    return f"{slow} ({part}), where {quantile_name(quantile)} allows {percent(1.0 - quantile, exact=True)}"


def _split(evidence: Evidence, control: str) -> str:
    said = f"its share of the first exposures was {percent(evidence.value)}"
    said += f" ({count(evidence.n)} against {count(evidence.n_control)} in {control})"
    if evidence.bound is None:
        return said
    return f"{said} where {percent(evidence.bound, exact=True)} is configured"


def _silence(evidence: Evidence, guardrail: str, control: str, variation: str) -> str:
    for_s, of = window(guardrail, evidence), f" of {variation}" if variation else ""
    if evidence.silence == "exposures":
        meanwhile = f" while {control} had {count(evidence.n_control)}" if evidence.n_control else ""
        return f"no exposure{of} was seen{for_s}{meanwhile}"
    if evidence.silence == "outcomes":
        return f"exposures{of} go on, but no outcome of new ones came{for_s}"
    if evidence.silence == "pipeline":
        return (
            f"nothing was heard of this flag{for_s}, neither of {control}: "
            "this looks like a broken pipeline, not like the variation"
        )
    return ""


def unmeasured(guardrail: str) -> str:
    """Return what there is to say of a guardrail that measures nothing, or nothing."""
    if match := re.fullmatch(r"no_data for (\S+)", guardrail):
        return f"nothing was heard of it for {match[1]}"
    return ""


def _rate(events: int, n: int, value: float | None) -> float:
    return events / n if n else value or 0.0


def window(guardrail: str, evidence: Evidence) -> str:
    """Return the window of a literal rule as it was written, `` for 10m``, or how long a silence was; nothing for a test."""
    match = re.search(r" for \d\w*$", guardrail)
    return match[0] if match and evidence.test in (LITERAL, "silence") else ""


def quantile_name(quantile: float | None) -> str:
    """Return a quantile as people name it: ``p95``, ``p99.9``; nothing where there is none."""
    return "" if quantile is None else f"p{quantile * 100:.3g}"
