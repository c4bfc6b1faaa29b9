"""Promises about the events that services send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from guardian.events import MODELS, CloudEvent, Exposure, Feedback, Outcome, parse_time, read_event, reason
from tests.support.events import NOON_MS, exposure, feedback, flat, outcome


def why(document: dict[str, Any], *, bare: bool = False) -> str:
    """Return the reason for which a document is refused."""
    with pytest.raises(ValidationError) as refused:
        read_event(document, bare=bare)
    return reason(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-21T12:00:00.000Z", "2026-11-21T12:00:00Z", "2026-11-21t12:00:00.0009z", "2026-11-21 13:30:00+01:30",
        "2026-11-21T12:00:00-00:00", NOON_MS, NOON_MS // 1000, float(NOON_MS), NOON_MS / 1000,
    ],
)  # fmt: skip
def test_times_of_all_forms_mean_the_same(value: object):
    """
    RFC 3339 with any offset, milliseconds and seconds give the same milliseconds.
    """
    assert NOON_MS == parse_time(value)


@pytest.mark.parametrize(
    "value",
    [
        None, True, [], "", "noon", "2026-11-21", "2026-11-21T12:00:00", "2026-02-30T12:00:00Z", "2026-11-21T24:00:00Z",
        "2026-11-21T12:00:61Z", "2026-11-21T12:00:00+25:00", "1969-12-31T23:59:59Z", "२०२६-11-21T12:00:00Z", -1,
        float("nan"), float("inf"), 1e15,
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(value: object):
    """
    A value that means no time after 1970 raises a ValueError that says what would be right.
    """
    with pytest.raises(ValueError, match="should"):
        parse_time(value)


def test_an_outcome_is_read_with_its_envelope():
    """
    An outcome keeps its flags, its end, its latency and its unit; unknown fields are ignored.
    """
    event = read_event(outcome(id="7", sampledrate=3, color="red", context_id="u-5157", latency_ms=812))

    assert event is not None and isinstance(event.data, Outcome)
    assert (NOON_MS, "7", 3) == (event.time, event.id, event.sampledrate)
    assert ({"checkout-v2": "treatment", "new-cart": "control"}, 812.0) == (event.data.flags, event.data.latency_ms)


def test_the_bare_form_means_the_same():
    """
    A flat object with a short type gives the same data as its CloudEvent.
    """
    for event in (outcome(id="1"), exposure(), feedback()):
        enveloped, bare = read_event(event), read_event(flat(event), bare=True)

        assert enveloped is not None and bare is not None
        assert (enveloped.data, enveloped.time, enveloped.id) == (bare.data, bare.time, bare.id)


def test_dotted_names_are_taken():
    """
    OpenTelemetry's names, new and old, stand for ours where ours are absent.
    """
    event = read_event(
        {
            "type": "exposure", "time": NOON_MS, "feature_flag.key": "checkout-v2", "feature_flag.variant": "treatment",
            "feature_flag.result.reason": "split", "feature_flag.context.id": "u-1", "service.name": "api",
            "deployment.environment.name": "production",
        },
        bare=True,
    )  # fmt: skip

    expected = Exposure(flag_key="checkout-v2", variant="treatment", environment="production", context_id="u-1",
                        reason="split", service_name="api")  # fmt: skip
    assert event is not None
    assert expected == event.data


@pytest.mark.parametrize(
    ("changed", "is_exposure"),
    [({}, True), ({"reason": "TARGETING_MATCH"}, True), ({"reason": "DEFAULT"}, False), ({"reason": "stale"}, False),
     ({"reason": "error"}, False), ({"reason": "Disabled"}, False), ({"variant": None}, False)],
)  # fmt: skip
def test_only_a_chosen_variation_is_an_exposure(changed: dict[str, Any], is_exposure: bool):
    """
    Evaluations that fell back to a default, failed, were off or stale, or gave no variation expose nobody.
    """
    event = read_event(exposure(**changed))

    assert event is not None and isinstance(event.data, Exposure)
    assert is_exposure == event.data.is_exposure


def test_an_unknown_type_is_not_ours():
    """
    A type that is not ours gives None, whatever else the event holds.
    """
    assert read_event({"specversion": "1.0", "type": "com.example.sold", "data": 5}) is None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (outcome(latency_ms=-1), "data.latency_ms: should be greater than or equal to 0, not -1"),
        (outcome(latency_ms=float("nan")), "data.latency_ms: should be a finite number"),
        (outcome(latency_ms="12"), "data.latency_ms: should be a valid number, not '12'"),
        (outcome(latency_ms=8.2e8), "data.latency_ms: should be less than or equal to 86400000"),
        (outcome(outcome="failed"), "data.outcome: should be 'ok' or 'error', not 'failed'"),
        (outcome(outcome=None), "data.outcome: is required"),
        (outcome(flags=["checkout-v2"]), "data.flags: should be a valid dictionary"),
        (outcome(flags={"checkout-v2": 2}), "data.flags.checkout-v2: should be a valid string, not 2"),
        (outcome(flags={"": "treatment"}), "data.flags."),
        (outcome(environment=""), "data.environment: should have at least 1 character"),
        (outcome(environment="a|b"), "data.environment: should not contain '|'"),
        (outcome(time="today"), "time: should be an RFC 3339 time"),
        (outcome(time=None), "time: is required"),
        (outcome(sampledrate=0), "sampledrate: should be greater than or equal to 1, not 0"),
        (outcome(specversion="0.3"), "specversion: should be '1.0', not '0.3'"),
        (outcome(type=7), "type: should be a valid string, not 7"),
        (exposure(flag_key=""), "data.flag_key: should have at least 1 character"),
        (exposure(variant=""), "data.variant: should have at least 1 character"),
        (feedback(score=None), "data.score: is required for kind 'rating'"),
        (feedback(score=9), "data.score: should lie in 1 to 5 for kind 'rating', not 9"),
        (feedback(kind="thumb", score=0.5), "data.score: should be 0 or 1 for kind 'thumb', not 0.5"),
        (feedback(scale=[5, 1]), "data.scale: should rise"),
        (feedback(kind="shrug"), "data.kind: should be 'rating', 'nps', 'thumb' or 'report', not 'shrug'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(document: dict[str, Any], said: str):
    """
    The reason names the field, what would be right, and what was there.
    """
    assert said in why(document)


def test_a_report_needs_no_score():
    """
    Somebody who reports a problem gives no score.
    """
    event = read_event(feedback(kind="report", score=None))

    assert event is not None and isinstance(event.data, Feedback)


def test_the_models_document_themselves():
    """
    Each kind has a JSON Schema in which time is a date-time or a number, and unknown fields are allowed.
    """
    for model in MODELS.values():
        schema = model.model_json_schema()

        assert {"type": "string", "format": "date-time"} in schema["properties"]["time"]["anyOf"]
        assert "additionalProperties" not in schema


def test_an_event_is_written_as_it_is_read():
    """
    A model dumped to JSON is read back as the same event.
    """
    event = read_event(outcome(id="7"))

    assert event is not None
    assert event == CloudEvent[Outcome].model_validate(json.loads(event.model_dump_json()))
