"""No decoder stops for what others write: each takes it, or refuses it in the one way that it promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from guardian.bank import Bank
from guardian.config import JudgeConfig
from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, ROLLOUT_TYPE, Decision, Receipt, RolloutView
from guardian.errors import EventError, ProblemsError
from guardian.journal import Beat, Summary, encode
from guardian.plan import Plan
from guardian.summaries import Arm, FlagSums, MixedUnit, Sight, Tick
from streams.apps.overrides import OverrideWish
from streams.apps.sent_policies import read_sent
from streams.cloudevents import from_event, to_event
from streams.codecs import Line
from streams.flag_state import FLAG_STATE_TYPE, Records
from streams.flag_state import read_record as read_flag_state
from streams.fold import Fold, FoldConfig
from streams.judging import Judge
from streams.observing.plans import Plans
from streams.settings import Settings
from streams.topics import Topics
from tests.support.events import NOON_MS, exposure, feedback, flat, line, outcome
from tests.support.hostile import HUGE, Hostile, hostile, kinds
from tests.support.movers import MemoryOutlet, events
from tests.support.published import decision, receipt, rollout

ROUNDS = 40
"""Of all kinds, for each decoder."""
GOODS = {
    "outcome": outcome(attributes={"country": "DE", "n": [1, {"a": None}]}, measures={"quality": 0.5}, id="1", operation="GET /"),
    "exposure": exposure(reason="split", service_name="api", id="2"),
    "feedback": feedback("rating", 4, scale=[1, 5]),
}
PLANS = {
    "production|checkout-v2": Plan(
        latency=True, over_us=(1_000,), scores={"measure:quality": (0.0, 1.0), "feedback:rating": (1.0, 5.0)},
        reports=True, fresh=True, segments=("country", "n"), company=True,
    ),
}  # fmt: skip
DONE = decision(at_ms=NOON_MS)


def some(good: dict[str, Any], dice: Any, rounds: int = ROUNDS, huge: int = HUGE // 10) -> list[Hostile]:
    """Hostile variants of a document, so many of each kind, and one of each that is huge."""
    bulk = islice(hostile(good, dice), rounds * len(kinds()))
    return [*bulk, *islice(hostile(good, dice, huge=huge), len(kinds()))]


@pytest.mark.parametrize("planned", [False, True], ids=["plain", "planned"])
@pytest.mark.parametrize("bare", [False, True], ids=["structured", "bare"])
@pytest.mark.parametrize("kind", GOODS)
def test_events(kind, bare, planned, dice):
    """
    Whatever stands beside it, a good event of each kind is counted; each hostile one is counted, passed over, or dead with
    its reason and what was kept of it.
    """
    good = flat(GOODS[kind]) if bare else GOODS[kind]
    fold = Fold("t/0", FoldConfig(bare=bare))
    fold.plans = PLANS if planned else {}
    records, letters = [], 0
    for at, one in enumerate(some(good, dice)):
        records += [Line(one.value, one.headers, 2 * at, NOON_MS, one.key), line(good | {"id": f"good-{at}"}, 2 * at + 1)]
    for start in range(0, len(records), 97):
        for letter in fold.take(records[start : start + 97], NOON_MS):
            letters += 1
            assert ": " in letter.reason
        fold.flush()
    counts = fold.counts

    assert letters == counts.dead
    assert counts.exposures + counts.outcomes + counts.feedback >= len(records) / 2
    taken = counts.exposures + counts.outcomes + counts.feedback + counts.duplicates + counts.unknown + counts.skipped
    assert len(records) == taken + counts.dead


@pytest.mark.parametrize("at_ms", [10**4_000, 253_402_300_800_000])
async def test_a_journal_entry_of_no_time(at_ms):
    """An entry whose time nothing can be reckoned with is buried with its reason, and moves no clock."""
    outlet = MemoryOutlet()
    judge = Judge(lambda: Bank(JudgeConfig()), outlet, Topics())  # type: ignore[arg-type]
    judge.recovered([0], lambda _: 0)
    beat = encode(Beat(source="t/0", at_ms=NOON_MS, passed_ms=NOON_MS))
    [hostile] = events(Topics().journal, [beat.replace(f'"at_ms":{NOON_MS}'.encode(), f'"at_ms":{at_ms}'.encode())])
    await judge.take(hostile)
    await asyncio.gather(*(owed.delivery for owed in judge.partitions[0].owed if owed.delivery))

    [letter] = outlet.on(Topics().dead_letters)
    assert b"at_ms" in dict(letter.headers)["guardian_reason"]
    assert judge.readiness()[0] and 0 == judge.readiness()[2]["not_applied"]
    judge.revoked()


async def test_journal_entries(dice):
    """Judge takes each record of the journal, or buries it once with its reason, and judges on."""
    arm = Arm(exposures=5, outcomes=4, errors=1, units=[7], latency={3: 1}, scores={"feedback:rating": {4: 1.0}})
    sums = FlagSums(
        key="production|checkout-v2", ticks=[Tick(start_ms=NOON_MS, length_ms=200, arms={"treatment": arm})],
        delays={"treatment": {3: 4}}, mixed=[MixedUnit(unit=7, from_ms=NOON_MS, variations=["a", "b"], services=["s"])],
        cohort=[Sight(1, NOON_MS, "a", "s")],
    )  # fmt: skip
    good = encode(Summary(source="t/0", at_ms=NOON_MS, passed_ms=NOON_MS, offsets=[1, 2], flags=[sums]))
    outlet = MemoryOutlet()
    judge = Judge(lambda: Bank(JudgeConfig()), outlet, Topics())  # type: ignore[arg-type]
    judge.recovered([0], lambda _: 0)
    sent = events(Topics().journal, [one.value for one in some(json.loads(good), dice, 10)])
    for one in [*sent, *events(Topics().journal, [good], first=len(sent))]:
        await judge.take(one)
    ready, _, numbers = judge.readiness()

    assert ready
    assert 0 == numbers["not_applied"]
    assert {"production|checkout-v2"} <= set(judge.partitions[0].bank.unwatched)
    assert all(dict(letter.headers)["guardian_reason"] for letter in outlet.on(Topics().dead_letters))
    judge.revoked()


def model(of_type: str, kind: type[BaseModel]) -> Callable[[bytes | None], object]:
    return lambda value: from_event(value, kind, type=of_type)


EVENTS: dict[str, tuple[Any, Callable[[bytes | None], object]]] = {
    "decision": (DONE, model(DECISION_TYPE, Decision)),
    "receipt": (receipt(DONE, "applied"), model(RECEIPT_TYPE, Receipt)),
    "rollout": (rollout(at_ms=NOON_MS), model(ROLLOUT_TYPE, RolloutView)),
}


@pytest.mark.parametrize("name", EVENTS)
def test_commands_and_what_becomes_of_them(name, dice):
    """What is no decision, receipt or rollout is refused with a reason, and with nothing else."""
    good, read = EVENTS[name]
    types = {"decision": DECISION_TYPE, "receipt": RECEIPT_TYPE, "rollout": ROLLOUT_TYPE}
    event = json.loads(to_event(types[name], good, id="1", time="2026-11-21T12:00:00Z", source="/test"))
    refused = 0
    for one in some(event, dice):
        try:
            read(one.value)
        except EventError as error:
            refused += bool(str(error))

    assert refused > ROUNDS * len(kinds()) / 2


def test_flag_state(dice):
    """What is no state of a flag is refused with a reason; who only needs the newest passes it over."""
    record = {"flag_key": "checkout-v2", "environment": "production", "version": 3, "killed": ["treatment"]}
    event = json.loads(to_event(FLAG_STATE_TYPE, record, id="1", time="2026-11-21T12:00:00Z", source="/test"))
    records, refused = Records(), 0
    for one in some(event, dice):
        records.take("production|checkout-v2", one.value)
        try:
            read_flag_state(one.value or b"")
        except EventError as error:
            refused += bool(str(error))

    assert refused > ROUNDS * len(kinds()) / 3


def test_plans(dice):
    """What is no view of a rollout means that nothing is wanted of its flag; the plans of others stay."""
    view = rollout(at_ms=NOON_MS, plan={"latency": True, "over_us": [1000], "segments": ["country"], "scores": {"nps": [0, 10]}})
    event = to_event(ROLLOUT_TYPE, view, id="1", time="2026-11-21T12:00:00Z", source="/test")
    plans = Plans(Settings())
    plans.take("production|other", event)
    for one in some(json.loads(event), dice, 20):
        plans.take("production|checkout-v2", one.value)

    assert plans.now["production|other"].latency


def test_policies(dice):
    """What is no policy is told by its problems, in YAML as in JSON."""
    good = {
        "flag": "checkout-v2", "environment": "production", "owner": "a",
        "guardrails": [{"when": "error_rate > 1.2x control", "then": "kill"}], "stages": [{"share": "10%", "for": "10m"}],
    }  # fmt: skip
    problems = 0
    for one in some(good, dice, 10, HUGE // 1_000):
        try:
            read_sent(one.value or b"", [])
        except ProblemsError as error:
            problems += bool(error.problems)

    assert read_sent(json.dumps(good).encode(), [])
    assert problems > 5 * len(kinds())


def test_wishes(dice):
    """What is no person's wish is refused by its model, and by nothing else."""
    good = {"action": "kill", "variation": "treatment", "by": "ada", "reason": "why", "id": "1"}
    refused = 0
    for one in some(good, dice):
        try:
            OverrideWish.model_validate_json(one.value or b"")
        except ValidationError:
            refused += 1

    assert refused > ROUNDS * len(kinds()) / 2
