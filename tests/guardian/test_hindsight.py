"""Kills of shadow mode are judged by what happened next: by what people did, and by what started afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from guardian.decisions import HindsightView
from guardian.events import parse_time
from guardian.policy import Policy
from guardian.retelling import counted, retold
from guardian.state import RolloutState
from guardian.views import hindsight
from tests.support import sums
from tests.support.courses import Course, between, told, wish
from tests.support.traffic import T0_MS, Traffic, entries, policy

WHEN = "error_rate > 2x control"
BAD_S, BURST_S = 5.0, 7.0
"""When harm begins, and when a burst of it is over: just after it has led to a kill."""


def terms(when: str = WHEN, **more: Any) -> Policy:
    return policy(mode="shadow", guardrails=[{"when": when, "then": "kill"}], **more)


def traffic(until_s: float = 1e9, *, seconds: float = 30.0, off_s: float = 1e9, on_s: float = 1e9) -> Traffic:
    """Traffic whose treatment fails four times as often between ``BAD_S`` and ``until_s``, and is off in between."""
    return Traffic(
        seconds=seconds, users=100_000, share=lambda s: 0.0 if off_s <= s < on_s else 0.5,
        error=lambda v, s: 0.4 if v == "treatment" and BAD_S <= s < until_s else 0.05,
    )  # fmt: skip


def seen(given: Traffic, *wishes: Any, under: Policy | None = None, answer: str = "shadow") -> list[HindsightView]:
    """Return what a rollout says in the end of kills that were not carried out."""
    return list(hindsight(course(given, *wishes, under=under, answer=answer).state))


def course(given: Traffic, *wishes: Any, under: Policy | None = None, answer: str = "shadow") -> Course:
    journal = [told(under or terms()), *between(entries(given.requests(), exposures=True), *wishes)]
    return Course().play(journal, answer)


def test_harm_that_goes_on_confirms_a_kill():
    """
    What starts after the verdict is bad as well: it was right, whatever led to it; all that came since is counted.
    """
    given = traffic()
    (one,) = seen(given)
    since = [r for r in given.requests() if r.variation == "treatment" and r.start_ms >= _ms(one.decided_at)]

    assert ("confirmed", WHEN, "", "") == (one.seen, one.guardrail, one.off_at, one.by)
    assert one.starts == pytest.approx(len(since), rel=0.02)
    assert one.failed == pytest.approx(sum(r.failed for r in since), rel=0.1)


def test_what_is_well_afterwards_contradicts_a_kill():
    """
    A burst that led to a kill and was over with it was no lasting harm: what starts afterwards excludes it.
    """
    (one,) = seen(traffic(until_s=BURST_S, seconds=60.0))

    assert "contradicted" == one.seen


def test_too_little_says_neither():
    """
    Right after the verdict nothing is known of it yet.
    """
    given = list(entries(traffic(until_s=BURST_S, seconds=60.0).requests(), exposures=True))
    (one,) = hindsight(Course().play([told(terms()), *given[:80]], "shadow").state)

    assert "open" == one.seen


def test_a_person_who_kills_it_later_confirms_it():
    """
    Somebody turned it off: that says when, who, and how many requests it had been shown to in between.
    """
    given = traffic(seconds=25.0)
    (one,) = seen(given, wish(20.0, "kill", variation="treatment", by="ada"))
    between_them = [
        r for r in given.requests()
        if r.variation == "treatment" and _ms(one.decided_at) <= r.start_ms < _ms(one.off_at)
    ]  # fmt: skip

    assert ("confirmed", "ada") == (one.seen, one.by)
    assert 10_000 < _ms(one.off_at) - _ms(one.decided_at) < 15_000
    assert one.starts == pytest.approx(len(between_them), rel=0.02)


def test_a_person_who_was_sooner_is_a_miss():
    """
    A kill by hand that the guardian had not decided says that it would have been too slow, or blind.
    """
    (one,) = seen(traffic(), wish(2.0, "kill", variation="treatment", by="ada"))

    assert ("missed", "ada", "") == (one.seen, one.by, one.guardrail)


def test_a_share_of_nothing_confirms_it():
    """
    Where nobody is shown it any more, somebody turned it off elsewhere, when it was shown last.
    """
    (one,) = seen(traffic(seconds=90.0, off_s=15.0))

    assert ("confirmed", "") == (one.seen, one.by)
    assert T0_MS + 14_500 <= _ms(one.off_at) <= T0_MS + 15_500


def test_whoever_has_traffic_again_is_not_off():
    """
    A variation that comes back was not turned off for good.
    """
    (one,) = seen(traffic(until_s=BURST_S, seconds=90.0, off_s=8.0, on_s=80.0))

    assert "" == one.off_at
    assert "confirmed" != one.seen


def test_what_is_carried_out_is_not_looked_back_on():
    """
    A kill that the store has applied leaves nothing to be compared with.
    """
    enforced = policy(guardrails=[{"when": WHEN, "then": "kill"}])

    assert [] == seen(traffic(), under=enforced, answer="applied")


def test_a_restart_does_not_change_what_is_seen():
    """
    What is looked back on is part of the state: restored from a snapshot it is the same to the byte.
    """
    state = course(traffic()).state
    again = RolloutState.restore(state.snapshot())

    assert state.snapshot() == again.snapshot()
    assert hindsight(state) == hindsight(again) != ()


def test_a_policy_without_the_guardrail_reads_no_more_of_it():
    """
    A verdict whose guardrail is gone stays as it was seen; how many it is shown to is counted on.
    """
    given = list(entries(traffic(seconds=20.0).requests(), exposures=True))
    played = Course().play([told(terms()), *given[:100]], "shadow")
    before = played.state.hindsights[0].starts, played.state.hindsights[0].harm
    assert before[1] is not None
    evidence = before[1].log_s
    played.play([told(terms("error_rate > 3x control"), at_s=10.0), *given[100:]], "shadow")
    (after,) = played.state.hindsights

    assert after.harm is not None
    assert evidence == after.harm.log_s
    assert after.starts > before[0]


@pytest.mark.parametrize(
    ("when", "more"),
    [
        ("latency_p95 > 1.2x control", {"latency_ms": lambda v, s: 200.0 if v == "treatment" and s > BAD_S else 100.0}),
        ("latency_p95 > 300ms", {"latency_ms": lambda v, s: 150.0 if v == "treatment" and s > BAD_S else 60.0}),
        ("csat < control - 0.3", {"scores": {"feedback:rating": (0.5, (1.0, 5.0), sums.ratings(0.9, BAD_S))}}),
        ("report_rate > 2x control", {"reports": lambda v, s: 0.1 if v == "treatment" and s > BAD_S else 0.01}),
        ("sample_ratio off", {"lost": lambda v, s: 0.7 if v == "treatment" and s > BAD_S else 0.0}),
    ],
    ids=["latency", "latency of a bound", "ratings", "reports", "shares"],
)
def test_every_signal_is_looked_back_on(when: str, more: dict[str, Any]):
    """
    Harm to any signal that goes on after the verdict confirms it.
    """
    world = sums.World(seconds=40.0, **more)
    given = Course().play([told(terms(when, stages=[{"share": "50%"}])), *world.entries()], "shadow")

    assert [(when, "confirmed")] == [(one.guardrail, one.seen) for one in hindsight(given.state)]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            {"seen": "confirmed", "off_at": "2026-09-21T14:25:20.000Z", "by": "ada"},
            ("Confirmed: ada turned treatment off 12 min after the guardian would have, by “error_rate > 2x control”; "
            "4,120 requests in between, 1 unit failed for the first time."),
        ),
        (
            {"seen": "confirmed", "off_at": "2026-09-21T14:25:20.000Z"},
            ("Confirmed: treatment was shown to nobody from 14:25:20 on, 12 min after “error_rate > 2x control” would have "
            "killed it; 4,120 requests in between, 1 unit failed for the first time."),
        ),
        (
            {"seen": "confirmed", "segment": "country=DE"},
            ("Confirmed: what started after “error_rate > 2x control” in country=DE would have killed treatment breaks it as "
            "well; 4,120 requests since, 1 unit failed for the first time."),
        ),
        (
            {"seen": "contradicted"},
            ("Contradicted: what started after “error_rate > 2x control” would have killed treatment shows that it is not so; "
            "4,120 requests since, 1 unit failed for the first time."),
        ),
        (
            {"seen": "open"},
            ("Open: what started after “error_rate > 2x control” would have killed treatment does not show yet whether it was "
            "right; 4,120 requests since, 1 unit failed for the first time."),
        ),
        (
            {"seen": "missed", "guardrail": "", "off_at": "2026-09-21T14:25:20.000Z", "by": "ada"},
            "Missed: ada turned treatment off at 14:25:20, and the guardian had said nothing against it.",
        ),
    ],
    ids=["by a person", "elsewhere", "by evidence", "contradicted", "open", "missed"],
)
def test_it_is_told_in_a_sentence(more: dict[str, Any], text: str):
    """
    What became of a kill is told with what it rests on, how long it took, and how many met it until then.
    """
    plain = {"decision_id": "1", "variation": "treatment", "guardrail": WHEN, "decided_at": "2026-09-21T14:13:20.000Z"}

    assert text == retold(HindsightView.model_validate(plain | {"starts": 4_120, "failed": 1} | more))


def test_kinds_are_counted():
    """
    How many were right and wrong is said in one line, and nothing of what there is none of.
    """
    plain = {"decision_id": "1", "variation": "t", "guardrail": "", "decided_at": ""}
    found = [HindsightView.model_validate({**plain, "seen": kind}) for kind in ("open", "missed", "open")]

    assert "2 open, 1 missed" == counted(found)
    assert "" == counted([])


def _ms(rfc3339: str) -> int:
    return parse_time(rfc3339)
