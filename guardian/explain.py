"""
The sentences that chat, audit, command line and page share: the same numbers always read the same.

Every function returns one line without a line break. Proportions are shown in percent, counts with
thousands separators, durations and latencies with their unit. Names are shown as given.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

from guardian.decisions import Action, Decision, Evidence, Receipt, WithFlag
from guardian.measured import LITERAL, Watched, measured, unmeasured, window
from guardian.names import Millis
from guardian.numerals import among, count, duration, one_in, percent

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
NOUN = {"kill_flag": "kill", "step_back": "step back", "complete": "completion"}
_WITH_SHARE = frozenset({"advance", "step_back", "resume"})
_AGAINST = frozenset({"kill", "kill_flag", "pause", "hold", "alert", "step_back"})

NOTABLE = 0.1
"""The share of the evidence from which a guardrail is named as a part of it."""


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
    rings: Mapping[str, float] = MappingProxyType({}),
    since_ms: Millis | None = None,
    what: Watched | None = None,
) -> str:
    """
    Return what was done (or, in shadow mode, would have been) and why, in one sentence.

    *budget* is the expected number of false alarms that this verdict was allowed, 0 where no chance is
    bounded (a person's wish, a literal rule). *reason* is what there is to say besides the numbers: who
    asked and why, which stage. *share* in [0, 1] is what the variation was moved to, *rings* what it was of each ring
    that gets more. *since_ms* is when
    what was measured began, where that lies before the verdict; it is told in UTC. *what* is what the
    guardrail watches, where its text alone does not tell (a declared signal).
    """
    said = _DONE[action][mode == "shadow"].format(it=_subject(action, flag_key, variation, environment))
    if share is not None and action in _WITH_SHARE:
        said += f" to {shares_text(share, rings)}"
    if evidence is not None and evidence.segment:
        said += f"{' in' if action == 'kill_flag' and variation else ' because of'} {clean(evidence.segment)}"
    clauses = [
        _found(evidence, guardrail, control, variation, since_ms, what),
        clean(reason),
        _allowed(action, evidence, budget) if evidence is not None else "",
    ]
    return sentence(said, "; ".join(clause for clause in clauses if clause))


def shares_text(share: float, rings: Mapping[str, float]) -> str:
    """Return shares as people say them: ``5 %``, ``100 % of employees``, ``5 % and 100 % of employees``."""
    said = [percent(share, exact=True)] if share or not rings else []
    return " and ".join([*said, *(f"{percent(part, exact=True)} of {clean(ring)}" for ring, part in rings.items())])


def _found(
    evidence: Evidence | None, guardrail: str, control: str, variation: str, since_ms: Millis | None, what: Watched | None
) -> str:
    if evidence is None:
        return unmeasured(guardrail)
    said = measured(evidence, guardrail, control, variation=variation, what=what)
    # A window says itself since when.
    if since_ms is None or window(guardrail, evidence):
        return said
    return f"{said}, since {datetime.fromtimestamp(since_ms / 1_000, UTC):%H:%M:%S}"


def rests_on(evidence: Evidence) -> str:
    """
    Return which guardrails a verdict rests on and whether one alone would have done, in one sentence.

    Nothing where a single one carries it: then the decision itself names it.
    """
    parts = [part for part in evidence.parts if part.share >= NOTABLE]
    if len(parts) < 2:
        return ""
    first, *others = parts
    said = [f"{_whole(first.share)} of the evidence is from {quoted(first.guardrail, first.segment)}"]
    said += [f"{_whole(part.share)} from {quoted(part.guardrail, part.segment)}" for part in others]
    alone = [part for part in parts if part.on_its_own]
    if len(alone) == len(parts):
        enough = "each would have been enough alone"
    elif alone:
        names = " and ".join(quoted(part.guardrail, part.segment) for part in alone)
        enough = f"only {names} would have been enough alone"
    else:
        enough = "none would have been enough alone"
    return sentence(f"{', '.join(said)}; {enough}", "")


def _whole(share: float) -> str:
    return percent(round(share, 2), exact=True)


def shared_with(found: WithFlag, variation: str, control: str) -> str:
    """Return what another flag has to do with a harm of *variation*, as a clause."""
    name = clean(f"flag {found.flag}={found.variation}")
    errors, starts = found.events + found.events_without, found.n + found.n_without
    without = _rates(variation, control, found)
    said = {
        "explains": f"explained by {name}: {count(found.events)} of {among(errors, 'error')} ran under it, {without}",
        "open": f"{name} may be behind it, which nothing told within a second",
        "inseparable": f"it cannot be told apart from {name}, under which {count(found.n)} of {among(starts, 'request')} ran",
        "together": f"it shows only together with {name}, {without}; the end of either would be the end of it",
        "besides": f"{name} does harm, too",
        "not_behind": f"{name} is not behind it, as {variation} fails more among requests that are alike in that",
    }
    return said[found.verdict]


def _rates(variation: str, control: str, found: WithFlag) -> str:
    if not found.n_without:
        return f"and {variation} never ran without it"
    said = f"and without it {variation} fails at {percent(found.events_without / found.n_without)}"
    if not found.n_control_without:
        return said
    return f"{said} against {percent(found.events_control_without / found.n_control_without)} in {control}"


def explain_receipt(receipt: Receipt, decision: Decision | None = None) -> str:
    """Return what became of a decision, in one sentence; with the *decision*, also how long after it."""
    noun = NOUN.get(receipt.action, receipt.action)
    what = f"The {noun} of {_subject(receipt.action, receipt.flag_key, receipt.variant, receipt.environment)}"
    store = clean(receipt.store) or "the flag store"
    after = _after(receipt, decision)
    version = f" as version {receipt.version}" if receipt.version else ""
    version += "," if version and after else ""
    said = {
        "applied": f"was applied by {store}{version}{after}",
        "already": f"was already in place in {store}",
        "failed": f"failed in {store} after {among(receipt.attempts, 'attempt')}",
        "conflict": f"was not applied by {store}, as another change stands against it",
        "superseded": f"was not applied by {store}, as a later decision stands",
        "waiting": f"still waits for {store}, after {among(receipt.attempts, 'attempt')}, and is tried until it is done",
        "shadow": f"was not sent to {store}, as its policy is in shadow mode",
        "expired": f"expired before {store} could apply it",
        "effective": f"was seen to have taken effect{after}",
        "not_effective": f"has not taken effect{after}, exposures are still seen",
    }[receipt.status]
    silent = receipt.status in ("applied", "already", "shadow")
    return sentence(f"{what} {said}", "" if silent else clean(receipt.detail))


def explain_mixed(flag_key: str, environment: str, units: int, services: tuple[str, ...]) -> str:
    """Return that services disagree on a flag: the same units were shown two variations of it."""
    seen = f"{among(units, 'unit')} of {flag_key} in {environment} saw two variations"
    if not services:
        return sentence(seen, "")
    *others, last = sorted(map(clean, services))
    through = f"{', '.join(others)} and {last}" if others else last
    return sentence(f"{seen}, shown by {through}", "")


def _subject(action: str, flag_key: str, variation: str, environment: str) -> str:
    if action == "kill_flag":
        because = f" because of {variation}" if variation else ""
        return clean(f"{flag_key} in {environment}{because}")
    return clean(f"{flag_key}/{variation} in {environment}" if variation else f"{flag_key} in {environment}")


def _allowed(action: Action, evidence: Evidence, budget: float) -> str:
    noun = NOUN.get(action, action)
    if budget > 0.0:
        false = "false" if action in _AGAINST else "wrong"
        return f"the chance of this {noun} being {false} was allowed {one_in(budget)}"
    if action in _AGAINST and evidence.test == LITERAL:
        return f"the rule is literal, so the chance of this {noun} being false is not bounded"
    return ""


def _after(receipt: Receipt, decision: Decision | None) -> str:
    if decision is None:
        return ""
    passed = datetime.fromisoformat(receipt.at) - datetime.fromisoformat(decision.decided_at)
    return f" {duration(max(passed.total_seconds() * 1000, 0.0))} after it was decided"


def quoted(guardrail: str, segment: str) -> str:
    """A guardrail as it was written, with the part of the traffic that it was tested in."""
    return f"“{guardrail}”{f' in {segment}' if segment else ''}"


def clean(text: str) -> str:
    """What people wrote, on one line and without its full stop."""
    return " ".join(text.split()).rstrip(".;: ")


def sentence(said: str, why: str) -> str:
    """What is said, and why, as one line that ends in a full stop."""
    # Names may hold anything, line breaks too; a sentence stays on its line.
    return " ".join(f"{said}: {why}".split()).rstrip(".;: ") + "."
