"""A store that is away for minutes: no kill is given up, and people are told that it waits and that it arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from guardian.journal import ReceiptEntry, decode
from guardian.ports import Applied, FlagCommand, StoreUnavailable
from streams.acting import Acting
from streams.cloudevents import from_event, to_event
from streams.stores.memory import MemoryFlagStore
from streams.topics import Topics
from tests.simulation.loop import VirtualLoop, made_up_time
from tests.simulation.shelf import flag
from tests.support.movers import MemoryOutlet, decision, events

TOPICS = Topics()
DEADLINE_S = 60.0


class Away(MemoryFlagStore):
    """Does not answer for some flags until a second of the loop; counts how often it was asked for each."""

    def __init__(self, back_at_s: dict[str, float]) -> None:
        super().__init__({"flags": {name: flag(0.5) for name in ("checkout", "search")}})
        self.back_at_s = back_at_s
        self.asked: dict[str, int] = {}

    async def apply(self, command: FlagCommand) -> Applied:
        self.asked[command.flag_key] = self.asked.get(command.flag_key, 0) + 1
        if asyncio.get_running_loop().time() < self.back_at_s.get(command.flag_key, 0.0):
            raise StoreUnavailable("connection refused")
        return await super().apply(command)


class Desk:
    """Act at a store that is away, in made-up time; each receipt with the second at which it was written."""

    def __init__(self, loop: VirtualLoop, store: MemoryFlagStore) -> None:
        self.loop, self.store, self.offset = loop, store, 0
        self.acked: list[int] = []
        self.outlet = MemoryOutlet()
        self.acting = Acting(store, self.outlet, TOPICS, deadline_s=DEADLINE_S)  # type: ignore[arg-type]

    def take(self, *given: Decision) -> None:
        values = [to_event(DECISION_TYPE, one, id=one.decision_id, time=one.decided_at, source="/judge") for one in given]
        for event in events(TOPICS.decisions, values, first=self.offset):
            self.offset, event.acked = self.offset + 1, self.acked
            self.acting.take(event)

    @property
    def told(self) -> list[Receipt]:
        return [from_event(one.value, Receipt, type=RECEIPT_TYPE) for one in self.outlet.on(TOPICS.receipts)]

    def seconds(self, receipt: Receipt) -> float:
        return (datetime.fromisoformat(receipt.at).timestamp() * 1_000 - self.loop.now_ms) / 1_000 + self.loop.time()

    def weight(self, name: str) -> float:
        weights: dict[str, float] = asyncio.run(self.store.read("production", name)).weights  # type: ignore[assignment]
        return weights["treatment"]


def decided(loop: VirtualLoop, number: int, **more: Any) -> Decision:
    at = datetime.fromtimestamp(loop.now_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    return decision(number, decided_at=at, owner="team", **more)


def played(scenario: Callable[[Desk], Coroutine[Any, Any, None]], **back_at_s: float) -> Desk:
    loop = VirtualLoop()
    try:
        with made_up_time(loop, 0):
            desk = Desk(loop, Away(back_at_s))
            loop.run_until_complete(scenario(desk))
            return desk
    finally:
        loop.close()


def test_a_kill_waits_for_a_store_that_is_away_for_minutes():
    """
    After a minute a receipt says that the kill waits, once; it is tried on, and done seconds after the store is back.
    """

    async def scenario(desk: Desk) -> None:
        desk.take(decided(desk.loop, 1))
        await asyncio.sleep(299.0)
        assert ["waiting"] == [one.status for one in desk.told]
        assert [] == desk.acked
        await desk.acting.drain()

    desk = played(scenario, checkout=300.0)
    waiting, applied = desk.told

    assert ("waiting", "applied") == (waiting.status, applied.status)
    assert DEADLINE_S - 3.0 < desk.seconds(waiting) <= DEADLINE_S + 1.0
    assert 300.0 <= desk.seconds(applied) < 306.0
    assert (0.0, [0]) == (desk.weight("checkout"), desk.acked)
    assert 30 < applied.attempts < 120
    assert 0.0 == waiting.waited_s
    assert abs(applied.waited_s - desk.seconds(applied)) < 1.0
    entries = [decode(one.value or b"") for one in desk.outlet.on(TOPICS.journal)]
    assert ["waiting", "applied"] == [one.status for one in entries if isinstance(one, ReceiptEntry)]


def test_what_waits_delays_neither_other_flags_nor_its_own():
    """
    Other flags are served as ever; what comes after a kill that waits is not held up by it, and is not undone by it.
    """

    async def scenario(desk: Desk) -> None:
        desk.take(decided(desk.loop, 1), decided(desk.loop, 2, flag="search"))
        await asyncio.sleep(1.0)
        assert ["search"] == [one.flag_key for one in desk.told]
        await asyncio.sleep(120.0)
        desk.take(decided(desk.loop, 3, action="resume"))
        await asyncio.sleep(100.0)
        assert ["waiting", "waiting"] == [one.status for one in desk.told if one.flag_key == "checkout"]
        await desk.acting.drain()

    desk = played(scenario, checkout=300.0)

    assert {"applied", "already", "superseded"} >= {one.status for one in desk.told[3:]}
    assert (0.5, 0.0) == (desk.weight("checkout"), desk.weight("search"))
    assert [0, 1, 2] == desk.acked


def test_what_waits_is_not_asked_for_without_end():
    """
    However often judge sends a decision again while it waits: one command is under way, some twelve times a minute.
    """

    async def scenario(desk: Desk) -> None:
        made = decided(desk.loop, 1)
        for _ in range(60):
            desk.take(made)
            await asyncio.sleep(10.0)
        await desk.acting.drain()

    desk = played(scenario, checkout=600.0)

    assert ["waiting", "applied"] == [one.status for one in desk.told]
    assert isinstance(desk.store, Away)
    assert desk.store.asked["checkout"] < 160
    assert list(range(60)) == desk.acked


def test_a_flag_that_the_store_does_not_know_fails_at_once():
    """
    Asking again would not help: one attempt, one receipt, no waiting.
    """

    async def scenario(desk: Desk) -> None:
        desk.take(decided(desk.loop, 1, flag="nowhere"))
        await desk.acting.drain()

    desk = played(scenario)

    assert [("failed", 1)] == [(one.status, one.attempts) for one in desk.told]
    assert desk.loop.time() < 1.0
