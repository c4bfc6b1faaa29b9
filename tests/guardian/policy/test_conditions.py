"""Conditions: what each word means, and what is said of the wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guardian.conditions import (
    Absolute,
    Bound,
    Condition,
    Margin,
    Off,
    Op,
    Relative,
    Signal,
    Silence,
    duration_text,
    parse_condition,
    parse_duration,
)
from guardian.errors import ConditionError
from guardian.sense import why_no_harm, why_no_health
from tests.guardian.policy.strategies import SIGNALS, harms, healths, unhurried

ERRORS = Signal("error_rate", "error_rate")
P95 = Signal("latency_p95", "latency", 0.95)


@pytest.mark.parametrize(
    ("text", "signal", "op", "bound", "for_s"),
    [
        ("error_rate > 1.2x control", ERRORS, ">", Relative(1.2), None),
        ("error_rate > 5%", ERRORS, ">", Absolute(0.05, "proportion"), None),
        ("error_rate >= 0.5 %", ERRORS, ">=", Absolute(0.005, "proportion"), None),
        ("error_rate > control", ERRORS, ">", Relative(1.0), None),
        ("error_rate > control + 1%", ERRORS, ">", Margin(0.01), None),
        ("error_rate > 5% for 10m", ERRORS, ">", Absolute(0.05, "proportion"), 600.0),
        ("error_rate<1.1x control", ERRORS, "<", Relative(1.1), None),
        ("latency_p95 > 2x baseline", P95, ">", Relative(2.0), None),
        ("latency_p95 > 300ms", P95, ">", Absolute(300.0, "ms"), None),
        ("latency_p95 > 1.5s", P95, ">", Absolute(1500.0, "ms"), None),
        ("latency_p999 > control + 20ms", Signal("latency_p999", "latency", 0.999), ">", Margin(20.0), None),
        ("csat < control - 0.3", Signal("csat", "csat"), "<", Margin(-0.3), None),
        ("nps < -10", Signal("nps", "nps"), "<", Absolute(-10.0, "score"), None),
        ("report_rate > 2x control", Signal("report_rate", "report_rate"), ">", Relative(2.0), None),
        ("sample_ratio off", Signal("sample_ratio", "sample_ratio"), None, Off(), None),
        ("no_data for 2m", Signal("no_data", "no_data"), None, Silence(120.0), None),
        ("quality < 0.85", Signal("quality", "measure"), "<", Absolute(0.85, "score"), None),
        ("search_latency > 2s", Signal("search_latency", "latency", 0.99), ">", Absolute(2000.0, "ms"), None),
    ],
)
def test_conditions_are_read_into_base_units(
    text: str, signal: Signal, op: Op | None, bound: Bound, for_s: float | None
):
    """
    Each form of condition is read into its signal, comparison, bound in base units, and window in seconds.
    """
    assert Condition(text, signal, op, bound, for_s) == parse_condition(text, SIGNALS)


def test_a_declared_word_stands_for_its_condition():
    """
    A word declared by `means:` keeps its own text and means what its condition means.
    """
    meant = parse_condition("report_rate > 0.25%")

    word = parse_condition("many_reports", SIGNALS)

    assert ("many_reports", meant.meaning) == (word.text, word.meaning)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("error_rate > 5ms", "'ms' does not fit error_rate; write a percentage such as 5%"),
        ("error_rate > 0.05", "0.05 needs its unit; write a percentage such as 5%"),
        ("latency_p95 > 300", "300 needs its unit; write milliseconds or seconds such as 300ms or 2s"),
        ("latency_p95 > control + 20%", "'%' does not fit latency_p95"),
        ("csat < 80%", "'%' does not fit csat; write a plain number"),
        ("error_rate > 2x", "a multiple of what? write 2x control"),
        ("error_rate > twice", "'twice' is not a bound"),
        ("error_rate >", "'' is not a bound"),
        ("error_rate = 5%", "compare error_rate by one of > >= < <="),
        ("error_rate above 5%", "compare error_rate by one of > >= < <="),
        ("error_rate", "compare error_rate by one of > >= < <="),
        ("eror_rate > 5%", "did you mean error_rate?"),
        ("qualty < 0.5", "did you mean quality?"),
        ("latency > 300ms", "latency is watched by quantile"),
        ("latency_p20 > 300ms", "latency is watched by quantile"),
        ("latency_p990 > 300ms", "latency is watched by quantile"),
        (
            "cart_value < 3",
            "declare it under signals:, for example cart_value: {measure: cart_value, range: [0, 1]}",
        ),
        ("pay_latency_p95 > 3s", "for example pay_latency_p95: {of: latency_p95, where: {operation:"),
        ("zero_bugs", 'for example zero_bugs: {means: "report_rate < 0.1%"}'),
        ("many_reports > 3", "write it alone"),
        ("quality", "must be compared with something; write quality > … or quality < …"),
        ("sample_ratio > 3%", "write sample_ratio off"),
        ("no_data", "write no_data for 2m"),
        ("no_data for 2", "after 'for', write a duration such as 90s"),
        ("error_rate > 5% for", "after 'for', write a duration such as 90s"),
        ("error_rate > 5% for 10 apples", "after 'for', write a duration such as 90s"),
        ("", "write a condition such as error_rate > 5%"),
    ],
)
def test_wrong_conditions_say_what_would_be_right(text: str, said: str):
    """
    What cannot be read is answered with what would be right.
    """
    with pytest.raises(ConditionError) as caught:
        parse_condition(text, SIGNALS)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("error_rate < 5%", "a low error_rate is never harm"),
        ("latency_p95 < 2x control", "a low latency_p95 is never harm"),
        ("csat > 4", "a high csat is never harm"),
        ("error_rate > 150%", "error_rate lies between 0% and 100%"),
        ("error_rate > 0%", "error_rate lies between 0% and 100%"),
        ("error_rate > 0.9x control", "a variation as good as control crosses this"),
        ("error_rate > control - 1%", "a variation as good as control crosses this"),
        ("csat < control + 0.1", "a variation as good as control crosses this"),
        ("csat < 1.1x control", "a variation as good as control crosses this"),
        ("error_rate > control + 100%", "this can never happen"),
        ("nps < 0.9x control", "may be negative, so a multiple of it says nothing"),
        ("quality < 0.9x control", "may be negative, so a multiple of it says nothing"),
        ("quality < -3", "quality lies between -1 and 1"),
        ("csat < 0x control", "write a factor"),
    ],
)
def test_guardrails_that_cannot_mean_harm_are_explained(text: str, said: str):
    """
    A guardrail that never means harm, never happens, or is crossed by a healthy variation is told why.
    """
    assert said in (why_no_harm(parse_condition(text, SIGNALS), SIGNALS) or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("error_rate > 5%", "would go on because of a high error_rate"),
        ("nps < 3", "would go on because of a low nps"),
        ("no_data for 1m", "this tells of trouble"),
        ("error_rate < 0%", "error_rate lies between 0% and 100%"),
    ],
)
def test_stages_do_not_wait_for_harm(text: str, said: str):
    """
    A stage that would go on because of harm, or wait for what never happens, is told why.
    """
    assert said in (why_no_health(parse_condition(text, SIGNALS), SIGNALS) or "")


@unhurried
@given(harms, healths)
def test_sensible_conditions_are_not_refused(harm: str, health: str):
    """
    What can mean harm is a guardrail, and what can mean health is waited for.
    """
    answers = (
        why_no_harm(parse_condition(harm, SIGNALS), SIGNALS),
        why_no_health(parse_condition(health, SIGNALS), SIGNALS),
    )

    assert (None, None) == answers


@unhurried
@given(st.one_of(st.text(max_size=60), st.text("error_at<>=%x0123456789. +-controlfmsn", max_size=40)))
@example("error_rate > " + "9" * 180 + "%")
@example("latency_p９9 > 3ms")
def test_no_text_surprises_the_reader(text: str):
    """
    Any text is a condition or a ConditionError with advice; nothing else is ever raised.
    """
    try:
        condition = parse_condition(text, SIGNALS)
    except ConditionError as error:
        advice = str(error)
    else:
        why_no_harm(condition, SIGNALS)
        why_no_health(condition, SIGNALS)
        advice = ""

    assert advice or parse_condition(condition.text, SIGNALS) == condition


@pytest.mark.parametrize(
    ("text", "for_s"),
    [("90s", 90.0), ("10m", 600.0), ("1h", 3600.0), ("3d", 259200.0), ("48h", 172800.0), ("1.5h", 5400.0)],
)
def test_durations_are_read_in_seconds(text: str, for_s: float):
    """
    A duration is a number and one of s, m, h, d.
    """
    assert for_s == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "10", "10 min", "1h30m", "-1h", "0s", "1w", "1e3s", "367d", "1M", "9" * 400 + "d"]
)
def test_other_durations_are_refused(text: str):
    """
    Anything else is refused with an example.
    """
    with pytest.raises(ConditionError, match="write a duration such as 90s, 10m, 1h or 3d"):
        parse_duration(text)


@unhurried
@given(st.floats(1e-3, 366 * 86400.0))
def test_durations_are_written_so_that_they_are_read_the_same(for_s: float):
    """
    A duration survives being written and read, to the last bit.
    """
    assert for_s == parse_duration(duration_text(for_s))
