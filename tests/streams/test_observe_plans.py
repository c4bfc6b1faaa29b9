"""Promises about the plans that observe follows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from guardian.decisions import ROLLOUT_TYPE, ProofView
from guardian.plan import Cut, Plan
from guardian.summaries import Arm
from streams.admin import ensure_topics
from streams.cloudevents import to_event
from streams.observing import plans as plans_module
from streams.observing.plans import Plans
from streams.settings import Settings
from tests.streams.test_observe_exact import FAST, producer
from tests.support.events import outcome
from tests.support.movers import until
from tests.support.observed import Journal, journal, observing
from tests.support.published import rollout

KEY = "production|checkout-v2"
PLAN = Plan(over_us=(300_000,), scores={"measure:n": (0.0, 1.0)}, segments=("country",), cuts=(Cut("c", (("operation", "x"),)),))
SLOW_MS = 400.0


def shown(plan: Any = PLAN, **more: Any) -> bytes:
    """Return a rollout's view, as judge publishes it."""
    view = rollout(at_ms=0, plan=msgspec.to_builtins(plan), **more)
    return to_event(ROLLOUT_TYPE, view, id="1", time=view.at, source="/judge")


def test_a_plan_is_read_from_the_rollouts_view():
    """
    The newest view's plan counts, whatever else changes in it; a plan that wants nothing, or a deletion, takes it away.
    A mapping that was handed on never changes.
    """
    plans = Plans(Settings())
    before = plans.now
    plans.take(KEY, shown())
    first = plans.now
    plans.take(KEY, shown(status="killed"))
    plans.take("production|other", shown(Plan()))

    assert ({}, {KEY: PLAN}) == (before, first)
    assert plans.now is first
    plans.take("production|other", shown(Plan(latency=True)))
    plans.take(KEY, shown(Plan()))
    assert {"production|other": Plan(latency=True)} == plans.now
    plans.take("production|other", None)
    assert ({}, {KEY: PLAN}) == (plans.now, first)


@pytest.mark.parametrize(
    "value",
    [b"nonsense", b"{}", shown({"latency": "yes"}), shown({"scores": {"feedback:nps": [5, 5]}}), shown({"over_us": 7})],
)
def test_a_plan_that_cannot_be_read_wants_nothing(value: bytes):
    """
    It is logged with the rollout's key, and the plan before it counts no more; the next one that can be read does.
    """
    plans = Plans(Settings())
    plans.take(KEY, shown())
    with capture_logs() as logs:
        plans.take(KEY, value)

    assert [("plan_not_readable", KEY)] == [(entry["event"], entry["key"]) for entry in logs]
    assert {} == plans.now
    plans.take(KEY, shown())
    assert {KEY: PLAN} == plans.now


async def test_nobody_waits_for_plans_for_ever(monkeypatch: pytest.MonkeyPatch):
    """
    Where the plans cannot be read in time, that is said, and reading events goes on.
    """
    monkeypatch.setattr(plans_module, "PATIENCE_S", 0.05)
    plans = Plans(Settings.model_validate({"kafka": {"bootstrap": "127.0.0.1:9"}}))
    plans.start()
    with capture_logs() as logs:
        await plans.wait()
    await plans.stop()

    assert "plans_not_read" in [entry["event"] for entry in logs]


async def test_events_are_summed_by_the_plan_of_their_time(kafka):
    """
    A plan that comes while observe runs counts for the events after it, until it is taken away.
    """
    settings = kafka.settings(observe=FAST)
    await ensure_topics(settings, inputs=True)
    async with producer(settings) as sending, journal(settings) as written, observing(settings) as status:
        await until(lambda: status.is_ready, within_s=30, what="observe is ready")
        await send(settings, sending, 5)
        await until_summed(written, lambda arm: arm.outcomes == 5)
        assert 0 == summed(written).timed

        await sending.send_and_wait(settings.topics.rollouts, shown(), key=KEY.encode())
        await sends_until(settings, sending, written, lambda arm: arm.timed > 0)
        arm = summed(written)
        untimed = arm.outcomes - arm.timed
        assert arm.timed == arm.over[300_000]
        assert untimed >= 5

        await sending.send_and_wait(settings.topics.rollouts, None, key=KEY.encode())
        await sends_until(settings, sending, written, lambda arm: arm.outcomes - arm.timed > untimed + 40)


async def test_after_a_start_nothing_is_summed_without_its_plan(kafka):
    """
    Events that wait when observe starts are summed by the plan that stands in the topic, all of them.
    """
    settings = kafka.settings(observe=FAST)
    await ensure_topics(settings, inputs=True)
    async with producer(settings) as sending, journal(settings) as written:
        await sending.send_and_wait(settings.topics.rollouts, shown(), key=KEY.encode())
        await send(settings, sending, 40)
        async with observing(settings):
            await until_summed(written, lambda arm: arm.outcomes == 40)

    assert 40 == summed(written).timed
    assert {300_000: 40} == summed(written, "country=DE").over


async def send(settings: Settings, producer: AIOKafkaProducer, count: int) -> None:
    """Send slow outcomes of nobody."""
    event = outcome(
        {"checkout-v2": "treatment"}, latency_ms=SLOW_MS, context_id=None, time=time.time_ns() // 1_000_000,
        attributes={"country": "DE"},
    )  # fmt: skip
    for number in range(count):
        await producer.send_and_wait(settings.topics.outcomes[0], json.dumps(event).encode(), partition=number % 4)


def summed(written: Journal, segment: str = "") -> Arm:
    """Return the sums of the one arm so far."""
    ticks = [tick for summary in written.summaries for flag in summary.flags for tick in flag.ticks]
    arms = [tick.segments.get(segment, {}) if segment else tick.arms for tick in ticks]
    return sum((found["treatment"] for found in arms if "treatment" in found), Arm())


async def until_summed(written: Journal, is_enough: Callable[[Arm], bool]) -> None:
    """Read the journal until the sums are so."""
    async with asyncio.timeout(30):
        while not is_enough(summed(written)):
            await written.poll()


async def sends_until(
    settings: Settings, producer: AIOKafkaProducer, written: Journal, is_enough: Callable[[Arm], bool]
) -> None:
    """Send on until the sums are so."""
    async with asyncio.timeout(30):
        while not is_enough(summed(written)):
            await send(settings, producer, 4)
            await written.poll()


def test_the_variations_of_a_rollout_are_known():
    """A rollout's view says which variations are never left out: control and all that it shows, till it ends."""
    plans, known = Plans(Settings()), []
    shown = to_event(ROLLOUT_TYPE, rollout(at_ms=1), id="1", time="2026-11-21T12:00:00Z", source="/test")
    for value in (shown, shown, None):
        plans.take(KEY, value)
        known.append(plans.known)

    assert {KEY: {"control", "treatment"}} == known[0]
    assert known[0] is known[1]
    assert {} == known[2]


def test_which_kills_are_to_be_proven_is_read_from_the_rollouts_view():
    """The newest view says of which variations; with the proof, or the rollout, it ends. A mapping handed on never changes."""
    plans = Plans(Settings())
    before = plans.proofs
    plans.take(KEY, shown(proofs=(ProofView(variation="treatment", decision_id="1"),)))
    first = plans.proofs
    plans.take(KEY, shown(status="killed", proofs=(ProofView(variation="treatment", decision_id="1", said="not_effective"),)))

    assert ({}, {KEY: frozenset({"treatment"})}) == (before, first)
    assert plans.proofs is first
    plans.take(KEY, shown(status="killed"))
    assert {} == plans.proofs
    plans.take(KEY, shown(proofs=(ProofView(variation="treatment", decision_id="2"),)))
    plans.take(KEY, None)
    assert {} == plans.proofs
