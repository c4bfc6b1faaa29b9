"""A forecast for people: a table a guardrail, one sentence, and a chart in plain characters."""

from __future__ import annotations

import math
from collections.abc import Iterator

from guardian.conditions import duration_text
from guardian.forecast import Finding, Forecast, GuardrailForecast, Healthy, PolicyForecast

WIDTH = 56
LEAST_S, MOST_S = 0.1, 86_400.0
MARKS = (("0.1s", 0.1), ("1s", 1.0), ("10s", 10.0), ("1m", 60.0), ("10m", 600.0), ("1h", 3_600.0), ("1d", 86_400.0))
SAID_FACTOR = 3.0
"""The size of harm that the sentence is about, where it is found: a tripling."""


def lines(found: Forecast) -> Iterator[str]:
    """Yield the lines of the whole forecast."""
    yield (
        f"{found.requests_per_s:g} requests/s, {100 * found.error_rate:.3g}% of control's fail, outcomes come after "
        f"{found.latency_ms:g} ms; seed {found.seed}"
    )
    for policy in found.policies:
        yield ""
        yield from _policy(policy)
    yield ""
    policies = f"{len(found.policies):,} {'policy' if len(found.policies) == 1 else 'policies'}"
    yield f"False kills allowed a year: {found.false_kills_a_year:.3g} on average, over {policies}"


def _policy(policy: PolicyForecast) -> Iterator[str]:
    stages = ", ".join(
        f"{100 * stage.share:g}%" + (f" for {duration_text(stage.for_s)}" if stage.for_s else "") for stage in policy.stages
    )
    yield f"== {policy.flag} in {policy.environment}: {stages}"
    yield f"   {policy.runs:,} runs of each effect"
    for note in policy.notes:
        yield f"   {note}"
    for guardrail in policy.guardrails:
        yield from _guardrail(f"{guardrail.when} -> {guardrail.then}", guardrail)
    if policy.whole is not None and len(policy.guardrails) > 1:
        yield from _guardrail(f"all guardrails on errors together, until the first {policy.whole.then}", policy.whole)
    yield ""
    if policy.healthy is not None:
        yield _healthy(policy.healthy)
    yield f"Its budget allows {policy.false_kills_a_year:.3g} false kills in a rollout of one year."


def _guardrail(title: str, guardrail: GuardrailForecast) -> Iterator[str]:
    yield ""
    yield title
    for said in (*([f"assumed: {guardrail.assumed}"] if guardrail.assumed else []), *guardrail.notes):
        yield f"   {said}"
    if not guardrail.findings:
        return
    start = [finding for finding in guardrail.findings if finding.onset == "start"]
    late = [finding for finding in guardrail.findings if finding.onset == "late"]
    yield f"{'':<13}|{'harm from the start':^42}|{'after a day of good traffic':^42}"
    head = f"{'median':>8} {'95%':>8} {'exposed':>9} {'hurt':>7} {'missed':>6}"
    yield f"{'':<13}|{head} |{head}"
    for one, other in zip(start, late, strict=True):
        yield f"{one.effect:<13}|{_cells(one)} |{_cells(other)}"
    yield ""
    yield from _chart(start, late)
    yield ""
    yield _sentence(start, late)


def _cells(finding: Finding) -> str:
    return (
        f"{_time(finding.median_s):>8} {_time(finding.p95_s):>8} {_units(finding.exposed):>9} {_units(finding.hurt):>7} "
        f"{_part(finding.missed):>6}"
    )


def _units(units: float) -> str:
    return f"{units:,.0f}" if units < 999_999.5 else f"{units / 1e6:.3g}M"


def _part(part: float) -> str:
    return "-" if part == 0.0 else f"{100 * part:.2g}%" if part < 1.0 else "all"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size or (unit == "d" and seconds >= size):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10.0 else f"{seconds:.1f} s"


def _sentence(start: list[Finding], late: list[Finding]) -> str:
    able = [finding for finding in start if finding.median_s is not None]
    if not able:
        later = next((finding for finding in late if finding.median_s is not None), None)
        return "None of this is found within a day." if later is None else _found(later)
    one = next((finding for finding in able if math.isclose(finding.factor, SAID_FACTOR)), able[0])
    other = next(finding for finding in late if finding.effect == one.effect)
    return f"{_found(one)} {_found(other, again=True)}"


def _found(finding: Finding, *, again: bool = False) -> str:
    what = "After a day of good traffic, " + ("it" if again else finding.said)
    if finding.onset == "start":
        what = finding.said[0].upper() + finding.said[1:]
    if finding.median_s is None:
        return f"{what} is not found within a day."
    rest = f", 95% within {_time(finding.p95_s)}" if finding.p95_s is not None else ""
    missed = f" ({_part(finding.missed)} not within a day)" if finding.missed else ""
    return (
        f"{what} is found in {_time(finding.median_s)} (median){rest}{missed}; "
        f"{finding.exposed:,.0f} users exposed, {finding.hurt:,.0f} hurt."
    )


def _healthy(healthy: Healthy) -> str:
    return (
        f"Without harm, {healthy.alarmed:,} of {healthy.runs:,} runs of {_time(healthy.horizon_s)} raised a false alarm "
        f"({100 * healthy.low:.2g}% to {100 * healthy.high:.2g}%); the budget allows {100 * healthy.allowed:.2g}%."
    )


def _chart(start: list[Finding], late: list[Finding]) -> Iterator[str]:
    """Draw median (s, l) and 95 % (|) of harm from the start and of late harm over a log scale of time."""
    axis = [" "] * (WIDTH + 4)
    for name, at_s in MARKS:
        axis[_column(at_s) : _column(at_s) + len(name)] = name
    yield f"{'':<13} {''.join(axis).rstrip()}"
    for one, other in zip(start, late, strict=True):
        row = [" "] * WIDTH
        for finding, mark in ((other, "l"), (one, "s")):
            if finding.median_s is None:
                continue
            at = _column(finding.median_s)
            end = _column(finding.p95_s) if finding.p95_s is not None else WIDTH
            row[at + 1 : end] = "-" * max(end - at - 1, 0)
            if end < WIDTH:
                row[end] = "|"
            row[at] = mark
        yield f"{one.effect:<13} {''.join(row).rstrip()}"
    yield f"{'':<13} s: harm from the start, l: harm that begins late, to | in 95% of runs"


def _column(seconds: float) -> int:
    part = math.log(max(seconds, LEAST_S) / LEAST_S) / math.log(MOST_S / LEAST_S)
    return min(round(part * (WIDTH - 1)), WIDTH - 1)
