from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import ArmView, GuardrailView, RolloutView
from guardian.measured import differs, watched
from guardian.why_not import values, why_not


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


def test_the_nearest_guardrail_is_told_with_its_own_numbers():
    """
    A segment and a signal other than failures show their own values, not the counts of the whole variation.
    """
    arms = (ArmView(variation="control", n=2790, errors=27), ArmView(variation="treatment", n=100, errors=3))
    nearest = {"variation": "treatment", "action": "kill", "log_e": 3.0, "log_threshold": 6.9}
    failing = GuardrailView(
        guardrail="error_rate > 1.2x control", segment="country=DE", value=0.25, value_control=0.01,
        why="too few units failed to act on it", **nearest,
    )  # fmt: skip
    slow = GuardrailView(guardrail="latency_p95 > 2x control", value=812.0, value_control=240.0, **nearest)

    assert why_not(view(arms=arms, guardrails=(failing,))) == (
        "Nothing has happened to checkout-v2 in production: “error_rate > 1.2x control” in country=DE on treatment is "
        "nearest to its kill, with evidence of 20× out of 992× (too few units failed to act on it): "
        "error_rate is 25.0 % against 1.0 % in control."
    )
    assert why_not(view(arms=arms, guardrails=(slow,))).endswith("latency_p95 is 812 ms against 240 ms in control.")


def test_guardrails_without_evidence_are_told_by_reason():
    """
    What cannot be judged yet says why, the same reason once; a long list is cut short, segments are left out.
    """
    arms = (ArmView(variation="treatment", n=100, errors=3),)
    waiting = {"variation": "treatment", "action": "pause", "log_e": None, "log_threshold": 6.9}
    few = {"why": "fewer than 20 ratings so far", **waiting}
    rows = (
        GuardrailView(guardrail="csat < control", **few),
        GuardrailView(guardrail="csat < control", segment="country=DE", **few),
        GuardrailView(guardrail="no_data for 2m", **waiting),
        GuardrailView(guardrail="nps < 10", **few),
        GuardrailView(guardrail="latency_p95 > 2x control", **waiting),
        GuardrailView(guardrail="report_rate > 2x control", **waiting),
    )

    assert why_not(view(arms=arms, guardrails=rows)) == (
        "Nothing has happened to checkout-v2 in production: there is nothing yet to judge “csat < control” on treatment, "
        "“nps < 10” on treatment by (fewer than 20 ratings so far); there is nothing yet to judge "
        "“latency_p95 > 2x control” on treatment by; the same goes for 1 other guardrail."
    )


@pytest.mark.parametrize(
    ("guardrail", "value", "value_control", "told"),
    [
        ("error_rate > 1.2x control", 0.099, 0.0097, "9.9 % against 1.0 %"),
        ("search_latency_p999 > 2x control", 2412.0, 840.4, "2,412 ms against 840 ms"),
        ("latency_p95 > 300ms", 281.0, None, "281 ms"),
        ("csat < control - 0.3", 3.917, 4.3, "3.92 against 4.3"),
        ("sample_ratio off", 0.101, None, "10.1 %"),
        ("error_rate > 5%", None, None, ""),
    ],
)
def test_values_are_told_in_their_own_unit(guardrail, value, value_control, told):
    """
    What a guardrail reads now is told in the unit of its signal, against control's where there is one.
    """
    row = GuardrailView(
        guardrail=guardrail, variation="treatment", action="kill", log_e=1.0, log_threshold=6.9, value=value,
        value_control=value_control,
    )  # fmt: skip

    assert told == values(row)


@pytest.mark.parametrize(
    ("ratio", "difference", "guardrail", "told"),
    [
        ((4.61, 22.9), (0.03, 0.12), "error_rate > 1.2x control", "4.6 to 23 times"),
        ((1.31, None), None, "latency_p95 > 2x control", "at least 1.3 times"),
        ((None, 0.873), None, "error_rate > 1.2x control", "at most 0.87 times"),
        ((None, None), (0.005, 0.0219), "error_rate > control + 1%", "+0.5 to +2.2 points"),
        (None, (-0.62, -0.11), "csat < control - 0.3", "-0.62 to -0.11 points"),
        (None, (120.0, None), "latency_p95 > control + 50ms", "+120 ms or more"),
        (None, (None, 0.5), "nps < control", "+0.5 points or less"),
        ((None, None), (None, None), "error_rate > 1.2x control", ""),
        (None, None, "error_rate > 1.2x control", ""),
    ],
)
def test_how_much_it_differs_is_told_as_far_as_it_is_known(ratio, difference, guardrail, told):
    """
    By how much a variation differs is the ratio's interval, else the difference's, and of these only known ends.
    """
    assert told == differs(ratio, difference, watched(guardrail))


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
    killed = "Killed checkout-v2/treatment in production: 31 of 312 requests failed (9.9 %)."

    assert f"checkout-v2 in production is killed: {killed}" == why_not(view(status="killed", explanation=killed))


@given(
    status=st.sampled_from(["planned", "running", "holding", "paused", "killed", "completed"]),
    counts=st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1)), max_size=3),
    rows=st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 800)), max_size=6),
    words=st.text(max_size=30),
    value=st.none() | st.floats(-1e9, 1e9),
    guardrail=st.sampled_from(["error_rate > 5%", "latency_p95 > 2x control", "no_data for 2m", ""]),
)
def test_every_rollout_can_say_why(status, counts, rows, words, value, guardrail):
    """
    However a rollout stands, why it stands there is one line.
    """
    arms = tuple(ArmView(variation=f"v{i}", n=n, errors=int(n * rate)) for i, (n, rate) in enumerate(counts))
    guardrails = tuple(
        GuardrailView(
            guardrail=guardrail, variation=f"v{i}", action="kill", log_e=log_e, log_threshold=threshold,
            segment=words, why=words, value=value, value_control=value,
        )
        for i, (log_e, threshold) in enumerate(rows)
    )  # fmt: skip
    line = why_not(view(status=status, arms=arms, guardrails=guardrails))

    assert line.splitlines() == [line]
    assert "checkout-v2 in production" in line
