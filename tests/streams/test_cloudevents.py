"""The envelope of everything that the guardian tells the world."""

from __future__ import annotations

import json

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import DECISION_TYPE, Decision
from guardian.errors import EventError
from streams.cloudevents import CONTENT_TYPE, from_event, read_event, to_event
from tests.support.movers import decision


def event_of(given: Decision) -> bytes:
    return to_event(DECISION_TYPE, given, id=given.decision_id, time=given.decided_at, source="/guardian/judge")


@given(st.text(), st.floats(0, 1), st.dictionaries(st.text(), st.tuples(st.integers(0, 2**53), st.integers(0, 2**53))))
def test_what_goes_in_comes_out(text, share, sources):
    """Any decision is the same after a trip through its event."""
    sent = decision(explanation=text, share=share, sources=sources)

    assert sent == from_event(event_of(sent), Decision, type=DECISION_TYPE)


def test_same_decision_gives_the_same_bytes():
    """A repeat cannot be told from the first one."""
    assert event_of(decision()) == event_of(decision())


def test_others_read_it_as_a_cloudevent():
    """The CloudEvents SDK reads the record by its Kafka binding: all required attributes are there, and the data."""
    message = KafkaMessage(headers=dict(CONTENT_TYPE), key=None, value=event_of(decision()))
    event = from_structured_event(message)

    assert (decision().decision_id, DECISION_TYPE) == (event.get_id(), event.get_type())
    assert ("1.0", "application/json") == (event.get_specversion(), event.get_datacontenttype())
    data = event.get_data()
    assert isinstance(data, dict)
    assert "checkout" == data["flag_key"]


def test_data_may_be_a_plain_object():
    """Records of the flag-state topic have no model of their own."""
    raw = to_event("t", {"version": 3}, id="1", time="2026-11-21T01:00:00Z", source="/s")

    assert {"version": 3} == json.loads(raw)["data"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "has no value"),
        (b"", "not a CloudEvent"),
        (b"[]", "Expected `object`"),
        (b'{"id":"1"}', "missing required field `source`"),
        (event_of(decision()).replace(b'"1.0"', b'"0.3"'), "specversion: '0.3': only 1.0 is read"),
    ],
)
def test_what_is_no_event_says_why(raw, said):
    """An envelope that cannot be read is an EventError that names what is wrong."""
    with pytest.raises(EventError, match=said):
        read_event(raw)


def test_wrong_type_and_every_wrong_field_are_named():
    """Data that does not fit says each field, not only the first."""
    raw = to_event(DECISION_TYPE, {"flag_key": 3}, id="1", time="", source="/s")

    with pytest.raises(EventError, match=r"data.decision_id: .*; data.flag_key: "):
        from_event(raw, Decision)
    with pytest.raises(EventError, match="expected 'other'"):
        from_event(raw, Decision, type="other")
