"""The mover around the bank, without Kafka: what it does with each entry, and in which order it keeps what it knows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt, RolloutView
from guardian.journal import Beat, Override, ReceiptEntry, encode
from streams.clock import now_ms
from streams.cloudevents import from_event
from streams.judging import FOUND_SHOWN, STALE_S, Judge
from streams.keeper import Keeper
from streams.snapshots import LARGEST, packed, table_key, unpacked
from streams.topics import Topics
from tests.support.courses import serves
from tests.support.movers import CountingBank, Event, MemoryOutlet, MemoryTable, events, until

TOPICS = Topics()
CHANGELOG = "changelog"


class Bench:
    """A judge of partition 0 with all that it needs."""

    def __init__(self, *, refresh_s: float = 1000.0) -> None:
        self.outlet = MemoryOutlet()
        self.table: Any = MemoryTable()
        self.keeper = Keeper(self.outlet, self.table, CHANGELOG, refresh_s=refresh_s)  # type: ignore[arg-type]
        self.offset = 0
        self.acked: list[int] = []
        self.start()

    def start(self) -> None:
        """As after a crash: memory is gone, the table and the broker are not."""
        self.judge = Judge(CountingBank, self.outlet, TOPICS)  # type: ignore[arg-type]
        self.judge.recovered({0}, lambda held: held.load(self.table))

    @property
    def bank(self) -> CountingBank:
        bank = self.judge.partitions[0].bank
        assert isinstance(bank, CountingBank)
        return bank

    async def take(self, *values: bytes) -> list[Event]:
        given = events(TOPICS.journal, values, first=self.offset)
        self.offset += len(given)
        for event in given:
            event.acked = self.acked
            await self.judge.take(event)
        return given

    async def save(self) -> None:
        await self.keeper.save(self.judge.partitions)

    def decisions(self) -> list[Decision]:
        return [from_event(one.value, Decision, type=DECISION_TYPE) for one in self.outlet.on(TOPICS.decisions)]


def beats(number: int) -> list[bytes]:
    return [encode(Beat(source="orders/0", at_ms=1000 + at, passed_ms=0)) for at in range(number)]


def override(action: str, reason: str = "") -> bytes:
    return encode(Override(at_ms=0, key="production|checkout", action=action, reason=reason))


@pytest.fixture
async def bench():
    made = Bench()
    yield made
    made.judge.revoked()


@pytest.fixture
async def judge():
    """A judge of partition 0 with the real bank."""
    made = Judge(lambda: Bank(JudgeConfig()), MemoryOutlet(), TOPICS)  # type: ignore[arg-type]
    made.recovered({0}, lambda _: 0)
    yield made
    made.revoked()


async def test_who_writes_ahead_of_time_is_dated_back_and_told(judge):
    """
    An entry that is dated an hour after its broker kept it counts at the broker's time; by how much the clock is ahead is told
    once, and for a while as a number.
    """
    kept_ms = now_ms()
    with capture_logs() as said:
        for at, ahead_ms in enumerate((0, 3_600_000, 3_600_000)):
            beat = encode(Beat(source="orders/0", at_ms=kept_ms + ahead_ms, passed_ms=kept_ms))
            [event] = events(TOPICS.journal, [beat], first=at)
            event.message.timestamp, event.message.timestamp_type = kept_ms / 1_000, 1
            await judge.take(event)

    assert kept_ms == judge.partitions[0].bank.sources.now_ms
    told = [(one["event"], one["writer"], one["ahead_s"]) for one in said]
    assert [("clock_ahead", "orders/0", 3_600.0)] == told
    assert 3_600.0 == judge.readiness()[2]["clock_ahead_s"]


async def test_a_journal_that_is_ahead_of_us_is_told(judge):
    """Where brokers do not stamp entries, one that is an hour ahead takes the journal's clock along: that is told as well."""
    [event] = events(TOPICS.journal, [encode(Beat(source="orders/0", at_ms=now_ms() + 3_600_000, passed_ms=0))])
    await judge.take(event)

    assert 3_590.0 < judge.readiness()[2]["clock_ahead_s"] < 3_610.0


async def test_decision_is_published_before_any_snapshot(bench):
    """A decision reaches Kafka without waiting for the snapshot that holds it, keyed by its rollout."""
    await bench.take(*beats(10))
    await until(bench.decisions)

    assert [] == bench.outlet.on(CHANGELOG)
    assert ["production|checkout|orders/0|10"] == [one.decision_id for one in bench.decisions()]
    assert "production|checkout" == bench.outlet.on(TOPICS.decisions)[0].key
    assert bench.judge.decided.is_set()


async def test_sources_are_written_last_and_only_then_acknowledged(bench):
    """A reader of a half-written round finds older sources, never newer ones; entries are acknowledged after both."""
    await bench.take(*beats(3))

    assert [] == bench.acked
    await bench.save()

    assert ["0|rollout", "0|"] == [one.key for one in bench.outlet.on(CHANGELOG)]
    assert {0} == {one.partition for one in bench.outlet.on(CHANGELOG)}
    assert [0, 1, 2] == bench.acked


async def test_a_part_that_is_not_kept_holds_up_sources_and_acknowledgement(bench):
    """When the broker refuses one part, neither the sources nor any acknowledgement go past it; the next round does."""
    bench.outlet.refuses = lambda topic, key: key == "0|rollout"
    await bench.take(*beats(3))
    await bench.save()

    assert ([], []) == (bench.outlet.on(CHANGELOG), bench.acked)
    bench.outlet.refuses = lambda topic, key: False
    await bench.save()

    assert ["0|rollout", "0|"] == [one.key for one in bench.outlet.on(CHANGELOG)]
    assert [0, 1, 2] == bench.acked


async def test_entries_that_come_during_a_round_wait_for_the_next(bench):
    """Only what a snapshot has seen is acknowledged, though more was applied while it was written."""
    await bench.take(*beats(2))
    bench.outlet.open.clear()
    round_one = asyncio.ensure_future(bench.save())
    await until(lambda: not bench.bank._unsaved, what="the round has taken its snapshots")
    await bench.take(*beats(2))
    bench.outlet.open.set()
    await round_one

    assert [0, 1] == bench.acked
    await bench.save()
    assert [0, 1, 2, 3] == bench.acked


async def test_crash_before_the_snapshot_gives_the_same_decision_again(bench):
    """Killed after publishing and before its snapshot, the next worker publishes the same id and nothing else."""
    await bench.take(*beats(10))
    await until(bench.decisions)
    bench.start()
    bench.offset = 0
    await bench.take(*beats(10))
    await until(lambda: len(bench.decisions()) == 2)

    assert bench.decisions()[0] == bench.decisions()[1]


async def test_outbox_of_a_snapshot_is_sent_again_after_an_assignment(bench, monkeypatch):
    """A decision that the broker lost is published again from the snapshot, though its entry is not read again."""
    monkeypatch.setattr("streams.judging.RESEND_AFTER_S", 0.01)
    bench.outlet.refuses = lambda topic, key: topic == TOPICS.decisions
    await bench.take(*beats(10))
    await bench.save()
    bench.outlet.refuses = lambda topic, key: False
    bench.start()

    await until(bench.decisions)
    assert ["production|checkout|orders/0|10"] == [one.decision_id for one in bench.decisions()]


async def test_answered_decision_is_not_sent_again(bench, monkeypatch):
    """What a receipt in the journal has answered by the time of sending stays unsent."""
    monkeypatch.setattr("streams.judging.RESEND_AFTER_S", 0.05)
    await bench.take(*beats(10))
    await bench.save()
    decided = (await until(bench.decisions))[0]
    bench.start()
    await bench.take(
        encode(ReceiptEntry(at_ms=0, key="production|checkout", decision_id=decided.decision_id, status="applied"))
    )
    await bench.judge._resending

    assert 1 == len(bench.decisions())


async def test_unreadable_entry_goes_to_the_dead_letters_and_the_rest_goes_on(bench):
    """What cannot be read is kept with its reason and place, before it is acknowledged; later entries count."""
    await bench.take(b'{"type":"beat"', *beats(2))
    await bench.save()
    letter = bench.outlet.on(TOPICS.dead_letters)[0]

    assert b'{"type":"beat"' == letter.value
    assert b"0" == dict(letter.headers)["guardian_offset"]
    assert 2 == bench.bank.count
    assert [0, 1, 2] == bench.acked


async def test_dead_letter_that_is_refused_is_not_acknowledged(bench):
    """Nothing is acknowledged while its dead letter is not kept; once it is, all is."""
    bench.outlet.refuses = lambda topic, key: topic == TOPICS.dead_letters
    await bench.take(b"nonsense")
    await bench.save()
    assert [] == bench.acked
    bench.outlet.refuses = lambda topic, key: False
    await bench.save()

    assert [0] == bench.acked
    assert 1 == len(bench.outlet.on(TOPICS.dead_letters))


async def test_confirmation_is_kept_before_its_entry_is_acknowledged(bench):
    """A receipt that only judge writes has no outbox, so no snapshot may pass it by."""
    bench.outlet.refuses = lambda topic, key: topic == TOPICS.receipts
    await bench.take(override("confirm"))
    await bench.save()
    assert ([], []) == (bench.outlet.on(CHANGELOG), bench.acked)
    bench.outlet.refuses = lambda topic, key: False
    await bench.save()

    kept = [from_event(one.value, Receipt, type=RECEIPT_TYPE) for one in bench.outlet.on(TOPICS.receipts)]
    assert ["effective"] == [one.status for one in kept]
    assert [0] == bench.acked


async def test_defect_in_the_bank_is_shown_and_stops_nothing(bench):
    """An entry that the bank fails on is kept as a dead letter and counted; the entries after it are judged."""
    await bench.take(override("fail"), *beats(10))
    await until(bench.decisions)
    _, _, numbers = bench.judge.readiness()

    assert 1 == numbers["not_applied"]
    assert [override("fail")] == [one.value for one in bench.outlet.on(TOPICS.dead_letters)]


async def test_entries_are_ignored_between_revocation_and_recovery(bench):
    """What is buffered when partitions are revoked comes again afterwards; counted now, the ones between were lost."""
    await bench.take(*beats(2))
    bench.judge.revoked()
    await bench.take(*beats(3))

    bench.judge.recovered({0}, lambda held: held.load(bench.table))
    assert 2 == bench.bank.count
    bench.offset = 2
    await bench.take(*beats(3))
    assert 5 == bench.bank.count


async def test_memory_and_table_are_compared_and_the_higher_offset_wins(bench):
    """After a rebalance the worker goes on from whichever has seen more: its memory, or what another one wrote."""
    await bench.take(*beats(4))
    await bench.save()
    await bench.take(*beats(1))
    bench.judge.revoked()
    bench.judge.recovered({0}, lambda held: held.load(bench.table))
    assert 5 == bench.bank.count

    other = CountingBank()
    for offset, _ in enumerate(beats(9)):
        other.apply(offset, Beat(source="orders/0", at_ms=0, passed_ms=0))
    for part, snapshot in other.dirty().items():
        bench.table.snapshots.put(0, table_key(0, part), packed(snapshot))
    bench.judge.revoked()
    bench.judge.recovered({0}, lambda held: held.load(bench.table))
    assert 9 == bench.bank.count


async def test_snapshot_that_is_too_large_is_said_and_nothing_is_acknowledged(bench):
    """A part that no broker takes makes judge not ready, and names it; its entries stay to be read again."""
    await bench.take(override("grow", str(LARGEST + 1)))
    await bench.save()
    ready, why, _ = bench.judge.readiness()

    assert (False, []) == (ready, bench.acked)
    assert "'rollout' is too large to be kept" in why
    await bench.take(override("grow", "0"))
    await bench.save()
    assert (True, [0, 1]) == (bench.judge.readiness()[0], bench.acked)


async def test_snapshot_that_cannot_be_read_is_said(bench):
    """A part lost to a damaged snapshot makes judge not ready and names it, until the part is written again."""
    broken = events("changelog", [b'p[1,"no count"]', b"?"])
    broken[0].message.key, broken[1].message.key = table_key(0, "rollout"), table_key(0, "other")
    bench.table.snapshots.apply_changelog_batch(broken, None, None)
    bench.start()
    ready, why, _ = bench.judge.readiness()
    assert (False, True) == (ready, "the snapshot of 'other' cannot be read (offset 1: " in why)
    assert {"other", "rollout"} == set(bench.judge.partitions[0].unreadable)

    await bench.take(*beats(1))
    await bench.save()
    assert {"other"} == set(bench.judge.partitions[0].unreadable)


async def test_part_that_does_not_change_is_written_again(bench):
    """A broker that forgets old records never holds only an old one of a part, changed or not."""
    bench.keeper._refresh_s = 0.0
    await bench.take(*beats(1))
    await bench.save()
    await bench.save()

    assert ["0|rollout", "0|", "0|rollout", "0|"] == [one.key for one in bench.outlet.on(CHANGELOG)]


async def shown_at(bench) -> list[str]:
    """Show what is to be shown; the times of all views that were ever shown."""
    await bench.judge.show()
    return [from_event(one.value, RolloutView).at for one in await until(lambda: bench.outlet.on(TOPICS.rollouts))]


async def test_only_the_newest_view_of_a_rollout_is_shown(bench):
    """Views that were overtaken before they were sent are not sent."""
    await bench.take(override("show", "2026-11-21T01:00:00Z"), override("show", "2026-11-21T01:00:01Z"))

    assert ["2026-11-21T01:00:01Z"] == await shown_at(bench)


async def test_only_who_judges_a_rollout_shows_it(bench):
    """What was to be shown when partitions were taken away is not: whoever judges it now knows better."""
    await bench.take(override("show", "2026-11-21T01:00:00Z"))
    bench.judge.revoked()
    bench.judge.recovered([0], lambda held: 0)
    await bench.judge.show()
    await bench.take(override("show", "2026-11-21T01:00:01Z"))

    assert ["2026-11-21T01:00:01Z"] == await shown_at(bench)


async def test_a_view_that_fails_keeps_no_one_else_waiting(bench):
    """A defect in the view of a rollout is logged; what comes after it is shown."""
    await bench.take(override("show", "fail"))
    await bench.judge.show()
    await bench.take(override("show", "2026-11-21T01:00:01Z"))

    assert ["2026-11-21T01:00:01Z"] == await shown_at(bench)


async def test_judge_is_ready_while_entries_come(bench):
    """Without entries for five seconds judge says that it is blind; before any partition, that it waits."""
    assert (True, "") == bench.judge.readiness()[:2]
    bench.judge.partitions[0].applied_at_s -= STALE_S + 1
    assert "no journal entry for 6 s" in bench.judge.readiness()[1]
    bench.judge.revoked()
    assert "waiting for partitions" in bench.judge.readiness()[1]


@pytest.mark.parametrize("size", [0, 10, 63_999, 64_001, 2_000_000])
def test_packing_changes_nothing(size):
    """A snapshot comes out as it went in, made small or not."""
    snapshot = b"x" * size

    assert snapshot == unpacked(packed(snapshot))


async def test_flags_that_stores_divide_and_nobody_watches_are_named():
    """Readiness names flags that have several variations and no policy, with their shares; of many the first."""
    judge = Judge(lambda: Bank(JudgeConfig()), MemoryOutlet(), TOPICS)  # type: ignore[arg-type]
    judge.recovered({0}, lambda _: 0)
    for number in range(FOUND_SHOWN + 2):
        told = serves(0.0, 0.1)
        told.key = f"production|flag-{number:02}"
        [event] = events(TOPICS.journal, [encode(told)], first=number)
        await judge.take(event)

    named = judge.readiness()[2]["not_watched"]
    assert "production|flag-00: control 90 %, treatment 10 %" == named[0]
    assert (FOUND_SHOWN + 1, "and 2 more") == (len(named), named[-1])
