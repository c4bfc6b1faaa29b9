"""The made-up recordings are what they say: events as services write them, and harm where and when it was asked for."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardian.events import Feedback as FeedbackEvent
from guardian.events import Outcome, read_event
from streams.apps.recordings import read
from tests.calibration.scenes import WORLD
from tests.support.recorded import T0_MS, Feedback, Harm, Outage, Recording, record

RICH = replace(WORLD, feedback=Feedback(ratings=0.3, nps=0.3, thumbs=0.3, reports=0.01))
LONG = replace(RICH, seconds=100.0)
HALF_S = 50.0


def events(recording: Recording, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording.lines if line.startswith(f'{{"type":"{kind}"'.encode())]


def variation(event: dict[str, Any]) -> str:
    return str(event.get("variant") or event["flags"]["checkout-v2"])


def gap(made: list[dict[str, Any]], value: Any, *, late: bool) -> float:
    """Return treatment's mean of a value less control's, of the events of the first or of the second half."""
    means = []
    for of in ("treatment", "control"):
        half = [e for e in made if variation(e) == of and (e["time"] - T0_MS >= 1_000 * HALF_S) == late]
        means.append(sum(value(event) for event in half) / len(half))
    return means[0] - means[1]


def test_every_line_is_an_event():
    """
    The event contract takes every line of a world with everything in it.
    """
    recording = record(replace(RICH, seconds=10.0))
    read_as = [read_event(json.loads(line), bare=True) for line in recording.lines]

    assert {"exposure", "outcome", "feedback"} == {event.type for event in read_as if event}
    assert {"rating", "nps", "thumb", "report"} == {e.data.kind for e in read_as if e and isinstance(e.data, FeedbackEvent)}
    assert all(e.data.measures and e.data.attributes for e in read_as if e and isinstance(e.data, Outcome))


def test_a_world_is_its_seed():
    """
    The same world gives the same bytes, another seed others.
    """
    world = replace(WORLD, seconds=5.0)

    assert record(world).lines == record(world).lines
    assert record(world).lines != record(replace(world, seed=2)).lines


def test_users_keep_their_variation():
    """
    While the share stands, a user sees one variation; when it rises, nobody is moved back to control.
    """
    seen: dict[str, list[str]] = defaultdict(list)
    for event in events(record(replace(WORLD, seconds=40.0, users=500, share=((0.0, 0.1), (20.0, 0.5)))), "exposure"):
        stage = "early" if event["time"] < T0_MS + 20_000 else "late"
        seen[event["context_id"]].append(f"{stage} {variation(event)}")

    assert all(len({one for one in of if one.startswith(stage)}) <= 1 for of in seen.values() for stage in ("early", "late"))
    assert not any({"early treatment", "late control"} <= set(of) for of in seen.values())
    assert any({"early control", "late treatment"} <= set(of) for of in seen.values())


def test_lines_stand_in_the_order_of_arrival(tmp_path: Path):
    """
    Times of arrival never fall, and a file is read as what was recorded, for what came in time.
    """
    recording = record(replace(RICH, seconds=10.0, late=0.0, duplicates=0.0))
    recording.write(tmp_path / "events.jsonl")
    in_file = list(read([str(tmp_path / "events.jsonl")], []))

    assert sorted(recording.arrival_ms.tolist()) == recording.arrival_ms.tolist()
    assert [(e.time_ms, e.value) for e in recording.recorded()] == [(e.time_ms, e.value) for e in in_file]


def test_repeated_and_late_events_are_as_many_as_asked_for():
    """
    Repeated events are the same bytes again; late outcomes arrive so much after their end.
    """
    recording = record(replace(LONG, duplicates=0.1, late=0.1, late_s=20.0))
    ids = [(event["type"], event["id"]) for event in map(json.loads, recording.lines)]
    late = [
        at_ms - json.loads(line)["time"] >= 20_000
        for at_ms, line in zip(recording.arrival_ms.tolist(), recording.lines, strict=True)
        if b'"outcome"' in line
    ]

    assert len(set(recording.lines)) == len(set(ids))
    assert 0.1 == pytest.approx(len(ids) / len(set(ids)) - 1.0, rel=0.1)
    assert 0.1 == pytest.approx(sum(late) / len(late), rel=0.1)


def _score(event: dict[str, Any]) -> float:
    return float(event["score"])


def _failed(event: dict[str, Any]) -> float:
    return float(event["outcome"] == "error")


HARMS: dict[str, tuple[Harm, str, Any, str, float]] = {
    "errors": (Harm(errors=5.0), "outcome", _failed, "", 0.04),
    "errors of a country": (Harm(errors=20.0, only={"country": "DE"}), "outcome", _failed, '"DE"', 0.19),
    "nobody else's": (Harm(errors=20.0, only={"country": "DE"}), "outcome", _failed, '"US"', 0.0),
    "latency": (Harm(slower=2.0), "outcome", lambda e: e["latency_ms"] > 160.0, "", 0.307),
    "latency of an operation": (
        Harm(slower=2.0, only={"operation": "GET /search"}), "outcome", lambda e: e["latency_ms"] > 160.0, "/search", 0.307,
    ),
    "ratings": (Harm(csat_drop=0.9), "feedback", _score, '"rating"', -0.855),
    "nps": (Harm(nps_drop=0.8), "feedback", _score, '"nps"', -2.8),
    "thumbs": (Harm(thumbs_down=3.0), "feedback", _score, '"thumb"', -0.2),
    "quality": (Harm(quality_drop=0.2), "outcome", lambda e: e["measures"]["quality"], "", -0.2),
    "conversion": (Harm(conversion=0.5), "outcome", lambda e: e["measures"]["converted"], "", -0.2),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "kind", "value", "only", "changes"), HARMS.values(), ids=HARMS.keys())
def test_harm_begins_when_it_should_and_hurts_treatment_alone(harm: Harm, kind: str, value: Any, only: str, changes: float):
    """
    From its onset on the treatment's mean is off by what was asked for; before it, and of control, nothing changes.
    """
    recording = record(replace(LONG, rps=200.0, harm=replace(harm, from_s=HALF_S)))
    made = [event for event in events(recording, kind) if only in json.dumps(event)]
    before, after = (gap(made, value, late=late) for late in (False, True))
    exactly = max(0.03, 0.1 * abs(changes))

    assert 0.0 == pytest.approx(before, abs=exactly)
    assert changes == pytest.approx(after, abs=exactly)


@pytest.mark.parametrize(
    ("harm", "exposed", "ended"),
    [
        (Harm(silent=True), 0.0, 0.0),
        (Harm(mute=True), 1.0, 0.0),
        (Harm(hang=1.0), 1.0, 0.0),
        (Harm(hang=0.25), 1.0, 0.75),
        (Harm(lost=0.5), 0.5, 0.5),
    ],
    ids=["silent", "mute", "hangs", "hangs now and then", "lost"],
)
def test_what_is_not_heard_is_missing(harm: Harm, exposed: float, ended: float):
    """
    Of the treatment, so many of its exposures and outcomes are there; of control, all.
    """
    recording = record(replace(LONG, duplicates=0.0, harm=harm))
    made = {"treatment": int(recording.requests.is_treated.sum()), "control": int((~recording.requests.is_treated).sum())}
    heard = {
        (kind, of): sum(variation(event) == of for event in events(recording, kind)) / made[of]
        for kind in ("exposure", "outcome")
        for of in made
    }

    assert {("exposure", "control"): 1.0, ("outcome", "control"): 1.0} == {at: heard[at] for at in heard if "control" in at}
    assert (exposed, ended) == pytest.approx((heard["exposure", "treatment"], heard["outcome", "treatment"]), abs=0.03)


def test_nothing_arrives_in_an_outage():
    """
    What would have arrived in an outage is gone, or the outcomes alone.
    """
    world = replace(WORLD, outages=(Outage(5.0, 10.0), Outage(15.0, 20.0, of_outcomes_alone=True)), late=0.0, duplicates=0.0)
    recording = record(world)
    seconds: dict[str, set[int]] = {"exposure": set(), "outcome": set()}
    for event in map(json.loads, recording.lines):
        seconds.get(event["type"], set()).add((event["time"] - T0_MS) // 1_000)

    assert {*range(5, 10)} == {*range(25)} - seconds["exposure"]
    assert {*range(5, 10), *range(15, 20)} == {*range(25)} - seconds["outcome"]
