"""Events as services write them, for tests: documents and Hypothesis strategies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from streams.codecs import Line

NOON_MS = 1_795_262_400_000
"""2026-11-21T12:00:00Z."""


def outcome(flags: Any = None, **given: Any) -> dict[str, Any]:
    """Return an outcome's CloudEvent; ``given`` replaces envelope attributes or fields of the data; None leaves out."""
    data = {
        "flags": {"checkout-v2": "treatment", "new-cart": "control"} if flags is None else flags,
        "environment": "production", "service_name": "checkout-api", "outcome": "ok", "latency_ms": 12.5,
        "context_id": "u-1",
    }  # fmt: skip
    return _event("outcome", data, given)


def exposure(flag_key: str = "checkout-v2", variant: str | None = "treatment", **given: Any) -> dict[str, Any]:
    """Return an exposure's CloudEvent; see ``outcome`` for ``given``."""
    data = {"flag_key": flag_key, "variant": variant, "environment": "production", "context_id": "u-1"}
    return _event("exposure", data, given)


def feedback(kind: str = "rating", score: float | None = 4, **given: Any) -> dict[str, Any]:
    """Return a feedback's CloudEvent; see ``outcome`` for ``given``."""
    data = {"flags": {"checkout-v2": "treatment"}, "environment": "production", "kind": kind, "score": score}
    return _event("feedback", data, given)


def flat(event: dict[str, Any]) -> dict[str, Any]:
    """Return the bare form of a CloudEvent made here."""
    bare = {name: value for name, value in event.items() if name not in ("specversion", "data")}
    kind = str(bare.get("type")).removeprefix("dev.rolloutguardian.").removesuffix(".v1")
    return {**event["data"], **bare, **({"type": kind} if isinstance(bare.get("type"), str) else {})}


def line(event: Any, offset: int = 0, headers: tuple[tuple[str, bytes], ...] = ()) -> Line:
    """Return a record that holds the event as JSON."""
    return Line(json.dumps(event).encode(), headers, offset, NOON_MS)


def _event(kind: str, data: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    event: dict[str, Any] = {
        "specversion": "1.0", "source": "/checkout-api/pod-7", "type": f"dev.rolloutguardian.{kind}.v1",
        "time": NOON_MS, "data": data,
    }  # fmt: skip
    for name, value in given.items():
        place = event if name in ("specversion", "id", "source", "type", "time", "sampledrate", "data") else data
        if value is None:
            place.pop(name, None)
        else:
            place[name] = value
    return event


def iso(at_ms: int) -> str:
    """Return the time as services mostly write it."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---------------------------------------------------------------------------- strategies

names = st.sampled_from(["checkout-v2", "new-cart", "a|b", "ü", "x" * 256])
variations = st.sampled_from(["control", "treatment", "v2"])
odd = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.just(1e300), st.just(""), st.text(max_size=5), st.just([]),
    st.just({}), st.just({"": "x"}), st.just({"a": None}), st.just("x" * 257), st.just(2.0), st.just("ok"),
)  # fmt: skip
"""What does not belong, mostly."""
times = st.one_of(
    st.integers(NOON_MS - 10**10, NOON_MS + 10_000).map(iso),
    st.integers(NOON_MS - 10**10, NOON_MS),
    st.integers(1_000_000_000, 1_800_000_000),
    st.floats(1e9, 1.8e9).map(lambda s: round(s, 3)),
    st.sampled_from(
        ["2026-11-21T12:00:00Z", "2026-11-21T12:00:00.1234567+05:30", "2026-11-21t12:00:00z", "2026-11-21 12:00:60Z",
         "2026-11-21T12:00:00", "2026-02-30T12:00:00Z", "2026-11-21T24:00:00Z", "1969-12-31T23:59:59Z", "yesterday"]
    ),
)  # fmt: skip
_optional: dict[str, st.SearchStrategy[Any]] = {
    "service_name": st.sampled_from(["checkout-api", "search", ""]),
    "context_id": st.sampled_from(["u-1", "u-2", "ü", ""]),
    "operation": st.sampled_from(["GET /", "", "ü"]),
    "error_type": st.sampled_from(["TimeoutError", ""]),
    "error.type": st.one_of(st.just("dotted-error"), odd),
    "attributes": st.one_of(
        st.just({"country": "DE", "n": [1, {"a": None}]}),
        st.dictionaries(st.sampled_from(["country", "plan", ""]), odd, max_size=2), odd,
    ),
    "measures": st.one_of(
        st.just({"quality": 0.5, "n": 1}), st.dictionaries(st.sampled_from(["quality", "n", "x"]), odd, max_size=2), odd,
    ),
    "feature_flag.context.id": st.just("dotted"),
    "service.name": st.just("dotted-service"),
    "unknown_field": odd,
}
_outcomes = st.fixed_dictionaries(
    {
        "flags": st.dictionaries(names, variations, max_size=3),
        "environment": st.sampled_from(["production", "staging"]),
        "outcome": st.sampled_from(["ok", "error"]),
    },
    optional={"latency_ms": st.one_of(st.floats(0, 1e8), st.integers(0, 5_000)), **_optional},
)
_exposures = st.fixed_dictionaries(
    {"flag_key": names, "environment": st.sampled_from(["production", "staging"])},
    optional={
        "variant": variations,
        "feature_flag.result.variant": variations,
        "latency_ms": st.just(3.5),
        "reason": st.sampled_from(["TARGETING_MATCH", "split", "DEFAULT", "error", "stale", "Disabled"]),
        "feature_flag.result.reason": st.sampled_from(["split", "default"]),
        **_optional,
    },
)
_feedback = st.fixed_dictionaries(
    {
        "flags": st.dictionaries(names, variations, min_size=1, max_size=2),
        "environment": st.just("production"),
        "kind": st.sampled_from(["rating", "nps", "thumb", "report"]),
    },
    optional={
        "score": st.one_of(st.integers(-1, 11), st.floats(0, 5), odd),
        "scale": st.one_of(st.sampled_from([[1, 5], [5, 1], [0, 1], [0, 10.5], [1], [1, "2"], [0, 1, 2]]), odd),
        "latency_ms": st.just(3.5), **_optional,
    },
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """CloudEvents of all kinds: about half are valid, the others have one field that is odd or missing."""
    kind = draw(st.sampled_from(["outcome", "outcome", "exposure", "feedback"]))
    data = draw({"outcome": _outcomes, "exposure": _exposures, "feedback": _feedback}[kind])
    event: dict[str, Any] = {
        "specversion": "1.0", "type": f"dev.rolloutguardian.{kind}.v1", "time": draw(times), "data": data,
    }  # fmt: skip
    event |= draw(st.fixed_dictionaries({}, optional={
        "id": st.sampled_from(["1", "2", ""]), "source": st.just("/api"), "sampledrate": st.sampled_from([1, 2, 1000]),
    }))  # fmt: skip
    if draw(st.booleans()):
        place: dict[str, Any] = draw(st.sampled_from([event, data]))
        name = draw(st.sampled_from(sorted(place)))
        if draw(st.booleans()):
            place[name] = draw(odd)
        else:
            del place[name]
    return event
