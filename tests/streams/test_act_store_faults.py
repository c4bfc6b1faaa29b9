"""Act at a store that fails in every way it can: each kill arrives once, in order, no other flag waits, people are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from streams import sending
from streams.acting import Acting
from streams.cloudevents import from_event, to_event
from streams.stores.http import open_session
from streams.stores.shares.store import SharesStore
from streams.stores.webhook.client import WebhookBackend
from streams.topics import Topics
from tests.support.movers import MemoryOutlet, decision, events, until
from tests.support.receiver import FOREVER, SECRET, Fault
from tests.support.receiver_process import ReceiverProcess, of

TOPICS = Topics()
FAULTS = {
    "hangs": [Fault("hang", FOREVER)],
    "ill": [Fault("500", FOREVER)],
    "gateway": [Fault("502", FOREVER)],
    "changed": [Fault("409", FOREVER, method="PUT")],
    "conflicting": [Fault("412", FOREVER, method="PUT")],
    "resets": [Fault("reset", FOREVER)],
    "login": [Fault("html", FOREVER)],
    "forgets": [Fault("slow", method="GET"), Fault("lost", method="PUT"), Fault("500", FOREVER)],
}
"""Each by the flag that it strikes. ``forgets`` does at once what it is asked, and nobody hears of it."""
ALONE_S = 1.0


class Desk:
    """Act over *receiver*; each receipt with the second at which it was written, from the first decision on."""

    def __init__(self, store: SharesStore, receiver: ReceiverProcess, deadline_s: float) -> None:
        self.receiver, self.outlet, self.acked, self._offset = receiver, MemoryOutlet(), list[int](), 0
        self.acting = Acting(store, self.outlet, TOPICS, deadline_s=deadline_s)  # type: ignore[arg-type]

    def decide(self, flag: str, number: int = 1, **more: Any) -> Decision:
        made = decision(number, flag=flag, decided_at=datetime.now(UTC).isoformat(timespec="milliseconds"), owner="team", **more)
        value = to_event(DECISION_TYPE, made, id=made.decision_id, time=made.decided_at, source="/judge")
        for event in events(TOPICS.decisions, [value], first=self._offset):
            self._offset, event.acked = self._offset + 1, self.acked
            self.acting.take(event)
        return made

    def told(self, flag: str) -> list[Receipt]:
        receipts = [from_event(one.value, Receipt, type=RECEIPT_TYPE) for one in self.outlet.on(TOPICS.receipts)]
        return [one for one in receipts if one.flag_key == flag]

    def said(self, flag: str) -> list[str]:
        return [one.status for one in self.told(flag)]

    async def until_told(self, flag: str, times: int, within_s: float = 20.0) -> None:
        await until(lambda: len(self.said(flag)) >= times, within_s=within_s, what=f"{flag}: told {times} times")

    async def answers_at_once(self, number: int) -> None:
        """A flag at which nothing is wrong is killed and told of, whatever the others wait for."""
        started_s = time.monotonic()
        self.decide(f"well-{number}")
        await self.until_told(f"well-{number}", 1)
        assert (["applied"], 0.0) == (self.said(f"well-{number}"), self.receiver.share(f"well-{number}"))
        assert time.monotonic() - started_s < ALONE_S


@asynccontextmanager
async def desk(folder: Path, *flags: str, deadline_s: float, timeout_s: float = 0.5) -> AsyncIterator[Desk]:
    well = [f"well-{number}" for number in range(20)]
    async with open_session() as session:
        with ReceiverProcess(folder, *flags, *well) as receiver:
            await receiver.up()
            client = WebhookBackend(session, url=receiver.url, secret=SECRET, environment="production", timeout_s=timeout_s)
            made = Desk(SharesStore(client), receiver, deadline_s)
            try:
                yield made
            finally:
                await made.acting.stop()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is tried again every half a second."""
    monkeypatch.setattr(sending, "WAITING_S", 0.5)


async def outage(at: Desk, lasts_s: float) -> None:
    """Every flag of ``FAULTS`` is killed while its fault lasts, and every flag that is well beside them."""
    await at.receiver.fail(**FAULTS)
    ends_s = time.monotonic() + lasts_s
    for flag in FAULTS:
        at.decide(flag)
    for number in range(10):
        await at.answers_at_once(number)
        await asyncio.sleep(max(0.0, (ends_s - time.monotonic()) / (10 - number)))
    for flag in FAULTS:
        await at.until_told(flag, 1)
        assert (["waiting"], 0.0 if flag == "forgets" else 0.5) == (at.said(flag), at.receiver.share(flag))
    await at.receiver.fail()
    for flag in FAULTS:
        await at.until_told(flag, 2)
    await at.acting.drain()


def assert_arrived_once(at: Desk, *flags: str) -> None:
    """One effect, and people are told twice: that it waits, and that it is done, and how late."""
    for flag in flags:
        waiting, done = at.told(flag)
        assert 0.0 == at.receiver.share(flag)
        assert [f"production|{flag}|treatment|1"] == of(at.receiver.effects, flag)
        assert ("waiting", done.status in ("applied", "already")) == (waiting.status, True), done
        assert done.waited_s > 0.0
        assert "webhook store" in waiting.detail or "conflict" in waiting.detail, waiting.detail
        assert "whsec" not in waiting.detail


@pytest.mark.usefixtures("soon")
async def test_every_fault_at_once_each_at_its_flag(tmp_path):
    """
    A store that hangs, answers 500, 409, 412 or a login page, resets, or does it and does not say: each kill arrives
    exactly once when it is mended, told once as waiting and once as done; flags beside them are killed at once meanwhile.
    """
    async with desk(tmp_path, *FAULTS, deadline_s=1.0) as at:
        await outage(at, 3.0)
        assert_arrived_once(at, *FAULTS)
        assert list(range(len(FAULTS) + 10)) == at.acked
        assert at.acting.readiness()[0]


async def absence(at: Desk, lasts_s: float) -> None:
    """The store is gone: connections are refused. Decisions about two flags come meanwhile; then it is back."""
    at.receiver.down()
    at.decide("one", 1)
    at.decide("two", 1, action="advance", share=0.75, from_share=0.5)
    at.decide("two", 2)
    await asyncio.sleep(lasts_s / 2)
    at.decide("two", 3, action="resume", share=0.25)
    await asyncio.sleep(lasts_s / 2)
    await at.until_told("two", 3)
    assert ["waiting"] == at.said("one")
    assert not at.acting.readiness()[0]
    await at.receiver.up()
    await at.acting.drain()


@pytest.mark.usefixtures("soon")
async def test_a_store_that_is_gone(tmp_path):
    """
    Refused connections: the kill waits and arrives once; of a flag with several decisions the store ends at the newest.
    """
    async with desk(tmp_path, "one", "two", deadline_s=1.0) as at:
        await absence(at, 3.0)
        assert_arrived_once(at, "one")
        assert_newest_stands(at)


def assert_newest_stands(at: Desk) -> None:
    """The share that the resume of decision 3 asked for; no command changed the store twice, and the advance is given up."""
    made = of(at.receiver.effects, "two")
    assert 0.25 == at.receiver.share("two")
    assert len(set(made)) == len(made)
    assert made[-1:] == ["production|two|treatment|3"] or {"superseded"} <= set(at.said("two"))
    by_number = {one.decision_id.rpartition("|")[2]: one.status for one in at.told("two") if one.status != "waiting"}
    assert ("expired", True) == (by_number["1"], by_number["2"] in ("applied", "superseded")), by_number
    assert by_number["3"] in ("applied", "already")


@pytest.mark.usefixtures("soon")
async def test_a_store_that_asks_for_peace_has_it_and_the_kill_comes_after(tmp_path):
    """429 with Retry-After, again and again: nobody asks in between, the kill is told as waiting and arrives once."""
    async with desk(tmp_path, "limited", deadline_s=1.0) as at:
        await at.receiver.fail(limited=[Fault("429", 2, s=1.0)])
        at.decide("limited")
        await at.until_told("limited", 2)
        await at.acting.drain()
        assert_arrived_once(at, "limited")
        assert 1.9 < at.told("limited")[1].waited_s < 8.0


@pytest.mark.usefixtures("soon")
async def test_a_slow_store_delays_nobody_else(tmp_path):
    """A store that takes a third of a second for each request of one flag is waited for; others are served meanwhile."""
    async with desk(tmp_path, "slow", deadline_s=5.0) as at:
        await at.receiver.fail(slow=[Fault("slow", FOREVER, s=0.33)])
        at.decide("slow")
        await at.answers_at_once(0)
        await at.until_told("slow", 1)

        assert (["applied"], 1) == (at.said("slow"), len(of(at.receiver.effects, "slow")))


@pytest.mark.usefixtures("soon")
async def test_a_command_that_arrives_after_it_was_given_up_for_lost_does_nothing_twice(tmp_path):
    """
    The store does what it was asked a second after everybody stopped waiting; the kill sent again meanwhile and the late
    one are one effect.
    """
    async with desk(tmp_path, "late", deadline_s=5.0) as at:
        await at.receiver.fail(late=[Fault("late", 2, s=0.8, method="PUT")])
        at.decide("late")
        await at.acting.drain()
        assert (0.0, ["production|late|treatment|1"]) == (at.receiver.share("late"), of(at.receiver.effects, "late"))


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_five_minutes_of_every_fault(tmp_path):
    """The same with act's own times: five minutes of each fault, told as waiting after one, done within seconds of its end."""
    (tmp_path / "other").mkdir()
    async with desk(tmp_path, *FAULTS, deadline_s=60.0) as at, desk(tmp_path / "other", "one", "two", deadline_s=60.0) as gone:
        await asyncio.gather(outage(at, 300.0), absence(gone, 300.0))
        assert_arrived_once(at, *FAULTS)
        assert_arrived_once(gone, "one")
        assert_newest_stands(gone)
        late_s = [at.told(flag)[1].waited_s for flag in FAULTS] + [gone.told("one")[1].waited_s]
        print(f"done after {min(late_s):.1f} to {max(late_s):.1f} s")
        assert 300.0 < min(late_s) <= max(late_s) < 320.0
