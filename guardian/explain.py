"""
The sentences that chat, audit, command line and page share: the same numbers always read the same.

Every function returns one line without a line break. Proportions are shown in percent, counts with
thousands separators, durations and latencies with their unit. Names are shown as given.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from guardian.decisions import Action, ArmView, Decision, Evidence, GuardrailView, Receipt, RolloutView
from guardian.measured import is_proportion, measured, unmeasured, window
from guardian.numerals import among, count, duration, one_in, percent, times

Mode = Literal["enforce", "shadow"]

_DONE: dict[str, tuple[str, str]] = {
    "kill": ("Killed {it}", "Would have killed {it}"),
    "kill_flag": ("Killed the whole flag {it}", "Would have killed the whole flag {it}"),
    "pause": ("Paused {it}", "Would have paused {it}"),
    "hold": ("Held {it} at its share", "Would have held {it} at its share"),
    "alert": ("Raised an alert on {it}", "Would have raised an alert on {it}"),
    "step_back": ("Stepped {it} back", "Would have stepped {it} back"),
    "advance": ("Advanced {it}", "Would have advanced {it}"),
    "resume": ("Resumed {it}", "Would have resumed {it}"),
    "complete": ("Completed {it}", "Would have completed {it}"),
}
_NOUN = {"kill_flag": "kill", "step_back": "step back", "complete": "completion"}
_WITH_SHARE = frozenset({"advance", "step_back", "resume"})
_STANDING_STILL = frozenset({"planned", "paused", "completed"})
_AGAINST = frozenset({"kill", "kill_flag", "pause", "hold", "alert", "step_back"})


def explain(
    action: Action,
    flag_key: str,
    variation: str,
    environment: str,
    control: str,
    evidence: Evidence | None,
    *,
    mode: Mode,
    guardrail: str,
    budget: float,
    reason: str = "",
    share: float | None = None,
) -> str:
    """
    Return what was done (or, in shadow mode, would have been) and why, in one sentence.

    *budget* is the expected number of false alarms that this verdict was allowed, 0 where no chance is
    bounded (a person's wish, a literal rule). *reason* is what there is to say besides the numbers: who
    asked and why, which stage. *share* in [0, 1] is what the variation was moved to.
    """
    said = _DONE[action][mode == "shadow"].format(it=_subject(action, flag_key, variation, environment))
    if share is not None and action in _WITH_SHARE:
        said += f" to {percent(share, exact=True)}"
    clauses = [
        measured(evidence, guardrail, control) if evidence is not None else unmeasured(guardrail),
        _clean(reason),
        _allowed(action, guardrail, budget) if evidence is not None else "",
    ]
    return _sentence(said, "; ".join(clause for clause in clauses if clause))


def explain_receipt(receipt: Receipt, decision: Decision | None = None) -> str:
    """Return what became of a decision, in one sentence; with the *decision*, also how long after it."""
    noun = _NOUN.get(receipt.action, receipt.action)
    what = f"The {noun} of {_subject(receipt.action, receipt.flag_key, receipt.variant, receipt.environment)}"
    store = _clean(receipt.store) or "the flag store"
    after = _after(receipt, decision)
    version = f" as version {receipt.version}" if receipt.version else ""
    version += "," if version and after else ""
    said = {
        "applied": f"was applied by {store}{version}{after}",
        "already": f"was already in place in {store}",
        "failed": f"failed in {store} after {among(receipt.attempts, 'attempt')}",
        "conflict": f"was not applied by {store}, as another change stands against it",
        "shadow": f"was not sent to {store}, as its policy is in shadow mode",
        "expired": f"expired before {store} could apply it",
        "effective": f"was seen to have taken effect{after}",
        "not_effective": f"has not taken effect{after}, exposures are still seen",
    }[receipt.status]
    silent = receipt.status in ("applied", "already", "shadow")
    return _sentence(f"{what} {said}", "" if silent else _clean(receipt.detail))


def explain_mixed(flag_key: str, environment: str, units: int, services: tuple[str, ...]) -> str:
    """Return that services disagree on a flag: the same units were shown two variations of it."""
    seen = f"{among(units, 'unit')} of {flag_key} in {environment} saw two variations"
    if not services:
        return _sentence(seen, "")
    *others, last = sorted(map(_clean, services))
    through = f"{', '.join(others)} and {last}" if others else last
    return _sentence(f"{seen}, shown by {through}", "")


def why_not(view: RolloutView) -> str:
    """Return why nothing has happened to a rollout yet: the evidence so far, and what is missing."""
    name = f"{view.flag_key} in {view.environment}"
    if view.status == "killed":
        return _sentence(f"{name} is killed", _clean(view.explanation))
    if view.status in _STANDING_STILL:
        return _sentence(f"{name} is {view.status}", _clean(view.explanation))
    if not any(arm.n for arm in view.arms):
        return _sentence(f"Nothing has happened to {name}, as no telemetry of it was read yet", "")
    known = [row for row in view.guardrails if row.log_e is not None]
    silent = [row for row in view.guardrails if row.log_e is None]
    clauses = []
    if known:
        clauses.append(_standing(max(known, key=_nearness), view))
    elif not view.guardrails:
        clauses.append("its policy has no guardrail that compares anything")
    if silent:
        names = ", ".join(f"“{row.guardrail}” on {row.variation}" for row in silent)
        clauses.append(f"there is nothing yet to judge {names} by")
    if view.telemetry != "fresh":
        clauses.append(f"telemetry is {view.telemetry}, which is no good news")
    if view.mode == "shadow":
        clauses.append("and in shadow mode a verdict would only be told")
    return _sentence(f"Nothing has happened to {name}", "; ".join(clauses))


def _subject(action: str, flag_key: str, variation: str, environment: str) -> str:
    if action == "kill_flag":
        because = f" because of {variation}" if variation else ""
        return _clean(f"{flag_key} in {environment}{because}")
    return _clean(f"{flag_key}/{variation} in {environment}" if variation else f"{flag_key} in {environment}")


def _allowed(action: Action, guardrail: str, budget: float) -> str:
    noun = _NOUN.get(action, action)
    if budget > 0.0:
        false = "false" if action in _AGAINST else "wrong"
        return f"the chance of this {noun} being {false} was allowed {one_in(budget)}"
    if action in _AGAINST and window(guardrail) and not guardrail.startswith("no_data"):
        return f"the rule is literal, so the chance of this {noun} being false is not bounded"
    return ""


def _standing(row: GuardrailView, view: RolloutView) -> str:
    assert row.log_e is not None
    said = f"“{row.guardrail}” on {row.variation} is nearest to its {_NOUN.get(row.action, row.action)}"
    if row.log_threshold <= 0.0:
        return f"{said}, and has been given no budget yet"
    if row.log_e <= 0.0:
        return f"{said}, and what was read so far speaks for no harm"
    said += f", with evidence of {times(row.log_e)} out of {times(row.log_threshold)}"
    arms = {arm.variation: arm for arm in view.arms}
    ours, theirs = arms.get(row.variation), arms.get(view.control)
    if ours is None or not ours.n or not is_proportion(row.guardrail.partition(" ")[0]):
        return said
    said += f": {_failed(ours)}"
    return f"{said} against {_failed(theirs)} in {view.control}" if theirs is not None and theirs.n else said


def _nearness(row: GuardrailView) -> float:
    assert row.log_e is not None
    return row.log_e - row.log_threshold


def _failed(arm: ArmView) -> str:
    return f"{count(arm.errors)} of {among(arm.n, 'request')} failed ({percent(arm.errors / arm.n)})"


def _after(receipt: Receipt, decision: Decision | None) -> str:
    if decision is None:
        return ""
    passed = datetime.fromisoformat(receipt.at) - datetime.fromisoformat(decision.decided_at)
    return f" {duration(max(passed.total_seconds() * 1000, 0.0))} after it was decided"


def _clean(text: str) -> str:
    """What people wrote, on one line and without its full stop."""
    return " ".join(text.split()).rstrip(".;: ")


def _sentence(said: str, why: str) -> str:
    # Names may hold anything, line breaks too; a sentence stays on its line.
    return " ".join(f"{said}: {why}".split()).rstrip(".;: ") + "."
