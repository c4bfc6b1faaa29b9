from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import ArmView, GuardrailView, RolloutView
from guardian.standing import why_not


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
    What cannot be judged yet says why, the same reason once, and a long list is cut short.
    """
    arms = (ArmView(variation="treatment", n=100, errors=3),)
    rows = [
        GuardrailView(
            guardrail="csat < control", variation="treatment", action="pause", log_e=None, log_threshold=6.9,
            segment=f"country={country}", why="fewer than 20 ratings",
        )
        for country in ("DE", "FR", "IT", "ES", "PT")
    ]  # fmt: skip

    assert why_not(view(arms=arms, guardrails=tuple(rows))) == (
        "Nothing has happened to checkout-v2 in production: there is nothing yet to judge “csat < control” in country=DE "
        "on treatment, “csat < control” in country=FR on treatment, “csat < control” in country=IT on treatment "
        "and 2 others by (fewer than 20 ratings)."
    )


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
