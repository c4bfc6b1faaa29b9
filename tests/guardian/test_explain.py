from __future__ import annotations

import math
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import (
    Action,
    ArmView,
    Decision,
    Evidence,
    GuardrailView,
    Receipt,
    ReceiptStatus,
    RolloutView,
)
from guardian.explain import explain, explain_mixed, explain_receipt, why_not
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
            Evidence(
                test="latency",
                log_e=8,
                log_threshold=7,
                n=1000,
                events=120,
                value=0.12,
                n_control=3000,
                events_control=150,
                value_control=0.05,
            ),
            "search_latency_p999 > 2x baseline",
            "120 of 1,000 requests took longer than the p99.9 of control (12.0 %) against 150 of 3,000",
        ),
        (
            Evidence(test="latency", log_e=8, log_threshold=7, n=1000, events=120, value=0.12, bound=300.0),
            "latency_p95 > 300ms",
            "120 of 1,000 requests took longer than 300 ms (12.0 %);",
        ),
        (
            Evidence(
                test="ratings",
                log_e=8,
                log_threshold=7,
                n=61,
                events=0,
                value=3.917,
                n_control=500,
                value_control=4.3,
            ),
            "csat < control - 0.3",
            "csat averaged 3.92 over 61 requests against 4.3 over 500 in control at the same time;",
        ),
        (
            Evidence(
                test="share",
                log_e=8,
                log_threshold=7,
                n=312,
                events=0,
                value=0.101,
                n_control=2790,
                bound=0.05,
            ),
            "sample_ratio off",
            "its share of the exposures was 10.1 % (312 against 2,790 in control) where 5 % is configured;",
        ),
        (
            Evidence(test="count", log_e=8, log_threshold=7, n=3120, events=9, value=0.003, n_control=2790),
            "report_rate > 2x control",
            "9 of 3,120 requests were reported (0.29 %) against 0 of 2,790 (0 %) in control",
        ),
    ],
)
def test_each_signal_in_its_own_unit(evidence, guardrail, middle):
    """
    Each signal is told in its own unit, against control or against its bound.
    """
    assert f"production: {middle}" in said(evidence, guardrail)


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
    guardrail=st.text(max_size=40),
    reason=st.text(max_size=80),
    budget=st.floats(0, 1),
    share=st.none() | st.floats(0, 1),
)
def test_whatever_the_numbers_it_is_one_line(action, n, rate, guardrail, reason, budget, share):
    """
    Any numbers and any words give one line that ends in one full stop and names flag and environment.
    """
    evidence = Evidence(test="t", log_e=0, log_threshold=1, n=n, events=int(n * rate), value=rate)
    line = said(evidence, guardrail, action, budget, reason=reason, share=share)

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


def view(**more) -> RolloutView:
    fields = {"status": "running", "telemetry": "fresh", "at": "2026-11-21T01:00:03.400Z", **more}
    return RolloutView(
        key="production|checkout-v2",
        flag_key="checkout-v2",
        environment="production",
        control="control",
        **fields,
    )


def test_why_nothing_happened_yet():
    """
    Why nothing has happened: the guardrail nearest to acting, what has no data, and the mode.
    """
    arms = (ArmView(variation="control", n=2790, errors=27), ArmView(variation="treatment", n=100, errors=3))
    rows = (
        GuardrailView(
            guardrail="error_rate > 1.2x control",
            variation="treatment",
            action="kill",
            log_e=1.94,
            log_threshold=6.9,
        ),
        GuardrailView(guardrail="error_rate > 5%", variation="treatment", action="kill", log_e=-3.0, log_threshold=6.9),
        GuardrailView(
            guardrail="csat < control - 0.3",
            variation="treatment",
            action="pause",
            log_e=None,
            log_threshold=6.9,
        ),
    )

    expected = (
        "Nothing has happened to checkout-v2 in production: “error_rate > 1.2x control” on treatment is "
        "nearest to its kill, with evidence of 7× out of 992×: 3 of 100 requests failed (3.0 %) against "
        "27 of 2,790 requests failed (1.0 %) in control; there is nothing yet to judge “csat < control - 0.3” "
        "on treatment by; and in shadow mode a verdict would only be told."
    )

    assert expected == why_not(view(arms=arms, guardrails=rows, mode="shadow"))


def test_no_harm_so_far_is_said_as_such():
    """
    Evidence that speaks for no harm is called that, instead of a number below one.
    """
    arms = (ArmView(variation="treatment", n=100, errors=0),)
    row = GuardrailView(
        guardrail="error_rate > 5%", variation="treatment", action="kill", log_e=-3.0, log_threshold=6.9
    )

    assert why_not(view(arms=arms, guardrails=(row,))).endswith("and what was read so far speaks for no harm.")


def test_no_telemetry_is_never_good_news():
    """
    Without telemetry, or with telemetry that stands still, the answer says so instead of sounding calm.
    """
    arms = (ArmView(variation="treatment", n=100, errors=3),)

    assert "no telemetry of it was read yet" in why_not(view())
    assert "telemetry is stale, which is no good news" in why_not(view(arms=arms, telemetry="stale"))


def test_a_killed_rollout_answers_with_its_kill():
    """
    Asked why nothing happened, a rollout to which something did happen says what.
    """
    assert f"checkout-v2 in production is killed: {KILL}" == why_not(view(status="killed", explanation=KILL))


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


@given(
    status=st.sampled_from(["planned", "running", "holding", "paused", "killed", "completed"]),
    counts=st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1)), max_size=3),
    rows=st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 800)), max_size=3),
    guardrail=st.sampled_from(["error_rate > 5%", "latency_p95 > 2x control", "no_data for 2m", ""]),
)
def test_every_rollout_can_say_why(status, counts, rows, guardrail):
    """
    However a rollout stands, why it stands there is one line.
    """
    arms = tuple(ArmView(variation=f"v{i}", n=n, errors=int(n * rate)) for i, (n, rate) in enumerate(counts))
    guardrails = tuple(
        GuardrailView(guardrail=guardrail, variation=f"v{i}", action="kill", log_e=log_e, log_threshold=threshold)
        for i, (log_e, threshold) in enumerate(rows)
    )
    line = why_not(view(status=status, arms=arms, guardrails=guardrails))

    assert line.splitlines() == [line]
    assert "checkout-v2 in production" in line
