"""A rollout as people see it now."""

from __future__ import annotations

import math

from guardian.decisions import ArmView, GuardrailView, HindsightView, PropagationView, RolloutView
from guardian.evidence import Inconclusive, NoData
from guardian.explain import clean
from guardian.gates import waits
from guardian.history import RECENT_MS
from guardian.line_reading import configured_share, part_of_budget
from guardian.lines import is_literal
from guardian.listening import unheard
from guardian.names import Millis, iso, split_rollout_key
from guardian.numerals import duration, percent
from guardian.policy import Policy
from guardian.population import Cell, Cells
from guardian.progress import FRESH_MS
from guardian.rollout import Status
from guardian.rule_views import literal_rows, literal_why
from guardian.silence import EXPOSURES, OUTCOMES, PIPELINE, silences
from guardian.standing import Held, is_enough, p_value, standing
from guardian.state import RolloutState
from guardian.testimony import values_of
from guardian.verify import proofs

STALE_MS = FRESH_MS
SEGMENTS_SHOWN = 5
"""Segments of a variation that are shown, those nearest to doing something."""
MOSTLY = 0.5
"""So many outcomes come too late before somebody is told."""
SILENT = {
    EXPOSURES: "nobody has been exposed",
    OUTCOMES: "no outcome has come",
    PIPELINE: "nothing has been heard, neither of control",
}


def view(
    state: RolloutState, policy: Policy, now_ms: Millis, passed_ms: Millis, lag_ms: Millis, lag_max_ms: Millis,
    learned: tuple[PropagationView, ...] = (), note: str = "",
) -> RolloutView:  # fmt: skip
    """
    Return the rollout's view. It is made often: what readers can work out from it is left to them.

    ``learned`` is how fast its store has been, ``note`` what else people should know about its state.
    """
    notes = [note] if note else []
    if state.kept_ms:
        notes.append(f"what was before {iso(state.kept_ms)} is known no more")
    if state.strangers:
        notes.append(f"it has too many variations; left out are {', '.join(map(clean, state.strangers))} and maybe more")
    if ignored := unheard(state, policy):
        notes.append(f"what {', '.join(map(clean, ignored))} says of it does not count, as its policy names the topics that do")
    if (late := state.lag.late_part(lag_max_ms)) > MOSTLY:
        notes.append(
            f"{percent(late)} of its outcomes come later than the {duration(lag_max_ms)} that are waited for, so that little "
            "more than their failures is tested; is a clock wrong, or a topic late?"
        )
    environment, flag_key = split_rollout_key(state.key)
    tested = {*policy.variations, *state.variations, *state.courses} - {policy.control}
    names = [policy.control, *sorted(tested)]
    fresh = state.data_ms and now_ms - state.data_ms <= STALE_MS
    recent = {name: state.history.recent(now_ms - RECENT_MS, name) for name in names}
    return RolloutView(
        key=state.key, flag_key=flag_key, environment=environment, control=policy.control, owner=policy.owner,
        mode=policy.mode, status=str(state.status), stage=state.stage, stages=max(len(policy.stages), 1),
        share=policy.stages[state.stage].share if policy.stages else None,
        ring=(policy.stages[state.stage].users or "") if policy.stages else "",
        at=iso(now_ms), lag_ms=lag_ms, passed_ms=passed_ms,
        telemetry="fresh" if fresh else ("stale" if state.data_ms else "none"),
        arms=tuple(_arm(state, name, recent[name]) for name in names),
        guardrails=tuple(_guardrails(state, policy, recent, now_ms)), mixed_units=len(state.mixing.units),
        mixed_services=tuple(state.mixing.services), policy_hash=state.policy_hash, plan=state.lines.plan_values,
        last_decision=state.last_decision, explanation=state.explanation,
        waits=waits(state, policy, now_ms), approvals=_approvals(state, policy), hindsight=hindsight(state),
        proofs=proofs(state), propagation=learned, note="; ".join(notes),
    )  # fmt: skip


def hindsight(state: RolloutState) -> tuple[HindsightView, ...]:
    """Return what became of kills that were not carried out, the oldest first."""
    return tuple(
        HindsightView(
            decision_id=one.decision_id, variation=one.variation, guardrail=one.guardrail, segment=one.segment,
            seen=one.seen, decided_at=iso(one.at_ms), off_at=iso(one.off_ms) if one.is_off else "", by=one.by,
            starts=one.starts, failed=one.failed,
        )
        for one in state.hindsights
    )  # fmt: skip


def _approvals(state: RolloutState, policy: Policy) -> dict[str, str]:
    found: dict[str, str] = {}
    for course in state.courses.values():
        is_asked = course.status not in (Status.COMPLETED, Status.KILLED) and 0 <= course.stage < len(policy.stages)
        for group in policy.stages[course.stage].approval if is_asked else ():
            by = course.approved.get(group, "")
            found[group] = by and found.get(group, by)
    return found


def _arm(state: RolloutState, variation: str, recent: Cell) -> ArmView:
    epoch = state.population.now
    cell = epoch.arms.get(variation, Cell()) if epoch is not None else Cell()
    shown = epoch.shown_share(variation, state.population.by_exposures) if epoch is not None else None
    n, errors = cell.outcomes, min(cell.errors, cell.outcomes)
    course = state.courses.get(variation)
    return ArmView(
        variation=variation, share=shown, n=n, errors=errors, units=round(cell.first),
        rate=errors / n if n else None,
        recent_n=recent.outcomes, recent_errors=recent.errors,
        status=str(course.status) if course is not None else "", stage=max(course.stage, 0) if course is not None else None,
    )  # fmt: skip


def _guardrails(state: RolloutState, policy: Policy, recent: Cells, now_ms: Millis) -> list[GuardrailView]:
    """Return a row for each guardrail and variation; of its segments those that are nearest to doing something."""
    shown = []
    for variation in sorted(state.variations):
        rows = [(held, *_nearest(held)) for held in standing(state, policy, variation)]
        segments = [row for row in rows if row[0].segment]
        kept = sorted(segments, key=lambda row: row[1] - row[2], reverse=True)[:SEGMENTS_SHOWN] if segments else ()
        names = {held.name for held, _, _ in kept}
        for held, log_e, threshold in rows:
            if not held.segment or held.name in names:
                shown.append(_row(state, policy, variation, held, (log_e, threshold), recent))
    return [*shown, *literal_rows(state, policy), *_silences(state, policy, now_ms)]


def _nearest(held: Held) -> tuple[float, float]:
    if held.watch.fast is None:
        return held.watch.full.numbers()
    return max((lane.numbers() for lane in held.lanes), key=lambda numbers: numbers[0] - numbers[1])


def _row(
    state: RolloutState, policy: Policy, variation: str, held: Held, numbers: tuple[float, float], recent: Cells
) -> GuardrailView:
    (log_e, threshold), watch, when = numbers, held.watch, held.guardrail.when
    verdict = watch.verdict(is_enough(state, policy, variation, held))
    value, value_control = _values(state, policy, variation, held, recent)
    part = part_of_budget(state, state.lines, held.at, held.segment)
    literally = ""
    if is_literal(held.guardrail):
        literally = f"literally: {literal_why(state, held.guardrail, held.at, variation, held.segment)}"
    signal, estimates = when.signal, state.variations[variation].estimates
    ratio, difference = (estimates.ratio(), estimates.difference()) if held.line is None else (None, None)
    return GuardrailView(
        guardrail=when.text, variation=variation, action=str(held.guardrail.then),
        log_e=None if isinstance(verdict, NoData) else log_e,
        log_threshold=threshold if math.isfinite(threshold) else 0.0, segment=held.segment,
        p=p_value(state, held, part), value=value, value_control=value_control,
        interval=ratio, difference_interval=difference, kind=signal.kind, quantile=signal.quantile,
        why="; ".join(filter(None, (verdict.why if isinstance(verdict, NoData | Inconclusive) else "", literally))),
    )  # fmt: skip


def _values(
    state: RolloutState, policy: Policy, variation: str, held: Held, recent: Cells
) -> tuple[float | None, float | None]:
    """Return what the signal is of late, of the variation and of control."""
    if held.read is None or held.line is None:
        return _rate(recent[variation]), _rate(recent[policy.control])
    value, value_control = values_of(held, held.read.past.t, held.read.past.c)
    return value, configured_share(state, variation) if held.line.kind == "fresh" else value_control


def _rate(cell: Cell) -> float | None:
    return min(cell.errors, cell.outcomes) / cell.outcomes if cell.outcomes else None


def _silences(state: RolloutState, policy: Policy, now_ms: Millis) -> list[GuardrailView]:
    return [
        GuardrailView(
            guardrail=policy.guardrails[silent.at].when.text, variation=silent.variation,
            action=str(policy.guardrails[silent.at].then), log_e=None, log_threshold=0.0, kind="no_data",
            why=f"{SILENT[silent.kind]} since {iso(silent.since_ms)}",
        )
        for silent in silences(state, policy, now_ms)
    ]  # fmt: skip
