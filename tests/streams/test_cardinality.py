"""Promises about whoever makes names up, a million of them: memory is bounded, nobody else is disturbed, and it is told."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from guardian.bank import Bank
from guardian.config import JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.events import NAME_LENGTH_MAX, parse_time
from guardian.journal import PolicyEntry, Summary, encode
from guardian.plan import Plan
from guardian.policy import parse_policy, policy_hash
from streams.codecs import Line
from streams.fold import Fold
from streams.folding.admission import NEWCOMER_EVENTS, NEWCOMERS_MAX, VARIATIONS_MAX
from streams.observing.excess import Excess, too_many
from tests.support.events import NOON_MS, exposure, outcome
from tests.support.traffic import Traffic

KEY = "production|checkout-v2"
FLUSH_MS = 100
KINDS = 6
LONG = "n" * (NAME_LENGTH_MAX - 20)
OTHER = "production|other"
PLANS = {OTHER: Plan(segments=("country",), fresh=True, latency=True)}
POLICY = parse_policy(
    {
        "flag": "checkout-v2", "environment": "production", "false_kills": {"per_rollout": 0.001},
        "guardrails": [{"when": "error_rate > 1.2x control", "then": "kill"}],
    }
)  # fmt: skip
HARM = Traffic(seconds=16, rps=200, error=lambda v, s: 0.25 if v == "treatment" and s > 8 else 0.01, seed=5)
MEMORY_MAX = 100_000_000
ATTACK = 60_000


class Seen(NamedTuple):
    """What became of the events: decisions, bytes of the journal, and the fold with all that it remembers."""

    decisions: list[Decision]
    journal_bytes: int
    fold: Fold


def made_up(number: int, at_ms: int) -> dict[str, Any]:
    """Return an event that nobody has seen the like of: another flag, variation, unit, attribute, service or source."""
    name, kind = f"{LONG}{number}", number % KINDS
    common: dict[str, Any] = {"time": at_ms, "id": str(number), "context_id": f"u-{number % 50}"}
    flags = {"other": "on"}
    if kind == 0:
        return exposure(name, "on", **common)
    if kind == 1:
        return outcome({"checkout-v2": name}, **common)
    if kind == 2:
        return outcome(flags, **common | {"context_id": name})
    if kind == 3:
        return outcome(flags, attributes={"country": name}, **common)
    if kind == 4:
        return outcome(flags, service_name=name, operation=name, **common)
    return outcome({name: name}, source=name, **common)


def told() -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the events of a rollout whose treatment begins to fail, with their times."""
    for number, request in enumerate(HARM.requests()):
        common = {"context_id": f"u{request.unit}"}
        yield request.start_ms, exposure("checkout-v2", request.variation, time=request.start_ms, id=f"e{number}", **common)
        ended = {"outcome": "error" if request.failed else "ok", "latency_ms": request.latency_ms}
        yield (
            request.end_ms,
            outcome({"checkout-v2": request.variation}, time=request.end_ms, id=f"o{number}", **common, **ended),
        )


def judge(attack: int, from_part: float = 0.3) -> Seen:
    """Fold and judge the rollout's events; after some time so many events are among them whose names are made up."""
    events = sorted(told(), key=lambda one: one[0])
    first_ms, last_ms = events[0][0], events[-1][0]
    fold, bank, offset, number = Fold("t/0"), Bank(JudgeConfig()), 0, 0
    fold.plans, fold.known = PLANS, {KEY: ("control", "treatment"), OTHER: ()}
    document = POLICY.to_document()
    bank.apply(0, PolicyEntry(at_ms=first_ms, key=KEY, hash=policy_hash(POLICY), document=document))
    attack_ms = first_ms + from_part * (last_ms - first_ms)
    each = round(attack / ((last_ms - attack_ms) / FLUSH_MS))
    decisions, size, at = [], 0, 0
    for now_ms in range(first_ms, last_ms + 5_000, FLUSH_MS):
        values = []
        while at < len(events) and events[at][0] <= now_ms:
            values.append(events[at][1])
            at += 1
        if attack_ms <= now_ms <= last_ms:
            values += [made_up(number + more, now_ms) for more in range(each)]
            number += each
        records = [Line(json.dumps(value).encode(), (), offset + place) for place, value in enumerate(values)]
        if records:
            fold.take(records, now_ms)
        summary = Summary(source="t/0", at_ms=now_ms, passed_ms=now_ms, offsets=[], flags=fold.flush(now_ms))
        size += len(encode(summary))
        offset += len(records)
        effects = bank.apply(offset + now_ms, summary)
        decisions += [effect.decision for effect in effects if isinstance(effect, Decide)]
    return Seen(decisions, size, fold)


def kill_of(seen: Seen) -> Decision:
    return next(one for one in seen.decisions if one.action == "kill" and one.variant == "treatment")


@pytest.fixture(scope="module")
def peace() -> Seen:
    return judge(0)


@pytest.fixture(scope="module")
def attacked() -> Seen:
    return judge(ATTACK)


def test_a_rollout_is_not_disturbed(peace, attacked):
    """Its treatment is killed, and nobody else, when it would have been killed in peace, or within half a second of that."""
    late_ms = parse_time(kill_of(attacked).decided_at) - parse_time(kill_of(peace).decided_at)

    assert abs(late_ms) <= 500
    assert {"treatment"} == {one.variant for one in attacked.decisions}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_million_names_disturb_nobody_either(peace):
    """The same with a million."""
    attacked = judge(1_000_000)

    assert abs(parse_time(kill_of(attacked).decided_at) - parse_time(kill_of(peace).decided_at)) <= 500
    assert attacked.journal_bytes - peace.journal_bytes < _journal_most(1_000_000)


def test_the_journal_is_not_flooded(peace, attacked):
    """It grows by the names that an honest installation may have, and beyond that by a hundredth of the attack."""
    assert peace.journal_bytes < attacked.journal_bytes < peace.journal_bytes + _journal_most(ATTACK)


def _journal_most(events: int) -> int:
    return (NEWCOMERS_MAX + events // NEWCOMER_EVENTS) * 1_000


def test_what_is_left_out_is_counted_and_named(attacked):
    """Every event counts for what is told apart of it; how many named more is known, and some of the names."""
    counts, told = attacked.fold.counts, Excess("t/0", clock_s=lambda: 0.0)
    with capture_logs() as lines:
        for _ in range(3):
            told.tell(counts, attacked.fold.examples)
    left_out = too_many(counts)

    assert counts.exposures + counts.outcomes >= ATTACK
    assert left_out["variations"] == pytest.approx(ATTACK / KINDS, rel=0.05)
    assert 0 < left_out["services"] < ATTACK / KINDS
    assert ATTACK / KINDS < left_out["flags"] < 2 * ATTACK / KINDS
    (line,) = lines
    assert left_out == line["events"]
    assert {"flags", "variations", "services"} == set(line["examples"])
    assert line["examples"]["variations"][0].startswith(f"{KEY}=nnn")


def test_a_flag_with_a_rollout_always_counts():
    """While all room is taken a flag counts as soon as it has a rollout, with the variations that this is known to have."""
    fold = Fold("t/0")
    fold.take([_line(made_up(KINDS * number, NOON_MS), number) for number in range(NEWCOMERS_MAX + 500)], NOON_MS)
    fold.flush()
    fold.known = {"production|new": {f"v{number}" for number in range(VARIATIONS_MAX + 5)}}
    flags = {"new": f"v{VARIATIONS_MAX + 4}"}
    fold.take([_line(outcome(flags, time=NOON_MS, id="x"), NEWCOMERS_MAX + 500)], NOON_MS)
    found = {flag.key: flag for flag in fold.flush()}

    assert {"production|new"} == set(found)
    assert [f"v{VARIATIONS_MAX + 4}"] == list(found["production|new"].ticks[0].arms)


def test_whoever_comes_later_is_taken_in():
    """After an attack an honest flag without a rollout is summed again when a few more events were read."""
    fold = Fold("t/0")
    fold.take([_line(made_up(KINDS * number, NOON_MS), number) for number in range(NEWCOMERS_MAX + 500)], NOON_MS)
    fold.flush()
    honest = [outcome({"honest": "on"}, time=NOON_MS, id=f"h{number}") for number in range(3 * NEWCOMER_EVENTS)]
    for number, event in enumerate(honest):
        fold.take([_line(event, NEWCOMERS_MAX + 500 + number)], NOON_MS)
    (flag,) = fold.flush()

    assert "production|honest" == flag.key
    assert flag.ticks[0].arms["on"].outcomes >= len(honest) - NEWCOMER_EVENTS


@pytest.mark.parametrize("events", [12_000, pytest.param(150_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_memory_is_bounded(events):
    """A fold that meets ever new names, each as long as may be, stays within what it had after a part of them."""
    fold, taken = Fold("t/0"), 0
    fold.plans, fold.known = PLANS, {KEY: ("control", "treatment"), OTHER: ()}

    def take(events: int) -> int:
        nonlocal taken
        for first in range(taken, taken + events, 2_000):
            fold.take([_line(made_up(number, NOON_MS), number) for number in range(first, first + 2_000)], NOON_MS)
            fold.flush()
        taken += events
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early, late = take(events), take(events)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MEMORY_MAX
    assert late < early + 0.2 * MEMORY_MAX


def _line(event: dict[str, Any], offset: int) -> Line:
    return Line(json.dumps(event).encode(), (), offset)
