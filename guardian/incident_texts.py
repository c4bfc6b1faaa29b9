"""
What people read of an incident: a few words, one sentence, and the report in Markdown when it is over.

Everything is told from the incident's own record, so that it reads the same whoever tells it and whenever. Where the record
does not know something, the report says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from guardian.decisions import Evidence, Refusal, WithFlag
from guardian.explain import NOUN, clean, rests_on, sentence, shared_with
from guardian.incidents import Incident, Moment, seconds_of
from guardian.measured import FAILING, amount, differs, watched
from guardian.numerals import among, count, duration, percent

_DONE = {
    "kill": "killed",
    "kill_flag": "killed with its flag",
    "pause": "paused",
    "hold": "held",
    "step_back": "stepped back",
    "advance": "advanced",
    "resume": "resumed",
    "complete": "completed",
    "alert": "gives an alert",
}
_ACTED = frozenset({"decided", "applied", "already", "arrived", "failed", "conflict", "expired", "superseded"})
_BECAME = {"not_effective": "not effective", "expired": "expired", "arrived": "carried out late"}


def title_of(environment: str, flag_key: str, variation: str, action: str, status: str) -> str:
    """Return a few words: ``checkout-v2/treatment killed in production``; *status* as that of ``News``."""
    if action == "refusal":
        return clean(f"Not signed: a record of {variation}")
    what = f"{flag_key}/{variation}" if variation else flag_key
    if status == "decided":
        return clean(f"{what} {_DONE.get(action, action)} in {environment}")
    return clean(f"{action.replace('_', ' ')} of {what} in {environment}: {_BECAME.get(status, status)}")


def status_text(known: Incident, now_s: float) -> str:
    """Return that it is still open, for how long, and how it stands, in one sentence."""
    last = known.moments[-1]
    open_for = duration((now_s - seconds_of(known.opened_at)) * 1_000.0)
    said = f"Still open after {open_for}: {known.title}"
    return sentence(said, "" if len(known.moments) == 1 else clean(last.text))


def status_body(known: Incident, now_s: float) -> str:
    """Return the status in Markdown: the sentence, what happened so far, what ends it."""
    lines = [f"**{escaped(status_text(known, now_s))}**", "", *_timeline(known), "", _what_ends(known)]
    return "\n".join(lines) + "\n"


def resolved_text(known: Incident) -> str:
    """Return that it is over, after how long, and by whom, in one sentence."""
    return sentence(f"Over after {_lasted(known)}: {known.title}", clean(known.closed_by))


def report(known: Incident) -> str:
    """Return the report in Markdown: timeline, evidence, users affected, what was done, open questions."""
    parts = [
        f"# Incident: {escaped(known.title)}",
        "\n".join(_facts(known)),
        "## Timeline",
        "\n".join(_timeline(known)),
        "## Evidence",
        "\n".join(_evidence(known)),
        "## Users affected",
        "\n".join(_users(known)),
        "## What was done",
        "\n".join(_actions(known)),
        "## Open questions",
        "\n".join(f"- {question}" for question in _questions(known)),
    ]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return what people or events have written so that Markdown and HTML show it as it is, on one line."""
    line = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in line)


def _facts(known: Incident) -> Iterator[str]:
    yield f"- From {_clock(known.opened_at)} to {_clock(known.closed_at)}: {_lasted(known)}"
    if known.flag_key:
        yield f"- Flag {escaped(known.flag_key)}, variation {escaped(known.variation) or 'all'}, in {escaped(known.environment)}"
        yield f"- Owner: {escaped(known.owner) or 'nobody, as its policy names none'}"
    if known.decision is not None:
        yield f"- Decision {escaped(known.decision.decision_id)}, under policy {escaped(known.decision.policy_hash)}"
    yield f"- Told by: {', '.join(map(escaped, known.channels)) or 'no channel'}"


def _timeline(known: Incident) -> Iterator[str]:
    yield "| time (UTC) | what happened |"
    yield "|---|---|"
    for moment in known.moments:
        yield f"| {_clock(moment.at)} | {escaped(moment.text)} |"


def _evidence(known: Incident) -> Iterator[str]:
    decision = known.decision
    if decision is None:
        yield "The decision that this is about was not seen: it was made before what is told here, or is nobody's."
        return
    evidence = decision.evidence
    if evidence is None:
        yield "None: a person wanted it, or nothing was measured. Its own words are in the timeline."
        return
    what = watched(decision.guardrail)
    yield f"Guardrail: {escaped(decision.guardrail)}" + (f", in {escaped(evidence.segment)}" if evidence.segment else "")
    yield ""
    yield f"| | {escaped(decision.variant) or 'variation'} | {escaped(decision.control)} |"
    yield "|---|---|---|"
    yield f"| counted | {count(evidence.n)} | {count(evidence.n_control) if evidence.n_control else '–'} |"
    if what.kind in FAILING:
        bad = count(evidence.events_control) if evidence.n_control else "–"
        yield f"| of these, bad | {count(evidence.events)} | {bad} |"
    theirs = "–" if evidence.value_control is None else amount(evidence.value_control, what)
    yield f"| {escaped(what.name)} | {amount(evidence.value, what)} | {theirs} |"
    yield ""
    yield from (f"- {line}" for line in _numbers(evidence, decision.guardrail, decision.evidence_from, decision.evidence_to))


def _numbers(evidence: Evidence, guardrail: str, begun: str, ended: str) -> Iterator[str]:
    yield f"Measured from {_clock(begun)} to {_clock(ended)}"
    if said := differs(evidence.interval, evidence.difference_interval, watched(guardrail)):
        yield f"Against control, with 95 % at every moment: {said}"
    if evidence.bound is not None:
        yield f"Bound: {amount(evidence.bound, watched(guardrail))}"
    enough = f"{evidence.log_threshold:.2f} was needed"
    yield f"Evidence {evidence.log_e:.2f} where {enough} (natural logarithms; test {evidence.test})"
    if evidence.p is not None:
        yield f"Anytime p-value: {evidence.p:.2g}"
    if said := rests_on(evidence):
        yield escaped(said)


def _users(known: Incident) -> Iterator[str]:
    decision = known.decision
    evidence = decision.evidence if decision is not None else None
    if decision is None or evidence is None:
        yield "Not known: there is no evidence that would have counted them."
        return
    if evidence.units:
        until = _clock(decision.evidence_to)
        yield f"- {among(evidence.units, 'user')} (or other units that the flag is decided for) failed under it until {until}."
    else:
        yield "- How many distinct users were harmed is not known: this guardrail counts no users that failed."
    yield f"- {among(evidence.n, 'observation')} of it were counted by then" + (
        f", {count(evidence.events)} of them bad ({percent(evidence.events / evidence.n)})."
        if evidence.events and evidence.n
        else "."
    )
    yield "- Not counted here: who saw it without failing, and whoever came between the last evidence and the end of its traffic."


def _actions(known: Incident) -> Iterator[str]:
    for moment in known.moments:
        if moment.status in _ACTED and moment.text != known.closed_by:
            yield f"- {_clock(moment.at)}: {NOUN.get(moment.action, moment.action)} {_BECAME.get(moment.status, moment.status)}"
    yield f"- {_clock(known.closed_at)}: {escaped(known.closed_by)}"


def _questions(known: Incident) -> Iterator[str]:
    if isinstance(known.opened_by, Refusal):
        yield "Who wrote these records, and with whose rights? Nothing came for a day; that does not say who it was."
        return
    yield "What is the cause? The evidence says that the variation did harm beside control, not why."
    yield from _effect(known.moments)
    decision = known.decision
    if decision is not None and decision.evidence is None:
        yield "What did the person see who wanted it, and which guardrail would have?"
    if decision is not None and decision.evidence is not None:
        for found in decision.evidence.company:
            if _is_open(found):
                yield f"Another flag: {escaped(shared_with(found, decision.variant, decision.control))}."
    yield "Is it mended? Evidence begins anew with the resume; it does not remember this incident."


def _effect(moments: tuple[Moment, ...]) -> Iterator[str]:
    statuses = {moment.status for moment in moments}
    if "effective" not in statuses:
        yield "Did the kill reach every service? It was not seen that exposures ended before this was over."
    for moment in moments:
        if moment.status == "not_effective":
            yield f"Which service went on serving it? {escaped(moment.text)}"
            break
    if statuses & {"waiting", "failed", "conflict", "expired"}:
        yield "Why did the flag store not do as it was asked at once?"


def _is_open(found: WithFlag) -> bool:
    return found.verdict in ("open", "inseparable", "together")


def _what_ends(known: Incident) -> str:
    if isinstance(known.opened_by, Refusal):
        return "It is over when no such record has come for a day."
    return "It is over when a person resumes the variation, or archives the flag."


def _lasted(known: Incident) -> str:
    return duration((seconds_of(known.closed_at) - seconds_of(known.opened_at)) * 1_000.0)


def _clock(at: str) -> str:
    """Return a time as people read it in a report: to the second, in UTC."""
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else "(not over)"
