from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import Refusal, WithFlag
from guardian.incident_texts import escaped, report, resolved_text, status_body, status_text
from guardian.incidents import (
    KEPT_S,
    MOMENTS,
    OPENS_WITHIN_S,
    REFUSAL_QUIET_S,
    TOLD,
    Due,
    Incident,
    News,
    Schedule,
    done,
    due,
    end,
    ends_by_itself,
    heard,
    is_forgotten,
    newer,
    seconds_of,
    take,
)
from streams.alerts.messages import of_decision, of_receipt, of_refusal
from tests.support.published import decision, evidence, receipt, rfc3339

BEGAN_MS = 1_764_000_000_000
BEGAN_S = BEGAN_MS / 1_000
SEEDS = Schedule(900.0, 3600.0)
GOLDEN = Path(__file__).parents[1] / "data" / "incident-report.md"


def kill(number: int = 17, after_s: float = 0.0, **more) -> News:
    return replace(of_decision(decision(number, at_ms=BEGAN_MS + int(after_s * 1000), **more)), pages=True)


def became(status: str, after_s: float, **more) -> News:
    return of_receipt(receipt(decision(at_ms=BEGAN_MS), status, after_ms=int(after_s * 1000), **more), None)


def resumed(after_s: float, **more) -> News:
    text = "Resumed checkout-v2/treatment in production: ada: build 81 mends the empty cart."
    return of_decision(decision(18, at_ms=BEGAN_MS + int(after_s * 1000), action="resume", explanation=text, **more))


def opened(*news: News) -> Incident:
    known = take(None, kill(), BEGAN_S)
    assert known is not None
    for one in news:
        known = take(known, one, BEGAN_S)
        assert known is not None
    return known


def over(known: Incident, after_s: float) -> Incident:
    news = resumed(after_s)
    joined = take(known, news, BEGAN_S + after_s)
    assert joined is not None
    return end(joined, news.at, news.text)


# ---------------------------------------------------------------------------- what opens, joins and ends


def test_what_pages_opens_one_and_what_follows_joins_it():
    """
    A kill opens an incident, its receipts join the same one, and the same news twice change nothing.
    """
    known = opened(became("applied", 0.041), became("effective", 5.0))

    assert "production|checkout-v2|treatment" == known.incident
    assert ["decided", "applied", "effective"] == [moment.status for moment in known.moments]
    assert known is take(known, became("effective", 5.0), BEGAN_S + 5)


def test_what_does_not_page_opens_none():
    """
    What wakes nobody opens no incident; nor does what wakes somebody about a day that is long past.
    """
    assert take(None, replace(kill(), pages=False), BEGAN_S) is None
    assert take(None, kill(), BEGAN_S + OPENS_WITHIN_S + 1) is None
    assert take(None, kill(), BEGAN_S + OPENS_WITHIN_S - 1) is not None


def test_a_receipt_before_its_decision_opens_the_same():
    """
    Where the failed receipt is read before the kill, the kill joins, and its numbers are the incident's.
    """
    first = take(None, replace(became("failed", 1.0), pages=True), BEGAN_S + 1)
    assert first is not None
    known = take(first, kill(), BEGAN_S + 1)

    assert known is not None
    assert ("production|checkout-v2|treatment", "production|checkout-v2|treatment|17") == (
        known.incident, known.decision.decision_id if known.decision else "",
    )  # fmt: skip


def test_what_was_before_the_end_opens_nothing_anew():
    """
    News from before the end, read after it, open nothing; a new kill does, and forgets what the old one had been told.
    """
    known = over(heard(opened(), "decision:x", "pagerduty"), 600.0)

    assert known.is_open is False
    assert take(known, replace(became("not_effective", 599.0), pages=True), BEGAN_S + 700) is None
    assert known is take(known, kill(), BEGAN_S + 700)
    again = take(known, kill(19, after_s=650.0), BEGAN_S + 700)
    assert again is not None
    assert again.is_open and again.told == {} and again.revision > known.revision


@pytest.mark.parametrize(
    ("variation", "incident", "concerns"),
    [("treatment", "treatment", True), ("blue", "treatment", False), ("", "treatment", True), ("blue", "", True)],
)
def test_whom_a_resume_concerns(variation, incident, concerns):
    """
    A resume ends the incident of its variation; of a whole flag, all of the flag's; and any of them that of the flag.
    """
    known = opened().model_copy(update={"variation": incident})

    assert concerns is resumed(1.0, variant=variation).concerns(known)
    assert not resumed(1.0, variant=variation, flag="new-cart").concerns(known)


def test_only_a_person_ends_it():
    """
    A resume that is meant ends an incident; one of shadow mode does not, nor does any other decision or receipt.
    """
    assert resumed(1.0).ends
    assert not resumed(1.0, mode="shadow").ends
    assert not became("applied", 1.0, action="resume").ends
    assert not any(kill(action=action).ends for action in ("kill", "pause", "advance", "complete", "hold"))


def test_refused_records_end_when_they_stop():
    """
    Nobody can resume what somebody else wrote: it is over a day after the last of it; nothing else ends by itself.
    """
    refusal = Refusal(topic="guardian.decisions.v1", partition=0, offset=7, reason="it is not signed")
    known = take(None, replace(of_refusal(refusal, rfc3339(BEGAN_MS)), pages=True), BEGAN_S)

    assert known is not None
    assert not ends_by_itself(known, BEGAN_S + REFUSAL_QUIET_S)
    assert ends_by_itself(known, BEGAN_S + REFUSAL_QUIET_S + 1)
    assert not ends_by_itself(opened(), BEGAN_S + REFUSAL_QUIET_S + 1)


def test_what_is_kept_is_bounded():
    """
    However much is told of one incident, its record holds so many moments and notices; what opened it stays the first.
    """
    known = opened()
    for number in range(700):
        known = take(known, kill(100 + number, after_s=number), BEGAN_S) or known
        known = heard(known, f"decision:{number}", "slack")

    assert (MOMENTS, TOLD) == (len(known.moments), len(known.told))
    assert "decision:production|checkout-v2|treatment|17" == known.moments[0].id
    assert len(known.model_dump_json()) < 300_000


# ---------------------------------------------------------------------------- the schedule


@pytest.mark.parametrize(
    ("minutes", "number"),
    [(0, None), (14.9, None), (15, 0), (59.9, 0), (60, 1), (119, 1), (120, 2), (60 * 24, 24)],
)
def test_when_a_status_is_due(minutes, number):
    """
    Stakeholders hear of it after 15 minutes, and from then on every full hour, for as long as it is open.
    """
    found = due(opened(), SEEDS, BEGAN_S + minutes * 60)

    assert number == (found.number if found else None)


@given(st.lists(st.integers(0, 3 * 86_400), max_size=40), st.integers(60, 7_200), st.integers(60, 7_200))
def test_each_status_is_told_once_and_none_is_missed(looks, after_s, every_s):
    """
    Whenever one looks, no status is due twice, each has its own identity, and of those that are past the last is due.
    """
    known, seen = opened(), []
    for at_s in sorted(looks):
        found = due(known, Schedule(after_s, every_s), BEGAN_S + at_s)
        if found is not None:
            seen.append(found)
            known = done(known, found, ())
        assert due(known, Schedule(after_s, every_s), BEGAN_S + at_s) is None

    assert len({one.notice_id for one in seen}) == len(seen)
    assert [one.number for one in seen] == sorted({one.number for one in seen})
    assert bool(seen) == any(at_s >= after_s for at_s in looks)


def test_its_end_and_then_its_report_are_due():
    """
    When it is over its end is due, then its report, then nothing; no status any more.
    """
    known, order = over(opened(), 7_000.0), []
    while (found := due(known, SEEDS, BEGAN_S + 90_000)) is not None:
        order.append(found.kind)
        known = done(known, found, ())

    assert ["resolved", "report"] == order
    assert not is_forgotten(known, BEGAN_S + 7_000 + KEPT_S)
    assert is_forgotten(known, BEGAN_S + 7_001 + KEPT_S)


def test_who_hears_of_it_late_hears_that_it_is_over():
    """
    A channel that takes the page only after the end (it was down) is told of the end, though that was told to all others.
    """
    known = over(heard(opened(), "decision:1", "webhook"), 60.0)
    ended = Due("resolved", f"resolved:{known.incident}:{known.opened_at}")
    known = done(heard(known, ended.notice_id, "webhook"), ended, ("webhook",))
    assert known.is_resolved_told

    known = heard(known, "decision:1", "pagerduty")
    found = due(known, SEEDS, BEGAN_S + 61)

    assert found == ended
    assert not done(heard(known, "receipt:2", "slack"), ended, ("webhook", "pagerduty")).is_resolved_told
    assert done(known, ended, ("webhook", "pagerduty")).is_resolved_told


def test_what_was_due_of_an_earlier_one_changes_nothing():
    """
    What is told at last of an incident that was opened anew meanwhile does not count for the new one.
    """
    known = over(opened(), 60.0)
    old = due(known, SEEDS, BEGAN_S + 61)
    again = take(known, kill(19, after_s=90.0), BEGAN_S + 90)

    assert old is not None
    assert again is not None
    assert again is done(again, old, ())


def test_the_record_of_the_higher_revision_counts():
    """
    Of two records of one incident the one with more changes counts, whichever was written last.
    """
    older, later = opened(), opened(became("applied", 0.041))

    assert later == newer(later, older) == newer(older, later) == newer(None, later)


def test_a_record_survives_the_wire():
    """
    What is read back is what was written, whatever opened it.
    """
    refusal = Refusal(topic="guardian.decisions.v1", partition=0, offset=7, reason="it is not signed")
    by_refusal = take(None, replace(of_refusal(refusal, rfc3339(BEGAN_MS)), pages=True), BEGAN_S)
    by_receipt = take(None, replace(became("failed", 1.0), pages=True), BEGAN_S)

    for known in (opened(became("applied", 0.041)), by_refusal, by_receipt):
        assert known is not None
        read = Incident.model_validate_json(known.model_dump_json())
        assert known == read and type(known.opened_by) is type(read.opened_by)


# ---------------------------------------------------------------------------- what people read


def told() -> Incident:
    company = WithFlag(
        flag="new-cart", variation="on", verdict="open", n=20, events=2, n_control=200, events_control=2, n_without=292,
        events_without=29, n_control_without=2590, events_control_without=25, log_e=0.5, log_e_own=6.0,
    )  # fmt: skip
    known = take(None, kill(evidence=evidence(p=0.0004, company=(company,))), BEGAN_S)
    assert known is not None
    for news in (became("applied", 0.041), became("not_effective", 9.0, detail="41 exposures from cart-api | *all* <b>")):
        known = take(known, news, BEGAN_S) or known
    known = heard(known, "decision:1", "pagerduty")
    return over(known, 3_720.0)


def test_the_report_reads_like_this():
    """
    The report says when, what, on which numbers, how many users, what was done, and what is not known.
    """
    assert GOLDEN.read_text() == report(told())


def test_the_report_says_what_it_does_not_know():
    """
    Without evidence it makes up neither numbers nor users; without a sight of the effect it asks.
    """
    known = take(None, kill(evidence=None, guardrail="", explanation="Killed it: ada: forty calls."), BEGAN_S)
    assert known is not None
    text = report(over(known, 60.0))

    assert "Not known: there is no evidence that would have counted them." in text
    assert "None: a person wanted it" in text
    assert "Did the kill reach every service?" in text


@given(st.text(max_size=300))
def test_what_people_write_stays_on_its_line_and_is_no_markup(words):
    """
    Names and reasons end neither the line nor the table that they stand in, and make no links or tags.
    """
    shown = escaped(words)
    bare = shown.replace("\\\\", "")

    assert "\n" not in shown
    for sign in "|<>[]`*#":
        assert bare.count(sign) == bare.count(f"\\{sign}")


def test_status_and_end_in_a_sentence():
    """
    The status says for how long it has been open and what was heard last; the end says after how long, and by whom.
    """
    known = opened(became("applied", 0.041))

    assert (
        "Still open after 15 min: checkout-v2/treatment killed in production: The kill of checkout-v2/treatment in "
        "production was applied by flagd as version 17."
    ) == status_text(known, BEGAN_S + 900)
    assert "It is over when a person resumes the variation" in status_body(known, BEGAN_S + 900)
    assert (
        "Over after 10 min: checkout-v2/treatment killed in production: Resumed checkout-v2/treatment in production: "
        "ada: build 81 mends the empty cart."
    ) == resolved_text(over(known, 600.0))
    assert seconds_of(known.opened_at) == BEGAN_S
