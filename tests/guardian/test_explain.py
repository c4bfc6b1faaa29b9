from __future__ import annotations

import math
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import (
    Action,
    Decision,
    Evidence,
    Part,
    Receipt,
    ReceiptStatus,
    WithFlag,
)
from guardian.explain import explain, explain_mixed, explain_receipt, rests_on, shared_with
from guardian.measured import Watched
from guardian.numerals import duration, number, one_in, percent, times

ERRORS = Evidence(
    test="two_sample_block",
    log_e=7.4,
    log_threshold=6.9,
    n=312,
    events=31,
    value=0.099,
    n_control=2790,
    events_control=27,
    value_control=0.0097,
)
KILL = (
    "Killed checkout-v2/treatment in production: 31 of 312 requests failed (9.9 %) against 27 of 2,790 "
    "(1.0 %) in control at the same time; the chance of this kill being false was allowed 1 in 1,000."
)


def said(evidence: Evidence | None, guardrail: str, action: Action = "kill", budget: float = 0.001, **more) -> str:
    return explain(
        action,
        "checkout-v2",
        "treatment",
        "production",
        "control",
        evidence,
        mode=more.pop("mode", "enforce"),
        guardrail=guardrail,
        budget=budget,
        **more,
    )


def test_kill_reads_as_promised():
    """
    A kill reads word for word as the documented example of a decision.
    """
    assert said(ERRORS, "error_rate > 1.2x control") == KILL


def test_shadow_says_would():
    """
    In shadow mode nothing was done, and the sentence says so.
    """
    assert KILL.replace("Killed", "Would have killed") == said(ERRORS, "error_rate > 1.2x control", mode="shadow")


@pytest.mark.parametrize(
    ("action", "start"),
    [
        ("kill_flag", "Killed the whole flag checkout-v2 in production because of treatment: 31 of"),
        ("pause", "Paused checkout-v2/treatment in production: 31 of"),
        ("hold", "Held checkout-v2/treatment in production at its share: 31 of"),
        ("alert", "Raised an alert on checkout-v2/treatment in production: 31 of"),
        ("step_back", "Stepped checkout-v2/treatment in production back to 1 %: 31 of"),
        ("advance", "Advanced checkout-v2/treatment in production to 1 %: 31 of"),
        ("resume", "Resumed checkout-v2/treatment in production to 1 %: 31 of"),
        ("complete", "Completed checkout-v2/treatment in production: 31 of"),
    ],
)
def test_every_action_has_its_verb(action, start):
    """
    Each action is named by its own verb, and a changed share is told.
    """
    assert said(ERRORS, "error_rate > 1.2x control", action, share=0.01).startswith(start)


@pytest.mark.parametrize(
    ("evidence", "guardrail", "middle"),
    [
        (
            Evidence(test="threshold", log_e=8, log_threshold=7, n=312, events=31, value=0.099, bound=0.05),
            "error_rate > 5%",
            "31 of 312 requests failed (9.9 %) against the bound of 5 %;",
        ),
        (
            Evidence(
                test="latency",
                log_e=8,
                log_threshold=7,
                n=312,
                events=0,
                value=812.4,
                n_control=2790,
                value_control=240.1,
            ),
            "latency_p95 > 2x control",
            "p95 latency was 812 ms over 312 requests against 240 ms over 2,790 in control at the same time;",
        ),
        (
            Evidence(test="latency", log_e=8, log_threshold=7, n=1000, events=120, value=412.0, bound=300.0),
            "latency_p95 > 300ms",
            "120 of 1,000 requests took longer than 300 ms (12.0 %), where p95 allows 5 %;",
        ),
        (
            Evidence(test="latency", log_e=8, log_threshold=7, n=1000, events=4, value=412.0, bound=300.0),
            "search_latency_p999 > 300ms",
            "4 of 1,000 requests took longer than 300 ms (0.4 %), where p99.9 allows 0.1 %;",
        ),
        (
            Evidence(
                test="threshold", log_e=8, log_threshold=7, n=312, events=31, value=0.099, bound=0.05, n_control=2790,
                events_control=27,
            ),
            "error_rate > 5%",
            "31 of 312 requests failed (9.9 %) against the bound of 5 %, with 27 of 2,790 (1.0 %) in control at the same",
        ),
        (
            Evidence(
                test="ratings", log_e=8, log_threshold=7, n=61, events=0, value=3.917, n_control=500, value_control=4.3
            ),
            "csat < control - 0.3",
            "csat averaged 3.92 over 61 ratings against 4.3 over 500 in control at the same time;",
        ),
        (
            Evidence(test="ratings", log_e=8, log_threshold=7, n=61, events=0, value=-12.0, bound=10.0),
            "nps < 10",
            "nps was -12 over 61 ratings against the bound of 10;",
        ),
        (
            Evidence(
                test="ratings", log_e=8, log_threshold=7, n=61, events=0, value=0.81, n_control=500, value_control=0.9
            ),
            "relevance < control",
            "relevance averaged 0.81 over 61 values against 0.9 over 500 in control at the same time;",
        ),
        (
            Evidence(
                test="two_sample_block", log_e=8, log_threshold=7, n=61, events=41, value=0.67, n_control=500,
                events_control=12,
            ),
            "thumbs_down_rate > 1.2x control",
            "41 of 61 ratings were thumbs down (67.2 %) against 12 of 500 (2.4 %) in control at the same time;",
        ),
        (
            Evidence(test="share", log_e=8, log_threshold=7, n=312, events=0, value=0.101, n_control=2790, bound=0.05),
            "sample_ratio off",
            "its share of the first exposures was 10.1 % (312 against 2,790 in control) where 5 % is configured;",
        ),
        (
            Evidence(test="count", log_e=8, log_threshold=7, n=3120, events=9, value=0.003, n_control=2790),
            "report_rate > 2x control",
            "9 of 3,120 exposures were reported as a problem (0.29 %) against 0 of 2,790 (0 %) in control",
        ),
    ],
)
def test_each_signal_in_its_own_unit(evidence, guardrail, middle):
    """
    Each signal is told in its own unit, against control or against its bound.
    """
    assert f"production: {middle}" in said(evidence, guardrail)


@pytest.mark.parametrize(
    ("silence", "n_control", "told"),
    [
        ("exposures", 1240, "no exposure of treatment was seen for 2m while control had 1,240."),
        ("exposures", 0, "no exposure of treatment was seen for 2m."),
        ("outcomes", 0, "exposures of treatment go on, but no outcome of new ones came for 2m."),
        (
            "pipeline", 0,
            ("nothing was heard of this flag for 2m, neither of control: this looks like a broken pipeline, "
            "not like the variation."),
        ),
        ("", 0, "nothing was heard of it for 2m."),
    ],
)  # fmt: skip
def test_silence_says_whose(silence, n_control, told):
    """
    Silence says what fell silent, and a pipeline that broke is not laid at the variation's door.
    """
    evidence = Evidence(
        test="silence", log_e=0, log_threshold=0, n=0, events=0, value=0, n_control=n_control, silence=silence
    )

    assert f"Paused checkout-v2/treatment in production: {told}" == said(evidence, "no_data for 2m", "pause", 0.0)


@pytest.mark.parametrize(
    ("action", "start"),
    [
        ("kill", "Killed checkout-v2/treatment in production because of country=DE: 31 of 312"),
        ("kill_flag", "Killed the whole flag checkout-v2 in production because of treatment in country=DE: 31 of 312"),
        ("hold", "Held checkout-v2/treatment in production at its share because of country=DE: 31 of 312"),
        ("step_back", "Stepped checkout-v2/treatment in production back to 1 % because of country=DE: 31 of 312"),
    ],
)
def test_a_segment_is_named_first(action, start):
    """
    Harm that was found in a part of the traffic names that part before any number.
    """
    evidence = ERRORS.model_copy(update={"segment": "country=DE"})

    assert said(evidence, "error_rate > 1.2x control", action, share=0.01).startswith(start)


def test_since_when_is_told_in_utc():
    """
    The beginning of what was measured is told with it; a window, silence, or a person's wish has none.
    """
    since_ms = 1_795_615_351_900
    silence = Evidence(test="silence", log_e=0, log_threshold=0, n=0, events=0, value=0, silence="outcomes")

    assert KILL.replace("same time;", "same time, since 14:02:31;") == said(
        ERRORS, "error_rate > 1.2x control", since_ms=since_ms
    )
    assert "since" not in said(ERRORS.model_copy(update={"test": "window"}), "error_rate > 5% for 10m", since_ms=since_ms)
    assert "since 14:02:31" in said(ERRORS, "error_rate > 5% for 10m", since_ms=since_ms)
    assert "since" not in said(silence, "no_data for 2m", since_ms=since_ms)
    assert "since" not in said(None, "", since_ms=since_ms)


def test_a_declared_signal_is_told_as_what_it_is():
    """
    A name that does not tell what it stands for is told as what its declaration says.
    """
    slow = Evidence(test="latency", log_e=8, log_threshold=7, n=80, events=9, value=812.0, n_control=500, value_control=240.0)
    rude = Evidence(test="count", log_e=8, log_threshold=7, n=3120, events=9, value=0.003, bound=0.001)

    assert "p95 latency was 812 ms over 80 requests against 240 ms over 500 in control" in said(
        slow, "search_speed > 2x control", what=Watched("latency", "search_speed", 0.95)
    )
    assert "9 of 3,120 exposures were reported as a problem (0.29 %) against the bound of 0.1 %;" in said(
        rude, "frustration", what=Watched("report_rate", "report_rate")
    )


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], ""),
        ([("error_rate > 1.2x control", "", 0.93, True), ("csat < control", "", 0.07, False)], ""),
        (
            [("error_rate > 1.2x control", "", 0.8, True), ("latency_p95 > 2x control", "country=DE", 0.2, False)],
            ("80 % of the evidence is from “error_rate > 1.2x control”, 20 % from “latency_p95 > 2x control” in "
            "country=DE; only “error_rate > 1.2x control” would have been enough alone."),
        ),
        (
            [("a > 1", "", 0.504, False), ("b > 1", "", 0.396, False), ("c > 1", "", 0.1, False)],
            ("50 % of the evidence is from “a > 1”, 40 % from “b > 1”, 10 % from “c > 1”; "
            "none would have been enough alone."),
        ),
        (
            [("a > 1", "", 0.5, True), ("b > 1", "", 0.5, True)],
            "50 % of the evidence is from “a > 1”, 50 % from “b > 1”; each would have been enough alone.",
        ),
    ],
)
def test_what_a_verdict_rests_on(parts, told):
    """
    A verdict of several guardrails names each that carries a tenth of it, and which was enough alone.
    """
    made = tuple(Part(guardrail=g, segment=s, share=share, on_its_own=own) for g, s, share, own in parts)

    assert told == rests_on(ERRORS.model_copy(update={"parts": made}))


WITH = WithFlag(
    flag="fast-search", variation="treatment", verdict="explains", n=400, events=412, n_control=100, events_control=20,
    n_without=100, events_without=18, n_control_without=400, events_control_without=4, log_e=12.0, log_e_own=-1.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"n": 2_000, "n_without": 1_800, "n_control_without": 400},
            (
                "explained by flag fast-search=treatment: 412 of 430 errors ran under it, and without it treatment fails at "
                "1.0 % against 1.0 % in control"
            ),
        ),
        ({"n_without": 0, "events_without": 0}, "412 of 412 errors ran under it, and treatment never ran without it"),
        ({"n_control_without": 0}, "and without it treatment fails at 18.0 %"),
        ({"verdict": "open"}, "flag fast-search=treatment may be behind it, which nothing told within a second"),
        (
            {"verdict": "inseparable", "n": 813, "n_without": 0},
            "it cannot be told apart from flag fast-search=treatment, under which 813 of 813 requests ran",
        ),
        (
            {"verdict": "together", "n_without": 1_800},
            (
                "it shows only together with flag fast-search=treatment, and without it treatment fails at 1.0 % against "
                "1.0 % in control; the end of either would be the end of it"
            ),
        ),
        ({"verdict": "besides"}, "flag fast-search=treatment does harm, too"),
        (
            {"verdict": "not_behind"},
            "flag fast-search=treatment is not behind it, as treatment fails more among requests that are alike in that",
        ),
    ],
)
def test_what_another_flag_has_to_do_with_it(changes, told):
    """The other flag is named, with the numbers that speak for it; each verdict has its words."""
    assert shared_with(WITH.model_copy(update=changes), "treatment", "control").endswith(told)


def test_a_literal_rule_promises_no_chance():
    """
    A literal window rule says that its chance of being false is not bounded.
    """
    evidence = Evidence(test="window", log_e=0, log_threshold=0, n=400, events=31, value=0.0775, bound=0.05)

    assert said(evidence, "error_rate > 5% for 10m", budget=0.0) == (
        "Killed checkout-v2/treatment in production: 31 of 400 requests failed (7.8 %) against the bound of "
        "5 % for 10m; the rule is literal, so the chance of this kill being false is not bounded."
    )


def test_what_nothing_was_measured_of():
    """
    Without evidence the sentence tells the reason alone: silence, or a person and why.
    """
    silence = said(None, "no_data for 2m", "pause")
    person = said(None, "", "kill", reason="asked for by ada (“it\nlooks broken.”).")

    assert silence == "Paused checkout-v2/treatment in production: nothing was heard of it for 2m."
    assert person == "Killed checkout-v2/treatment in production: asked for by ada (“it looks broken.”)."


@given(
    action=st.sampled_from(get_args(Action)),
    n=st.integers(0, 10**9),
    rate=st.floats(0, 1),
    guardrail=st.text(max_size=40) | st.sampled_from(["latency_p95 > 2x control", "nps < 5", "no_data for 2m"]),
    reason=st.text(max_size=80),
    budget=st.floats(0, 1),
    share=st.none() | st.floats(0, 1),
    since_ms=st.none() | st.integers(0, 2**42),
    more=st.fixed_dictionaries(
        {},
        optional={
            "segment": st.text(max_size=40),
            "silence": st.sampled_from(["exposures", "outcomes", "pipeline", "else"]),
            "bound": st.floats(0, 1e6),
            "n_control": st.integers(0, 10**9),
            "value_control": st.floats(-1e9, 1e9),
        },
    ),
)
def test_whatever_the_numbers_it_is_one_line(action, n, rate, guardrail, reason, budget, share, since_ms, more):
    """
    Any numbers and any words give one line that ends in one full stop and names flag and environment.
    """
    evidence = Evidence(test="t", log_e=0, log_threshold=1, n=n, events=int(n * rate), value=rate, **more)
    line = said(evidence, guardrail, action, budget, reason=reason, share=share, since_ms=since_ms)

    assert [line] == line.splitlines()
    assert re.search(r"[^.]\.\Z", line)
    assert "checkout-v2" in line
    assert "production" in line


DECISION = Decision(
    decision_id="production|checkout-v2|treatment|17",
    flag_key="checkout-v2",
    environment="production",
    variant="treatment",
    control="control",
    action="kill",
    mode="enforce",
    guardrail="error_rate > 1.2x control",
    signal="error_rate",
    decided_at="2026-11-21T01:00:03.400Z",
    evidence_from="2026-11-21T01:00:00.000Z",
    evidence_to="2026-11-21T01:00:03.200Z",
    evidence=ERRORS,
    policy_hash="sha256:0",
    explanation=KILL,
)


def receipt(status: ReceiptStatus, **more) -> Receipt:
    fields = {"at": "2026-11-21T01:00:03.441Z", "store": "flagd", "detail": "", **more}
    return Receipt(
        receipt_id="r",
        decision_id=DECISION.decision_id,
        flag_key="checkout-v2",
        environment="production",
        variant="treatment",
        action="kill",
        status=status,
        **fields,
    )


@pytest.mark.parametrize(
    ("given_receipt", "rest"),
    [
        (receipt("applied", version="17"), "was applied by flagd as version 17, 41 ms after it was decided."),
        (receipt("already"), "was already in place in flagd."),
        (
            receipt("failed", detail="no such flag", attempts=5),
            "failed in flagd after 5 attempts: no such flag.",
        ),
        (
            receipt("conflict", detail="ada set 20 %"),
            "was not applied by flagd, as another change stands against it:",
        ),
        (receipt("shadow"), "was not sent to flagd, as its policy is in shadow mode."),
        (
            receipt("expired", detail="no answer for 30 s"),
            "expired before flagd could apply it: no answer for 30 s.",
        ),
        (
            receipt("effective", at="2026-11-21T01:00:04.600Z", detail="no exposure to treatment since …"),
            "was seen to have taken effect 1.2 s after it was decided: no exposure to treatment since …",
        ),
        (
            receipt("not_effective", at="2026-11-21T01:00:23.400Z", detail="41 exposures to treatment"),
            "has not taken effect 20 s after it was decided, exposures are still seen: 41 exposures to",
        ),
    ],
)
def test_receipts_tell_what_became_of_it(given_receipt, rest):
    """
    A receipt tells what the store did, how long after the decision, and what is still seen.
    """
    line = explain_receipt(given_receipt, DECISION)

    assert line.startswith(f"The kill of checkout-v2/treatment in production {rest}")


@pytest.mark.parametrize("status", get_args(ReceiptStatus))
def test_a_receipt_alone_is_a_sentence_too(status):
    """
    Every status can be told without its decision at hand.
    """
    line = explain_receipt(receipt(status))

    assert "after it was decided" not in line
    assert line.endswith(".")


def test_mixed_units_name_the_services():
    """
    When services disagree on a flag, the sentence names them.
    """
    assert (
        explain_mixed("new-cart", "production", 14, ("shop", "cart-api", "mail"))
        == "14 units of new-cart in production saw two variations, shown by cart-api, mail and shop."
    )
    assert explain_mixed("new-cart", "production", 1, ()) == "1 unit of new-cart in production saw two variations."


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.0), "0 %"),
        (percent(1.0), "100 %"),
        (percent(0.99999), "99.99 %"),
        (percent(0.00968), "1.0 %"),
        (percent(0.0012), "0.12 %"),
        (percent(1e-7), "1e-05 %"),
        (percent(0.125, exact=True), "12.5 %"),
        (one_in(0.001), "1 in 1,000"),
        (one_in(0.05), "1 in 20"),
        (one_in(1 / 3), "1 in 3"),
        (one_in(0.9), "90 %"),
        (times(math.log(1000.0)), "1,000×"),
        (times(1.9), "6.7×"),
        (times(-3.0), "0.05×"),
        (times(20.0), "10^9×"),
        (number(0.8512), "0.851"),
        (number(12345.0), "12,300"),
        (duration(999.9), "1.0 s"),
        (duration(119_600.0), "2 min"),
        (duration(9_000_000.0), "2.5 h"),
    ],
)
def test_numbers_keep_what_matters(shown, expected):
    """
    Numbers are short, and neither round to nothing nor to everything what is neither.
    """
    assert expected == shown
