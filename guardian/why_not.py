"""Why nothing has happened to a rollout yet, in one sentence, from the record that the page shows of it."""

from __future__ import annotations

from guardian.decisions import ArmView, GuardrailView, RolloutView
from guardian.explain import NOUN, clean, quoted, sentence
from guardian.measured import Watched, amount, watched
from guardian.numerals import among, count, percent, times

_STANDING_STILL = frozenset({"planned", "paused", "stepping_back", "completed"})

SILENT_SHOWN = 3
"""Guardrails without evidence that are named; more are counted."""
WAITS_SHOWN = 3
"""Gates that are named; more are counted."""


def why_not(view: RolloutView) -> str:
    """Return why nothing has happened to a rollout yet: the evidence so far, and what is missing."""
    name = f"{view.flag_key} in {view.environment}"
    if view.status == "killed":
        return sentence(f"{name} is killed", clean(view.explanation))
    if view.status in _STANDING_STILL:
        return sentence(f"{name} is {view.status.replace('_', ' ')}", clean(view.explanation))
    if not any(arm.n for arm in view.arms):
        return sentence(f"Nothing has happened to {name}, as no telemetry of it was read yet", "")
    first = nearest(view)
    # Segments have their guardrail as a whole beside them, and silence is what no_data waits for.
    silent = [
        row for row in view.guardrails
        if row.log_e is None and not row.segment and not row.literal and watched_by(row).kind != "no_data"
    ]  # fmt: skip
    clauses = []
    if first is not None:
        clauses.append(_standing(first, view))
    elif not view.guardrails:
        clauses.append("its policy has no guardrail that compares anything")
    clauses += _waiting(silent)
    clauses += _literally([row for row in view.guardrails if row.literal and not row.segment])
    if view.waits:
        clauses.append(f"its stage is not left yet ({_gates(view.waits)})")
    if view.telemetry != "fresh":
        clauses.append(f"telemetry is {view.telemetry}, which is no good news")
    if view.mode == "shadow":
        clauses.append("and in shadow mode a verdict would only be told")
    return sentence(f"Nothing has happened to {name}", "; ".join(clauses))


def nearest(view: RolloutView) -> GuardrailView | None:
    """Return the guardrail that is nearest to doing something, or nothing while none has any evidence."""
    known = [row for row in view.guardrails if row.log_e is not None]
    return max(known, key=_nearness, default=None)


def _gates(waits: tuple[str, ...]) -> str:
    more = len(waits) - WAITS_SHOWN
    said = [clean(one) for one in waits[:WAITS_SHOWN]]
    return "; ".join([*said, f"and {count(more)} more"] if more > 0 else said)


def _waiting(silent: list[GuardrailView]) -> list[str]:
    """Guardrails without evidence, those of the same reason together."""
    reasons: dict[str, list[str]] = {}
    for row in silent[:SILENT_SHOWN]:
        reasons.setdefault(clean(row.why), []).append(_row(row))
    clauses = [
        f"there is nothing yet to judge {', '.join(names)} by{f' ({why})' if why else ''}" for why, names in reasons.items()
    ]
    more = len(silent) - SILENT_SHOWN
    return [*clauses, f"the same goes for {among(more, 'other guardrail')}"] if more > 0 else clauses


def _literally(rows: list[GuardrailView]) -> list[str]:
    """Literal rules: what their windows hold, and where they stand."""
    said = [f"{_row(row)} reads {values(row) or 'nothing'} ({clean(row.why)})" for row in rows[:SILENT_SHOWN]]
    more = len(rows) - SILENT_SHOWN
    return [*said, f"{among(more, 'more literal rule')} are read beside"] if more > 0 else said


def _standing(row: GuardrailView, view: RolloutView) -> str:
    assert row.log_e is not None
    said = f"{_row(row)} is nearest to its {NOUN.get(row.action, row.action)}"
    if row.log_threshold <= 0.0:
        return f"{said}, and has been given no budget yet"
    if row.log_e <= 0.0:
        return f"{said}, and what was read so far speaks for no harm"
    said += f", with evidence of {times(row.log_e)} out of {times(row.log_threshold)}"
    if row.why:
        said += f" ({clean(row.why)})"
    numbers = _numbers(row, view)
    return f"{said}: {numbers}" if numbers else said


def _numbers(row: GuardrailView, view: RolloutView) -> str:
    """What the nearest guardrail reads now: counts of the arms, or of a segment and of other signals the values."""
    what = watched_by(row)
    arms = {arm.variation: arm for arm in view.arms}
    ours, theirs = arms.get(row.variation), arms.get(view.control)
    if what.kind == "error_rate" and what.name in ("error_rate", "") and not row.segment:
        if ours is None or not ours.n:
            return ""
        beside = f" against {_failed(theirs)} in {view.control}" if theirs is not None and theirs.n else ""
        return f"{_failed(ours)}{beside}"
    if row.value is None:
        return ""
    of = f" in {view.control}" if row.value_control is not None else ""
    return f"{clean(what.name)} is {values(row)}{of}"


def values(row: GuardrailView) -> str:
    """Return what a guardrail reads now, in its own unit: ``9.9 % against 1.0 %``; nothing before any data."""
    if row.value is None:
        return ""
    what = watched_by(row)
    ours = amount(row.value, what)
    return ours if row.value_control is None else f"{ours} against {amount(row.value_control, what)}"


def watched_by(row: GuardrailView) -> Watched:
    """What a row's guardrail watches; records of before it was told are read by their text."""
    found = watched(row.guardrail)
    return Watched(row.kind, found.name, row.quantile) if row.kind else found


def _row(row: GuardrailView) -> str:
    return f"{quoted(row.guardrail, row.segment)} on {row.variation}"


def _nearness(row: GuardrailView) -> float:
    assert row.log_e is not None
    return row.log_e - row.log_threshold


def _failed(arm: ArmView) -> str:
    return f"{count(arm.errors)} of {among(arm.n, 'request')} failed ({percent(arm.errors / arm.n)})"
