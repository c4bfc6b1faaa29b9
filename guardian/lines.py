"""
What of the telemetry each guardrail reads: its line, and with that what ``observe`` has to sum.

A line is one kind of sums: the latencies, the ratings, one measure, the reports. Several guardrails may read the same
one, and a guardrail may read it once for everybody and once for each segment. Requests and their failures, for all
traffic, are no line: every rollout has them, and ``guardian.evaluate`` reads them first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec

from guardian.conditions import Absolute, Condition
from guardian.plan import MEASURE, NPS, RATING, THUMB, Cut, Plan, Range
from guardian.policy import Action, Guardrail, Policy

Kind = Literal["failures", "errors", "latency", "over", "score", "reports", "fresh"]

SCORES: dict[str, tuple[str, Range]] = {
    "csat": (RATING, (1.0, 5.0)),
    "nps": (NPS, (-100.0, 100.0)),
    "thumbs_down_rate": (THUMB, (0.0, 1.0)),
}
"""The score behind a kind of signal, and the range of the signal's values."""

_DAY_S = 86_400.0
ALL = ""
"""The name of the segment that everybody is in."""
SEGMENT_PART = 0.2
"""Of the budget of a guardrail that looks at segments, the part that they have; the rest is for all traffic."""


@dataclass(frozen=True, slots=True)
class Line:
    """
    One line: ``kind`` says what it sums, of the outcomes in ``cut`` where one is named.

    ``score`` names a score and ``range`` the values that its signal can have; ``over_us`` is a bound of latency in
    microseconds. ``guardrails`` are those that read it for all traffic, ``by_segment`` those that read it for the
    segments of an attribute, by their place in the policy; ``fixed`` those of both that hold it against a fixed bound,
    and so read it of the variation alone. ``rules`` and ``rules_by_segment`` are those that take it
    literally, over a window. ``is_awaited``: a stage waits for what it tells.
    """

    name: str
    kind: Kind
    cut: str = ALL
    score: str = ""
    range: Range = (0.0, 1.0)
    over_us: int = 0
    guardrails: tuple[int, ...] = ()
    by_segment: dict[str, tuple[int, ...]] = field(default_factory=dict)
    fixed: frozenset[int] = frozenset()
    rules: tuple[int, ...] = ()
    rules_by_segment: dict[str, tuple[int, ...]] = field(default_factory=dict)
    is_awaited: bool = False

    def readers(self, segment: str) -> tuple[int, ...]:
        """Return the guardrails that test the line in a segment."""
        return self.guardrails if segment in (ALL, self.cut) else self.by_segment.get(attribute_of(segment), ())

    def rulers(self, segment: str) -> tuple[int, ...]:
        """Return the guardrails that take the line literally in a segment."""
        return self.rules if segment in (ALL, self.cut) else self.rules_by_segment.get(attribute_of(segment), ())

    def is_read(self, segment: str) -> bool:
        """Say whether any guardrail reads the line in a segment."""
        return bool(self.readers(segment) or self.rulers(segment))

    def key(self, segment: str) -> str:
        """Return the name of the line in a segment; where that is all it is about, its own."""
        return self.name if segment in (ALL, self.cut) else f"{self.name}@{segment}"


class Awaited(NamedTuple):
    """A condition of health that a stage waits for, and the line that tells of it (of requests as well)."""

    condition: Condition
    line: Line


@dataclass(frozen=True)
class Lines:
    """
    All lines of a policy, and the plan that asks for them.

    Whatever follows from the policy alone and is asked for in every step is worked out here, once.
    """

    lines: tuple[Line, ...]
    attributes: tuple[str, ...]
    cuts: tuple[Cut, ...]
    plan: Plan
    accounts: int
    """How many guardrails share the budget."""
    silences: tuple[int, ...]
    """The places of the guardrails on silence."""
    wait_ms: int = 0
    """How long a request must be waited for until it is known whether it broke every fixed bound of latency."""
    rules: tuple[int, ...] = ()
    """The places of the guardrails that are taken literally, over a window."""
    awaited: tuple[tuple[Awaited, ...], ...] = ()
    """What each stage waits for."""
    of_requests: tuple[int, ...] = ()
    """The places of the guardrails that test failures among all requests."""
    parts: tuple[float, ...] = ()
    """The part of a variation's budget that the guardrail at each place has for all traffic."""
    horizon: float = 0.0
    """What a rollout may spend by its plan, all variations together, in expected false alarms."""

    @cached_property
    def of_all(self) -> list[Line]:
        """The lines that all traffic feeds."""
        return [line for line in self.lines if line.cut == ALL and (line.is_read(ALL) or line.is_awaited)]

    @cached_property
    def plan_values(self) -> dict[str, Any]:
        """The plan as plain values; nobody writes to them."""
        values: dict[str, Any] = msgspec.to_builtins(self.plan)
        return values

    def of(self, segment: str) -> list[Line]:
        """Return the lines that have readers in a segment."""
        if segment == ALL:
            return self.of_all
        if any(cut.name == segment for cut in self.cuts):
            return [line for line in self.lines if line.cut == segment]
        return [line for line in self.lines if line.cut == ALL and line.is_read(segment)]

    def resolve(self, key: str) -> tuple[Line, str] | None:
        """Return the line and the segment of a ``Line.key``; None where no guardrail reads it (any more)."""
        return self._named[key] if key in self._named else self._resolved(key)

    @cached_property
    def _named(self) -> dict[str, tuple[Line, str] | None]:
        return {line.name: self._resolved(line.name) for line in self.lines}

    def _resolved(self, key: str) -> tuple[Line, str] | None:
        for line in self.lines:
            if key == line.name and line.is_read(line.cut):
                return line, line.cut
            name, segment = key[: len(line.name) + 1], key[len(line.name) + 1 :]
            if segment and name == f"{line.name}@" and line.is_read(segment):
                return line, segment
        return None

    def __bool__(self) -> bool:
        return bool(self.lines)


def attribute_of(segment: str) -> str:
    """Return the attribute in whose value a segment agrees."""
    return segment.partition("=")[0]


def has_account(guardrail: Guardrail) -> bool:
    """Say whether a guardrail tests anything: ``no_data`` and a purely literal one do not, so they take no budget."""
    return guardrail.when.signal.kind != "no_data" and guardrail.evaluate != "literal"


def is_literal(guardrail: Guardrail) -> bool:
    """Say whether a guardrail is taken literally, alone or beside its test: the value over its window against its bound."""
    return guardrail.evaluate != "evidence" and guardrail.when.for_s is not None


def is_of_requests(guardrail: Guardrail, policy: Policy) -> bool:
    """Say whether a guardrail tests failures among all requests, for which there is no line."""
    return has_account(guardrail) and is_about_requests(guardrail.when, policy)


def is_about_requests(condition: Condition, policy: Policy) -> bool:
    """Say whether a condition is about failures among all requests."""
    return condition.signal.kind == "error_rate" and condition.signal.name not in policy.signals


def segments_of(guardrail: Guardrail, policy: Policy) -> tuple[str, ...]:
    """Return the attributes by whose values a guardrail looks at the traffic besides all of it."""
    if guardrail.when.signal.kind not in SEGMENTED or cut_of(guardrail.when, policy) is not None:
        return ()
    return tuple(dict.fromkeys((*guardrail.segments, *policy.segments)))


SEGMENTED = frozenset({"error_rate", "latency", "measure"})
"""Kinds of signals that outcomes bring: only those carry attributes."""


def cut_of(condition: Condition, policy: Policy) -> Cut | None:
    """Return the part of the outcomes that a narrowed signal is about; None for any other signal."""
    declared = policy.signals.get(condition.signal.name)
    if declared is None or declared.where is None:
        return None
    where = tuple(sorted(declared.where.items()))
    return Cut("&".join(f"{name}={value}" for name, value in where), where)


def lines_of(policy: Policy) -> Lines:
    """Return the lines that the policy's guardrails read, in the order in which they are first read."""
    made: dict[str, Line] = {}
    cuts: dict[str, Cut] = {}
    attributes: dict[str, None] = {}
    for at, guardrail in enumerate(policy.guardrails):
        cut, segments = cut_of(guardrail.when, policy), segments_of(guardrail, policy)
        tested, literal = has_account(guardrail), is_literal(guardrail)
        if cut is not None and (tested or literal):
            cuts[cut.name] = cut
        if tested or literal:
            attributes.update(dict.fromkeys(segments))
        if tested and (segments or not is_of_requests(guardrail, policy)):
            line = _line(guardrail.when, policy)
            known, alone = made.get(line.name, line), () if is_of_requests(guardrail, policy) else (at,)
            by_segment = _with(known.by_segment, segments, at)
            fixed = known.fixed | {at} if isinstance(guardrail.when.bound, Absolute) else known.fixed
            made[line.name] = replace(known, guardrails=(*known.guardrails, *alone), by_segment=by_segment, fixed=fixed)
        if literal:
            line = _literal_line(guardrail, policy)
            known = made.get(line.name, line)
            by_segment = _with(known.rules_by_segment, segments, at)
            made[line.name] = replace(known, rules=(*known.rules, at), rules_by_segment=by_segment)
    awaited = tuple(tuple(Awaited(one, _line(one, policy)) for one in stage.until or ()) for stage in policy.stages)
    for condition, line in (one for of_stage in awaited for one in of_stage):
        if not is_about_requests(condition, policy):
            made[line.name] = replace(made.get(line.name, line), is_awaited=True)
            if (cut := cut_of(condition, policy)) is not None:
                cuts[cut.name] = cut
    lines = tuple(made.values())
    plan = _plan(lines, tuple(attributes), tuple(cuts.values()), company=_needs_company(policy))
    silences = tuple(at for at, one in enumerate(policy.guardrails) if one.when.signal.kind == "no_data")
    wait_ms = max((line.over_us // 1_000 + 1 for line in lines if line.kind == "over"), default=0)
    return Lines(
        lines, tuple(attributes), tuple(cuts.values()), plan,
        accounts=sum(has_account(one) for one in policy.guardrails), silences=silences, wait_ms=wait_ms,
        rules=tuple(at for at, one in enumerate(policy.guardrails) if is_literal(one)), awaited=awaited,
        of_requests=tuple(at for at, one in enumerate(policy.guardrails) if is_of_requests(one, policy)),
        parts=tuple(part_of_all(one, policy) if has_account(one) else 0.0 for one in policy.guardrails),
        horizon=horizon_budget(policy),
    )  # fmt: skip


def horizon_budget(policy: Policy) -> float:
    """Return what a rollout may spend by its plan: its start, its steps, and the days that its stages take (at least one)."""
    kills, stages = policy.false_kills, policy.stages
    days = max(math.fsum(stage.for_s or 0.0 for stage in stages) / _DAY_S, 1.0)
    return kills.per_rollout + kills.per_step * max(len(stages) - 1, 0) + kills.per_day * days


def part_of_all(guardrail: Guardrail, policy: Policy) -> float:
    """Return the part of a variation's budget that a guardrail which tests has for all traffic."""
    accounts = sum(has_account(one) for one in policy.guardrails)
    return (1.0 - SEGMENT_PART if segments_of(guardrail, policy) else 1.0) / accounts


def _needs_company(policy: Policy) -> bool:
    """Say whether a guardrail takes traffic away because of failures: then it matters which flag they are of."""
    return any(is_of_requests(one, policy) and one.then >= Action.PAUSE for one in policy.guardrails)


def _with(known: dict[str, tuple[int, ...]], segments: tuple[str, ...], at: int) -> dict[str, tuple[int, ...]]:
    return {**known, **{name: (*known.get(name, ()), at) for name in segments}}


def plan_of(policy: Policy) -> Plan:
    """Return what is to be summed for the policy's guardrails, besides requests and failures."""
    return lines_of(policy).plan


def _line(condition: Condition, policy: Policy) -> Line:
    signal, bound, narrowed = condition.signal, condition.bound, cut_of(condition, policy)
    cut = narrowed.name if narrowed is not None else ALL
    at = f"@{cut}" if cut else ""
    if signal.kind == "error_rate":
        return Line(f"failures{at}", "failures", cut)
    if signal.kind == "latency" and isinstance(bound, Absolute):
        over_us = round(bound.value * 1_000)
        return Line(f"over:{over_us}{at}", "over", cut, over_us=over_us)
    if signal.kind == "latency":
        return Line(f"latency{at}", "latency", cut)
    if signal.kind == "measure":
        declared = policy.signals[signal.name]
        assert declared.range is not None
        name = f"{MEASURE}{declared.measure}"
        return Line(name, "score", score=name, range=declared.range)
    if signal.kind in SCORES:
        score, values = SCORES[signal.kind]
        return Line(score, "score", score=score, range=values)
    return Line("reports", "reports") if signal.kind == "report_rate" else Line("fresh", "fresh")


def _literal_line(guardrail: Guardrail, policy: Policy) -> Line:
    """Return what a literal rule reads: failed requests as they are counted, and of latencies the whole histogram."""
    found = cut_of(guardrail.when, policy)
    cut = found.name if found is not None else ALL
    at = f"@{cut}" if cut else ""
    if guardrail.when.signal.kind == "error_rate":
        return Line(f"errors{at}", "errors", cut)
    if guardrail.when.signal.kind == "latency":
        return Line(f"latency{at}", "latency", cut)
    return _line(guardrail.when, policy)


def _plan(lines: tuple[Line, ...], attributes: tuple[str, ...], cuts: tuple[Cut, ...], *, company: bool) -> Plan:
    kinds = {line.kind for line in lines}
    scores = {line.score: line.range for line in lines if line.kind == "score"}
    return Plan(
        latency="latency" in kinds,
        over_us=tuple(sorted({line.over_us for line in lines if line.kind == "over"})),
        scores=dict(sorted(scores.items())),
        reports="reports" in kinds,
        fresh="fresh" in kinds,
        segments=attributes,
        cuts=cuts,
        company=company,
    )
