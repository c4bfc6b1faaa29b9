"""What becomes of each decision, without Kafka: commands to a store, and exactly one honest receipt for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Receipt
from guardian.journal import ReceiptEntry, decode
from guardian.ports import Applied, FlagCommand, FlagState, StoreUnavailable, UnknownFlag
from streams import sending
from streams.acting import NOTHING_TO_DO, Acting
from streams.cloudevents import from_event, to_event
from streams.commands import command_for
from streams.in_order import InOrder
from streams.stores.memory import MemoryFlagStore
from streams.topics import Topics
from tests.support.movers import Event, MemoryOutlet, decision, events, until

TOPICS = Topics()
SPLIT = {"fractional": [["control", 50], ["treatment", 50]]}
FLAG = {
    "state": "ENABLED",
    "variants": {"control": False, "treatment": True},
    "defaultVariant": "control",
    "targeting": SPLIT,
}


class Store:
    """A memory store that does first what a test wants of it, and notes what it was asked."""

    def __init__(self, *flags: str) -> None:
        self.memory = MemoryFlagStore({"flags": dict.fromkeys(flags or ("checkout", "search"), FLAG)})
        self.capabilities = self.memory.capabilities
        self.commands: list[FlagCommand] = []
        self.effects: list[str] = []
        self.before: Callable[[FlagCommand], Any] = lambda command: None

    async def read(self, environment: str, flag_key: str) -> FlagState:
        return await self.memory.read(environment, flag_key)

    async def apply(self, command: FlagCommand) -> Applied:
        self.commands.append(command)
        waiting = self.before(command)
        if waiting is not None:
            await waiting
        applied = await self.memory.apply(command)
        if applied.status == "applied":
            self.effects.append(command.command_id)
        return applied


class Bench:
    """An ``Acting`` with all that it needs."""

    def __init__(self, *, deadline_s: float = 2.0) -> None:
        self.outlet, self.store = MemoryOutlet(), Store()
        self.acked: list[int] = []
        self.offset = 0
        self.acting = Acting(self.store, self.outlet, TOPICS, deadline_s=deadline_s)  # type: ignore[arg-type]

    def take(self, *given: Any) -> list[Event]:
        values = [
            one
            if isinstance(one, bytes)
            else to_event(DECISION_TYPE, one, id=one.decision_id, time=one.decided_at, source="/guardian/judge")
            for one in given
        ]
        made = events(TOPICS.decisions, values, first=self.offset)
        self.offset += len(made)
        for event in made:
            event.acked = self.acked
            self.acting.take(event)
        return made

    async def answer(self, *given: Any) -> list[Receipt]:
        self.take(*given)
        await asyncio.wait_for(self.acting.drain(), 5)
        return self.receipts

    @property
    def receipts(self) -> list[Receipt]:
        return [from_event(one.value, Receipt, type=RECEIPT_TYPE) for one in self.outlet.on(TOPICS.receipts)]


@pytest.fixture
async def bench():
    made = Bench()
    yield made
    await made.acting.stop()


async def test_kill_is_applied_and_told_to_both_topics(bench):
    """A kill takes effect in the store; the receipt is an event for all, and an entry of the journal for judge."""
    [receipt] = await bench.answer(decision(7))
    entry = decode(bench.outlet.on(TOPICS.journal)[0].value)

    assert ("applied", "kill", 1) == (receipt.status, receipt.action, receipt.attempts)
    assert {"control": 1.0, "treatment": 0.0} == (await bench.store.read("production", "checkout")).weights
    assert isinstance(entry, ReceiptEntry)
    assert (receipt.decision_id, "applied", receipt.version) == (entry.decision_id, entry.status, entry.version)
    assert f"{receipt.decision_id}|applied" == receipt.receipt_id
    assert ["production|checkout"] * 2 == [one.key for one in bench.outlet.written]
    assert [0] == bench.acked


async def test_shadow_touches_nothing(bench):
    """In shadow mode the store is not asked, and the receipt says so."""
    [receipt] = await bench.answer(decision(mode="shadow"))

    assert ("shadow", []) == (receipt.status, bench.store.commands)


@pytest.mark.parametrize("action", ["alert", "complete"])
async def test_what_concerns_no_store_is_answered_all_the_same(bench, action):
    """A decision that changes nothing in a store has its receipt, so that the outbox empties."""
    [receipt] = await bench.answer(decision(action=action))

    assert ("applied", NOTHING_TO_DO, []) == (receipt.status, receipt.detail, bench.store.commands)


@pytest.mark.parametrize(
    ("action", "kind", "share"),
    [
        ("kill", "kill", None),
        ("kill_flag", "kill_flag", None),
        ("pause", "pause", None),
        ("hold", "hold", None),
        ("step_back", "step_back", 0.1),
        ("advance", "set_share", 0.1),
        ("resume", "resume", 0.1),
    ],
)
def test_every_action_has_its_command(action, kind, share):
    """Actions and store commands fit one to one; a share goes along where the command takes one."""
    command = command_for(decision(3, action=action, share=0.1))

    assert command is not None
    assert (kind, share, "production|checkout|treatment|3") == (command.kind, command.share, command.command_id)


async def test_unknown_flag_fails_at_once(bench):
    """A flag that the store does not know is told to people once, not asked for again and again."""
    [receipt] = await bench.answer(decision(flag="nowhere"))

    assert ("failed", 1) == (receipt.status, len(bench.store.commands))
    assert "nowhere" in receipt.detail


async def test_store_that_raises_unknown_flag_fails_at_once(bench):
    """The same, for a store that raises it instead of answering."""
    bench.store.before = _raise(UnknownFlag("no flag 'checkout'"))
    [receipt] = await bench.answer(decision())

    assert ("failed", "no flag 'checkout'", 1) == (receipt.status, receipt.detail, len(bench.store.commands))


async def test_decision_that_cannot_be_a_command_fails_with_its_reason(bench):
    """An advance without a share is no command; the receipt names what is missing."""
    [receipt] = await bench.answer(decision(action="advance"))

    assert "failed" == receipt.status
    assert "share: is missing" in receipt.detail


async def test_store_down_then_up(bench):
    """While the store does not answer, the same command is sent again; when it does, it is applied once."""
    down = iter([True, True, False])
    bench.store.before = lambda command: _raise(StoreUnavailable("no answer"))(command) if next(down) else None
    bench.take(decision())
    await until(lambda: not bench.acting.readiness()[0], what="not ready while the store is down")
    assert "flag store: no answer" == bench.acting.readiness()[1]
    [receipt] = await bench.answer()

    assert ("applied", 3) == (receipt.status, receipt.attempts)
    assert 1 == len({command.command_id for command in bench.store.commands})
    assert bench.acting.readiness()[0]


async def test_what_waits_is_said_whatever_else_is_done(bench):
    """While the store does not answer for one flag, act is not ready, though it has just answered for another."""
    away = _raise(StoreUnavailable("no answer"))
    bench.store.before = lambda command: away(command) if command.flag_key == "checkout" else None
    bench.take(decision())
    await until(lambda: not bench.acting.readiness()[0], what="not ready while the store is down")
    bench.take(decision(2, flag="search"))
    await until(lambda: bench.store.effects, what="the other flag is killed")
    assert "flag store: no answer" == bench.acting.readiness()[1]

    bench.store.before = lambda command: None
    await bench.answer()
    assert bench.acting.readiness()[0]


async def test_an_advance_is_given_up_and_says_how_often_and_why():
    """Of a store that stays away one receipt says that it expired, with the attempts, the time and the last reason."""
    bench = Bench(deadline_s=0.5)
    bench.store.before = _raise(StoreUnavailable("connection refused"))
    started_s = time.monotonic()
    [receipt] = await bench.answer(decision(action="advance", share=0.2))

    assert "expired" == receipt.status
    assert f"gave up after {receipt.attempts} attempts in 0." in receipt.detail
    assert receipt.detail.endswith("connection refused")
    assert receipt.attempts > 1
    assert time.monotonic() - started_s < 2


async def test_store_that_hangs_is_not_waited_for(bench, monkeypatch):
    """One attempt is bounded in time; the next one finds what the first one had done."""
    monkeypatch.setattr(sending, "ATTEMPT_S", 0.1)
    hangs = iter([True, False])

    async def late(command: FlagCommand) -> None:
        await bench.store.memory.apply(command)
        await asyncio.Event().wait()

    bench.store.before = lambda command: late(command) if next(hangs) else None
    [receipt] = await bench.answer(decision())

    assert ("already", 2) == (receipt.status, receipt.attempts)


async def test_defect_of_a_store_ends_in_a_receipt():
    """Whatever a store raises for an advance, it is answered, and act goes on."""
    bench = Bench(deadline_s=0.3)
    bench.store.before = _raise(ZeroDivisionError("a defect"))
    await bench.answer(decision(1, action="advance", share=0.2))
    bench.store.before = lambda command: None
    receipts = await bench.answer(decision(2, flag="search"))

    assert ["expired", "applied"] == [one.status for one in receipts]
    assert "ZeroDivisionError" in receipts[0].detail


async def test_hanging_flag_delays_no_other(bench):
    """Commands to other flags overtake one that waits for its store."""
    gate = asyncio.Event()
    bench.store.before = lambda command: gate.wait() if command.flag_key == "checkout" else None
    bench.take(decision(1), decision(2, flag="search"))
    await until(lambda: bench.receipts)

    assert ["search"] == [one.flag_key for one in bench.receipts]
    gate.set()
    assert ["search", "checkout"] == [one.flag_key for one in await bench.answer()]


async def test_commands_to_one_flag_keep_their_order(bench):
    """A kill and the resume after it reach the store in that order, however long the first one takes."""
    gate = asyncio.Event()
    bench.store.before = lambda command: gate.wait() if command.kind == "kill" else None
    bench.take(decision(1), decision(2, action="resume"))
    await until(lambda: bench.store.commands)
    await asyncio.sleep(0)
    gate.set()
    await bench.answer()

    assert ["kill", "resume"] == [one.kind for one in bench.store.commands]
    assert {"control": 0.5, "treatment": 0.5} == (await bench.store.read("production", "checkout")).weights


async def test_events_are_acknowledged_in_order(bench):
    """An event whose flag is quick waits for the slow one before it: Faust would commit past the gap."""
    gate = asyncio.Event()
    bench.store.before = lambda command: gate.wait() if command.flag_key == "checkout" else None
    bench.take(decision(1), decision(2, flag="search"))
    await until(lambda: bench.receipts)
    assert [] == bench.acked
    gate.set()
    await bench.answer()

    assert [0, 1] == bench.acked


async def test_nothing_is_acknowledged_before_its_receipt_is_kept(bench):
    """While Kafka takes no receipt, the decision stays to be read again; the store is not asked again meanwhile."""
    bench.outlet.refuses = lambda topic, key: topic == TOPICS.journal
    bench.take(decision())
    await until(lambda: bench.store.effects)
    await until(lambda: bench.receipts)
    assert [] == bench.acked
    bench.outlet.refuses = lambda topic, key: False
    await bench.answer()

    assert ([0], 1) == (bench.acked, len(bench.store.commands))


async def test_repeat_is_answered_from_what_the_store_says(bench):
    """A decision that comes again is not carried out again, so a person's change in between stays."""
    await bench.answer(decision(1))
    await bench.answer(decision(2, action="resume"))
    receipts = await bench.answer(decision(1))

    assert ["applied", "applied", "already"] == [one.status for one in receipts]
    assert 2 == len(bench.store.commands)
    assert {"control": 0.5, "treatment": 0.5} == (await bench.store.read("production", "checkout")).weights


async def test_repeat_of_what_failed_is_not_tried_again(bench):
    """The answer to a decision does not change by asking twice."""
    await bench.answer(decision(flag="nowhere"))
    receipts = await bench.answer(decision(flag="nowhere"))

    assert ["failed", "failed"] == [one.status for one in receipts]
    assert receipts[0].receipt_id == receipts[1].receipt_id
    assert 1 == len(bench.store.commands)


async def test_a_repeat_of_what_is_under_way_is_answered_with_it(bench):
    """However often a decision comes while it is carried out: one command, one receipt, and all are acknowledged."""
    gate = asyncio.Event()
    bench.store.before = lambda command: gate.wait()
    bench.take(decision(), decision(), decision())
    await until(lambda: bench.store.commands)
    gate.set()
    receipts = await bench.answer()

    assert (["applied"], 1, [0, 1, 2]) == ([one.status for one in receipts], len(bench.store.commands), bench.acked)


async def test_what_people_have_set_is_told_to_judge(bench):
    """Where an advance meets a share that people have set, its receipt says conflict, and which share that is."""
    [receipt] = await bench.answer(decision(action="advance", share=0.2, from_share=0.1))
    entry = decode(bench.outlet.on(TOPICS.journal)[0].value)

    assert ("conflict", 0.5, 0.5) == (receipt.status, receipt.share, entry.share)  # type: ignore[union-attr]
    assert "people have set the share of 'treatment' to 50 %, not the 10 %" in receipt.detail


async def test_unreadable_decision_goes_to_the_dead_letters(bench):
    """What cannot be read is kept with its reason, then acknowledged, and delays nothing."""
    await bench.answer(b"nonsense", decision())

    assert [b"nonsense"] == [one.value for one in bench.outlet.on(TOPICS.dead_letters)]
    assert [0, 1] == bench.acked
    assert ["applied"] == [one.status for one in bench.receipts]


def test_events_of_a_revoked_partition_are_forgotten():
    """After a rebalance the events that come again are acknowledged by themselves, not behind their old selves."""
    order = InOrder()
    old, new = events("t", [b"", b""]), events("t", [b""])
    order.begin(old[0])
    order.forget()
    order.begin(new[0])()

    assert [0] == new[0].acked
    assert 0 == order.waiting


def _raise(error: Exception) -> Callable[[FlagCommand], None]:
    def raising(command: FlagCommand) -> None:
        raise error

    return raising
