"""
What this version runs, as data.

Policies can say more than the engine does yet. What it cannot do is refused before a rollout starts, never
ignored: a guardrail that nobody evaluates would be worse than none. Where the engine learns something, its
table here grows with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from guardian.conditions import Absolute, Condition, Kind, Margin, Off, Op, Relative, Silence
from guardian.errors import Lines, Path, Problem, problem_at
from guardian.lines import is_literal, segments_of
from guardian.policy import NO_LINES, Action, Finding, Guardrail, Policy

LATER = "is read but not {what} by this version"


@dataclass(frozen=True, slots=True)
class Works:
    """What works for guardrails of one kind of signal."""

    ops: frozenset[Op | None]
    bounds: tuple[type, ...]
    evaluate: frozenset[str] = frozenset({"evidence", "literal", "either", "both"})
    narrowed: bool = False


HIGH: frozenset[Op | None] = frozenset({">", ">="})
LOW: frozenset[Op | None] = frozenset({"<", "<="})
TESTED = frozenset({"evidence"})
WINDOWS_S = (1.0, 86_400.0)
"""The shortest and the longest window of a literal rule, in seconds."""
COMPARED = (Relative, Margin, Absolute)
GUARDRAILS: Mapping[Kind, Works] = MappingProxyType(
    {
        "error_rate": Works(HIGH, COMPARED, narrowed=True),
        "latency": Works(HIGH, COMPARED, narrowed=True),
        "csat": Works(LOW, COMPARED),
        "nps": Works(LOW, COMPARED),
        "thumbs_down_rate": Works(HIGH, COMPARED),
        "report_rate": Works(HIGH, COMPARED),
        "measure": Works(HIGH | LOW, COMPARED, narrowed=True),
        "sample_ratio": Works(frozenset({None}), (Off,), evaluate=TESTED),
        "no_data": Works(frozenset({None}), (Silence,), evaluate=TESTED),
    }
)
ACTIONS = frozenset(
    {Action.ALERT, Action.HOLD, Action.PAUSE, Action.STEP_BACK, Action.KILL, Action.KILL_FLAG}
)
STAGE_FIELDS = frozenset({"share", "for", "until", "approval", "start", "name", "users", "size"})
POLICY_FIELDS = frozenset(
    {"flag", "environment", "control", "variations", "owner", "mode", "false_kills", "guardrails", "stages"}
    | {"signals", "min_units", "unit_cluster", "segments", "cooldown", "freeze", "hours", "hold_back", "topics"}
    | {"min_starts", "false_advances", "accelerate"}
)


def unsupported(
    policy: Policy,
    *,
    file: str = "",
    lines: Lines = NO_LINES,
    places: Mapping[Path, Path] = MappingProxyType({}),
) -> list[Problem]:
    """
    Everything that *policy* asks for and this version cannot run.

    With *lines* (and *places*, for a schedule) each problem stands where it was written.
    """
    found = [
        *_policy_findings(policy),
        *_guardrail_findings(policy),
        *_segment_findings(policy),
        *_measure_findings(policy),
        *_stage_findings(policy),
    ]
    return [
        problem_at(places.get(path, path), value, said, file=file, lines=lines) for path, value, said in found
    ]


def is_run(guardrail: Guardrail, policy: Policy) -> bool:
    """Say whether this version tests the guardrail live."""
    return _why_not(guardrail, policy) is None


def _policy_findings(policy: Policy) -> Iterator[Finding]:
    for name, value in policy.to_document().items():
        if name not in POLICY_FIELDS:
            yield (name,), value, f"{LATER.format(what='used')}; remove it"


def _guardrail_findings(policy: Policy) -> Iterator[Finding]:
    for at, guardrail in enumerate(policy.guardrails):
        if why := _why_not(guardrail, policy):
            yield ("guardrails", at, "when"), guardrail.when.text, f"{why}; remove it or change it"
        works = GUARDRAILS.get(guardrail.when.signal.kind)
        if works is not None and guardrail.evaluate not in works.evaluate:
            said = f"{LATER.format(what='evaluated')}; write evaluate: {' or '.join(sorted(works.evaluate))}"
            yield ("guardrails", at, "evaluate"), guardrail.evaluate, said
        elif guardrail.evaluate != "evidence" and guardrail.when.for_s is None:
            literal = f"a literal rule without a window {LATER.format(what='evaluated')}"
            said = f"{literal}; write when: {guardrail.when.text} for 10m, or evaluate: evidence"
            yield ("guardrails", at, "evaluate"), guardrail.evaluate, said
        if guardrail.then not in ACTIONS:
            yield (
                ("guardrails", at, "then"),
                str(guardrail.then),
                f"{LATER.format(what='done')}; write then: pause",
            )


def _why_not(guardrail: Guardrail, policy: Policy) -> str | None:
    when = guardrail.when
    works = GUARDRAILS.get(when.signal.kind)
    guardrails = LATER.format(what="evaluated")
    if works is None:
        return f"a {when.signal.name} guardrail {guardrails}"
    if when.signal.name in policy.signals and not works.narrowed:
        return f"a guardrail on a narrowed signal {guardrails}"
    if is_literal(guardrail) and not WINDOWS_S[0] <= (when.for_s or 0.0) <= WINDOWS_S[1]:
        return f"a literal rule over less than 1s or more than 1d {guardrails}"
    if when.signal.kind == "sample_ratio" and any(stage.users is not None for stage in policy.stages):
        return "sample_ratio is compared with a share of all traffic, and what a ring is of it is not known"
    if when.op not in works.ops or not isinstance(when.bound, works.bounds):
        return f"a {when.signal.name} guardrail of this form {guardrails}"
    return None


def _segment_findings(policy: Policy) -> Iterator[Finding]:
    for at, guardrail in enumerate(policy.guardrails):
        name = guardrail.when.signal.name
        if guardrail.segments and not segments_of(guardrail, policy):
            said = f"{name} has no segments: only outcomes carry attributes, and a narrowed signal is one already; remove it"
            yield ("guardrails", at, "segments"), list(guardrail.segments), said


def _measure_findings(policy: Policy) -> Iterator[Finding]:
    ranges: dict[str, tuple[str, tuple[float, float]]] = {}
    for name, declared in policy.signals.items():
        if declared.measure is None or declared.range is None:
            continue
        first, known = ranges.setdefault(declared.measure, (name, declared.range))
        if known != declared.range:
            said = f"{first} gives the same measure the range {list(known)}; write one range for both"
            yield ("signals", name, "range"), list(declared.range), said


def _stage_findings(policy: Policy) -> Iterator[Finding]:
    for at, stage in enumerate(policy.to_document().get("stages", [])):
        for name, value in stage.items():
            if name not in STAGE_FIELDS:
                yield ("stages", at, name), value, f"{LATER.format(what='followed')}; remove it"
    yield from _ring_findings(policy)
    for at, given in enumerate(policy.stages):
        for condition in given.until or ():
            if why := _why_not_shown(condition, policy):
                yield ("stages", at, "until"), condition.text, f"{why}; remove it or change it"


def _ring_findings(policy: Policy) -> Iterator[Finding]:
    for at, stage in enumerate(policy.stages):
        if stage.size is not None and stage.users is None:
            yield ("stages", at, "size"), stage.size, "is how many users a ring has; write users: NAME beside it, or remove it"
    if policy.stages and policy.stages[0].users is not None and not policy.variations:
        said = "the first ring is given what nobody has yet, so it must be named; write variations: [treatment] in the policy"
        yield ("stages", 0, "users"), policy.stages[0].users, said


def _why_not_shown(condition: Condition, policy: Policy) -> str | None:
    """Return why a stage cannot wait for a condition of health; the same signals work that work in guardrails."""
    works = GUARDRAILS.get(condition.signal.kind)
    waited = LATER.format(what="waited for")
    if works is None or not isinstance(condition.bound, works.bounds):
        return f"a condition on {condition.signal.name} {waited}"
    if condition.signal.name in policy.signals and not works.narrowed:
        return f"a condition on a narrowed signal {waited}"
    if condition.for_s is not None:
        return f"a condition with a window (for ...) {waited}"
    return None
