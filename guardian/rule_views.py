"""Literal rules as people see them: what their windows hold, and where they stand."""

from __future__ import annotations

from guardian.aggregate import missing
from guardian.conditions import duration_text
from guardian.decisions import GuardrailView
from guardian.lines import ALL, has_account
from guardian.names import Millis, iso
from guardian.numerals import count
from guardian.policy import Guardrail, Policy
from guardian.rule import Rule
from guardian.standing import name_of
from guardian.state import RolloutState

SEGMENTS_SHOWN = 5
"""Segments of a variation that are shown, those of them in which a rule is broken."""


def literal_rows(state: RolloutState, policy: Policy) -> list[GuardrailView]:
    """Return a row for each purely literal guardrail and variation, and for segments in which it is broken."""
    places = [at for at in state.lines.rules if not has_account(policy.guardrails[at])]
    rows = []
    for variation, watch in sorted(state.variations.items()):
        for at in places:
            rows.append(_row(state, policy.guardrails[at], at, variation, ALL))
            prefix = name_of(at, "")
            broken = [name for name, rule in sorted(watch.rules.items()) if name.startswith(prefix) and rule.since_ms]
            segments = [name.removeprefix(prefix) for name in broken if name != prefix]
            rows += [_row(state, policy.guardrails[at], at, variation, segment) for segment in segments[:SEGMENTS_SHOWN]]
    return rows


def literal_why(state: RolloutState, guardrail: Guardrail, at: int, variation: str, segment: str) -> str:
    """Return where a literal rule stands: since when it is broken, that it is quiet, or how much is missing."""
    watch, when = state.variations[variation], guardrail.when
    rule = watch.rules.get(name_of(at, segment), Rule())
    assert when.for_s is not None
    if rule.since_ms:
        return f"armed since {iso(rule.since_ms)}"
    covered_ms = _covered_ms(state, variation)
    if covered_ms < when.for_s * 1_000 and not rule.is_full:
        return f"window not full yet: {_covered(covered_ms, when.for_s)} of {duration_text(when.for_s)}"
    if rule.seen is None or missing(when, rule.seen) > 0.0:
        return f"too little in the window: {count(missing(when, rule.seen)) if rule.seen else 'all'} missing"
    return "quiet"


def _row(state: RolloutState, guardrail: Guardrail, at: int, variation: str, segment: str) -> GuardrailView:
    rule, when = state.variations[variation].rules.get(name_of(at, segment), Rule()), guardrail.when
    return GuardrailView(
        guardrail=when.text, variation=variation, action=str(guardrail.then), log_e=None, log_threshold=0.0, segment=segment,
        value=rule.seen.value if rule.seen else None, value_control=rule.seen.value_control if rule.seen else None,
        kind=when.signal.kind, quantile=when.signal.quantile, literal=True,
        why=literal_why(state, guardrail, at, variation, segment),
    )  # fmt: skip


def _covered_ms(state: RolloutState, variation: str) -> Millis:
    """How long telemetry of the variation has been read under the policy."""
    first_ms, from_ms = state.variations[variation].first_ms, state.windows.from_ms
    if first_ms < 0 or from_ms < 0:
        return 0
    return max(state.population.closed_ms - max(first_ms, from_ms), 0)


def _covered(covered_ms: Millis, for_s: float) -> str:
    """A time in the unit that the window is written in, rounded down: it is not full before it is."""
    text = duration_text(for_s)
    unit = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}[text[-1]]
    return f"{covered_ms // (unit * 1_000)}{text[-1]}"
