"""Promises about reading bytes: both ways agree, every form is taken, nothing raises."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import xxhash
from cloudevents.core.bindings.kafka import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardian.events import NAME_LENGTH_MAX, Feedback
from guardian.plan import Plan, position
from streams.codecs import EXPOSURE, FEEDBACK, OUTCOME, SKIPPED, UNKNOWN, Codec, Event, Line, Refused, read_record
from streams.folding.columns import read
from streams.folding.details import Details
from streams.folding.names import Names, Settings
from tests.support.events import NOON_MS, documents, exposure, feedback, flat, iso, line, outcome

FRAME = b"\x00\x00\x00\x00\x07"
MEASURES = ("quality", "n")


PLANS = {"production|a": Plan(segments=("country",), scores={f"measure:{name}": (0.0, 1.0) for name in MEASURES})}


def fast(records: list[Line], *, bare: bool = False, detailed: bool = True) -> list[Any]:
    """
    Return what the hot path makes of each record: the values that the sums need, or the reason it is refused.

    Where it is ``detailed``, also those that only some plans want.
    """
    names = Names()
    table = Settings(names)
    details = Details(PLANS if detailed else {})
    codec = Codec(bare=bare)
    codec.detailed = detailed
    batch = read(records, codec, table, details)
    found: list[Any] = [batch.reasons.get(at, "not counted") for at in range(len(records))]
    for i, at in enumerate(batch.at.tolist()):
        number = int(batch.setting[i])
        first, count = int(table.first[number]), int(table.count[number])
        arms = [
            (names.flag_keys[names.flag_of_arm[arm]], names.variations[arm])
            for arm in table.arms[first : first + count].tolist()
        ]
        latency = None if math.isnan(batch.latency_ms[i]) else float(batch.latency_ms[i])
        keyed = batch.keyed is None or bool(batch.keyed[i])
        found[at] = (
            int(batch.kind[i]), int(batch.time_ms[i]), arms, bool(table.error[number]),
            latency, int(batch.unit[i]), names.services[int(table.service[number])],
            int(batch.weight[i]), keyed, (int(batch.said[i]), int(batch.score[i])),
            tuple(details[int(batch.detail[i])]) if batch.detail[i] >= 0 else None,
            {name: float(values[i]) for name, values in batch.measures.items() if not math.isnan(values[i])},
        )  # fmt: skip
    return found


def careful(record: Line, *, bare: bool = False, detailed: bool = True) -> Any:
    """Return what the documented models make of a record, as the same values."""
    try:
        event = read_record(record.value, record.headers, bare=bare)
    except Refused as refused:
        return str(refused)
    if isinstance(event, int):
        assert event in (SKIPPED, UNKNOWN)
        return "not counted"
    unit = xxhash.xxh3_64_intdigest(event.context_id.encode()) if event.context_id else 0
    arms = [(f"{event.environment}|{flag}", v) for flag, v in event.flags.items()]
    # Longer names are cut where they are told of.
    service = "" if event.kind == FEEDBACK else (event.service_name or "")[:NAME_LENGTH_MAX]
    told = event.operation, event.service_name, event.error_type, event.attributes or {}
    is_told = detailed and event.kind == OUTCOME
    measures = {name: value for name, value in (event.measures or {}).items() if name in MEASURES and detailed}
    return (
        event.kind, event.time_ms, arms, event.error, event.latency_ms, unit, service, event.weight, bool(event.id),
        said_of(event), told if is_told else None, measures,
    )  # fmt: skip


def said_of(event: Event) -> tuple[int, int]:
    """Return the kind of feedback and the position of its score, as the models have them."""
    if event.kind != FEEDBACK:
        return -1, 0
    model = Feedback.model_validate(
        {"flags": event.flags, "environment": "e", "kind": event.said, "score": event.score, "scale": event.scale}
    )
    kinds = ["rating", "nps", "thumb", "report"]
    return kinds.index(model.kind), 0 if model.kind == "report" else position(model.score or 0.0, *model.bounds)


@given(st.lists(documents(), max_size=20), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_fast_way_agrees_with_the_models(events: list[dict[str, Any]], detailed: bool):
    """
    For valid and invalid CloudEvents alike, the hot path and the documented models accept the same values, or both
    refuse with the same reason; also of feedback, and of what outcomes tell where a plan wants it.
    """
    records = [line(event, offset) for offset, event in enumerate(events)]

    assert [careful(record, detailed=detailed) for record in records] == fast(records, detailed=detailed)


def test_feedback_is_read_the_fast_way():
    """
    Valid feedback of each kind is read without the models.
    """
    given_events = [feedback("rating", 2, scale=[0, 3]), feedback("nps", 9), feedback("thumb", 0), feedback("report", None)]
    codec = Codec()

    found = codec.decode([line(event) for event in given_events])

    assert ([0, 1, 2, 3], [FEEDBACK] * 4, {}) == (found.at, found.kinds, found.odd)
    assert [careful(line(event)) for event in given_events] == fast([line(event) for event in given_events])


@given(st.lists(documents(), max_size=20))
@settings(max_examples=100, deadline=None)
def test_the_fast_way_agrees_with_the_models_on_bare_events(events: list[dict[str, Any]]):
    """
    The same holds for flat objects, mixed with CloudEvents, on topics configured so.
    """
    flats = [flat(event) for event in events if isinstance(event.get("data"), dict)]
    records = [line(event, at) for at, event in enumerate([*flats, *events])]

    assert [careful(record, bare=True) for record in records] == fast(records, bare=True)


@given(st.binary(max_size=60), st.booleans())
@example(b'{"specversion":"1.0","type":"dev.rolloutguardian.outcome.v1","data":' + b"[" * 100_000, False)
@example(b'"\\ud800"', False)
@settings(max_examples=300, deadline=None)
def test_no_bytes_stop_the_decoder(garbage: bytes, bare: bool):
    """
    Whatever bytes a record holds, its neighbours are read, and it is refused with a reason that names the field.
    """
    good = line(outcome())

    found = fast([good, Line(garbage), good], bare=bare)

    assert careful(good) == found[0] == found[2]
    assert ": " in found[1]


@given(st.integers(0, 400), st.binary(max_size=3))
@settings(max_examples=300, deadline=None)
def test_no_damage_stops_the_decoder(at: int, bytes_put: bytes):
    """
    An event damaged anywhere is read or refused like by the models; nothing is raised.
    """
    value = json.dumps(outcome(attributes={"a": "ü"}, operation="GET /")).encode()
    damaged = Line(value[:at] + bytes_put + value[at + len(bytes_put) :])

    found = fast([damaged, line(outcome())])

    assert careful(line(outcome())) == found[1]
    if isinstance(careful(damaged), tuple):
        assert careful(damaged) == found[0]


@pytest.mark.parametrize("event", [outcome(id="1", latency_ms=3), exposure(id="2"), feedback()])
def test_all_forms_of_an_event_mean_the_same(event: dict[str, Any]):
    """
    Structured, binary, framed and bare give the same values; binary and structured as the CloudEvents SDK writes them.
    """
    event = {**event, "time": iso(NOON_MS), "id": "9", "sampledrate": 2}
    official = CloudEvent({k: str(v) for k, v in event.items() if k not in ("data", "time")} | {"sampledrate": 2}, event["data"])
    binary, structured = to_binary(official, JSONFormat()), to_structured(official, JSONFormat())
    records = [
        line(event),
        Line(FRAME + json.dumps(event).encode()),
        Line(binary.value, tuple({**binary.headers, "ce_time": iso(NOON_MS).encode()}.items())),
        Line(structured.value, tuple(structured.headers.items())),
    ]
    records[3] = Line(json.dumps({**json.loads(structured.value), "time": iso(NOON_MS)}).encode(), records[3].headers)

    found = fast(records)

    assert [careful(records[0])] * 4 == found
    assert [careful(records[0])] == fast([line(flat(event))], bare=True)


def test_a_bare_event_is_refused_where_it_is_not_configured():
    """
    A flat object on a topic of CloudEvents is refused with a reason that says how to configure it.
    """
    assert "specversion: is required" in fast([line(flat(outcome()))])[0]
    assert "configured as bare" in fast([line(flat(outcome()))])[0]


def test_foreign_types_are_unknown_not_wrong():
    """
    An event of another type is counted as unknown, whatever its data is, and wherever the type stands.
    """
    odd_data: tuple[Any, ...] = (1, {}, {"flags": {}, "latency_ms": "long"})
    events = [{"specversion": "1.0", "type": "com.example.sold", "data": data} for data in odd_data]
    records = [line(event) for event in (*events, *(dict(reversed(event.items())) for event in events))]
    batch = read(records, Codec(), Settings(Names()), Details({}))

    assert (6, 0, {}) == (batch.unknown, len(batch), batch.reasons)


def test_a_careful_event_says_what_it_is():
    """
    One record can be read on its own, as files are.
    """
    read = read_record(line(flat(outcome(id="1", source="/a"))).value, bare=True)

    expected = Event(
        kind=OUTCOME, time_ms=NOON_MS, environment="production",
        flags={"checkout-v2": "treatment", "new-cart": "control"}, latency_ms=12.5, context_id="u-1",
        service_name="checkout-api", id="1", source="/a",
    )  # fmt: skip
    assert expected == read
    assert EXPOSURE == getattr(read_record(line(exposure()).value), "kind", None)
