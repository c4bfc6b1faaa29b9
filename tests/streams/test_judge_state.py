"""What judge makes of snapshots that are damaged, or of another version: never an answer from them, or from nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest
from aiokafka.structs import OffsetAndTimestamp, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.bank import Bank, JudgeConfig
from guardian.journal import Entry, PolicyEntry, encode
from guardian.packing import pack
from guardian.policy import policy_hash
from guardian.rebuilding import Rebuilding
from streams.judging import Judge, NewerState
from streams.keeper import Keeper, Partition
from streams.keepsakes import Keepsakes
from streams.rebuilding import Rebuild, Rebuilt
from streams.settings import Settings
from streams.snapshots import packed, table_key, unpacked
from streams.topics import Topics
from tests.support.movers import MemoryOutlet, MemoryTable, events
from tests.support.traffic import KEY, T0_MS, Traffic, entries, policy

TOPICS = Topics()
CHANGELOG = "changelog"
TERMS = policy()
SEEN = 60


def journal() -> list[Entry]:
    traffic = Traffic(seconds=12, rps=60, error=lambda v, s: 0.4 if v == "treatment" and s > 3 else 0.01, seed=5)
    first = PolicyEntry(at_ms=T0_MS, key=KEY, hash=policy_hash(TERMS), document=TERMS.to_document())
    return [first, *entries(traffic.requests(), exposures=True)]


JOURNAL = journal()


def bank_after(seen: int) -> Bank:
    bank = Bank(JudgeConfig())
    for offset, entry in enumerate(JOURNAL[:seen]):
        bank.apply(offset, entry)
    return bank


def record(part: str, value: bytes) -> Any:
    event = events(CHANGELOG, [value])[0]
    event.message.key = table_key(0, part)
    return event


def damaged(value: bytes, where: float, bit: int) -> bytes:
    content = bytearray(value)
    content[int(where * len(value))] ^= 1 << bit
    return bytes(content)


OLDER, NEWER = (packed(bank_after(seen).snapshot(KEY)) for seen in (SEEN - 30, SEEN))
places = st.floats(0.0, 1.0, exclude_max=True)


@given(where=places, bit=st.integers(0, 7), cut=st.booleans(), then=st.booleans())
@settings(deadline=None)
def test_no_damage_is_believed_and_none_hides_what_is_whole(where: float, bit: int, cut: bool, then: bool) -> None:
    """
    A bit turned anywhere, or a record that was cut: the part is not taken, not from an older record either; a whole
    one that is written afterwards is, whatever offset the damaged one may seem to have.
    """
    bad = NEWER[: int(where * len(NEWER))] if cut else damaged(NEWER, where, bit)
    table = MemoryTable(Bank.offset_of)
    table.snapshots.apply_changelog_batch([record(KEY, OLDER), record(KEY, bad)], None, None)
    if then:
        table.snapshots.apply_changelog_batch([record(KEY, NEWER)], None, None)
    held = Partition(0, Bank(JudgeConfig()))
    held.load(table)  # type: ignore[arg-type]

    assert ({}, [KEY]) == (held.newer, [] if then else list(held.unreadable)) or then
    assert ([SEEN - 1] if then else []) == [state.offset for state in held.bank.rollouts.values()]


@pytest.mark.parametrize("value", [b"", b"q", b"x" * 50, b"z", packed(b""), packed(b"\0" * 20)])
def test_what_is_no_snapshot_is_unreadable(value: bytes) -> None:
    """Records of another kind under a part's key leave it unreadable; nothing is raised, and others are read."""
    table = MemoryTable(Bank.offset_of)
    table.snapshots.apply_changelog_batch([record(KEY, value), record("production|other", NEWER)], None, None)
    held = Partition(0, Bank(JudgeConfig()))
    held.load(table)  # type: ignore[arg-type]

    assert KEY in held.unreadable
    assert KEY not in held.bank.rollouts


class Bench:
    """A judge of partition 0 over a real bank; a rebuild meets it when the test says so."""

    def __init__(self, table: MemoryTable) -> None:
        self.outlet, self.table = MemoryOutlet(), table
        self.meet: Any = None
        self.judge = Judge(lambda: Bank(JudgeConfig()), self.outlet, TOPICS, start_rebuild=self._start)  # type: ignore[arg-type]
        self.keeper = Keeper(self.outlet, table, CHANGELOG, refresh_s=0.0)  # type: ignore[arg-type]
        self.judge.recovered({0}, lambda held: held.load(table))  # type: ignore[arg-type]

    def _start(self, held: Partition, meet: Any) -> Any:
        self.meet = meet

        class Waiting(Rebuild):
            async def run(self) -> None:
                """It is met by the test."""

        return Waiting(None, held.number, None, lambda: held.seen, lambda: held.first, meet)  # type: ignore[arg-type]

    @property
    def held(self) -> Partition:
        return self.judge.partitions[0]

    async def take(self, first: int, last: int) -> None:
        for event in events(TOPICS.journal, map(encode, JOURNAL[first:last]), first=first):
            await self.judge.take(event)

    async def rebuild(self, begins: int = 0) -> None:
        rebuilding = Rebuilding(Bank(JudgeConfig()), begins)
        for offset in range(begins, self.held.seen + 1):
            rebuilding.look(JOURNAL[offset])
            rebuilding.apply(offset, JOURNAL[offset])
        self.meet(Rebuilt(rebuilding.bank, begins, before=max(self.held.first - begins, 0)))


def table_of(**parts: bytes) -> MemoryTable:
    table = MemoryTable(Bank.offset_of)
    names = {"rollout": KEY, "sources": Bank.SOURCES}
    table.snapshots.apply_changelog_batch([record(names[name], value) for name, value in parts.items()], None, None)
    return table


async def test_a_damaged_part_is_rebuilt_and_goes_on_as_if_nothing_had_been() -> None:
    """Readiness names the part and that it is rebuilt; then the state is that of a judge with no damage, and is kept."""
    sources = packed(bank_after(SEEN).snapshot(Bank.SOURCES))
    bench = Bench(table_of(rollout=damaged(NEWER, 0.5, 3), sources=sources))
    await bench.take(SEEN, SEEN + 10)
    ready, why, numbers = bench.judge.readiness()

    assert (False, 1) == (ready, numbers["rebuilding"] + numbers["rebuilt"])
    assert f"{KEY!r} cannot be read" in why
    await bench.rebuild()
    await bench.take(SEEN + 10, len(JOURNAL))
    await bench.keeper.save([bench.held])
    ready, why, numbers = bench.judge.readiness()

    assert (True, 1) == (ready, numbers["rebuilt"])
    assert "its state was rebuilt from the journal" in bench.held.bank.view(KEY).note
    whole = bank_after(len(JOURNAL))
    kept = {one.key: unpacked(one.value or b"") for one in bench.outlet.on(CHANGELOG)}
    assert whole.snapshot(Bank.SOURCES) == kept["0|"]
    assert [p.decision_id for p in whole.rollouts[KEY].outbox] == [p.decision_id for p in bench.held.bank.rollouts[KEY].outbox]
    bench.judge.revoked()


async def test_a_journal_that_is_read_from_its_middle_without_snapshots_is_rebuilt() -> None:
    """The changelog is gone and entries were acknowledged: nothing begins from nothing, all is rebuilt."""
    bench = Bench(table_of())
    assert not bench.held.unreadable
    await bench.take(SEEN, SEEN + 10)

    assert "the snapshot of 'the sources' cannot be read (there is none" in bench.judge.readiness()[1]
    await bench.rebuild()
    assert bank_after(SEEN + 10).snapshot(Bank.SOURCES) == bench.held.bank.snapshot(Bank.SOURCES)
    assert [KEY] == list(bench.held.bank.rollouts)
    bench.judge.revoked()


async def test_a_journal_that_is_read_from_its_beginning_needs_no_snapshot() -> None:
    """The very first start is no loss."""
    bench = Bench(table_of())
    await bench.take(0, 10)

    assert (None, True) == (bench.meet, bench.judge.readiness()[0])
    bench.judge.revoked()


async def test_a_journal_that_begins_with_what_was_never_committed_is_no_loss() -> None:
    """Offsets of aborted transactions come before the first entry: that is no missing past, and nothing is said of it."""
    bench = Bench(table_of())
    for event in events(TOPICS.journal, map(encode, JOURNAL[:10]), first=7):
        await bench.judge.take(event)
    rebuilding = Rebuilding(Bank(JudgeConfig()), 0)
    for at, entry in enumerate(JOURNAL[:10], 7):
        rebuilding.apply(at, entry)
    bench.meet(Rebuilt(rebuilding.bank, 0, entries=10))

    assert (True, 0) == (bench.judge.readiness()[0], bench.judge.readiness()[2]["rebuilt"])
    assert ([KEY], "") == (list(bench.held.bank.rollouts), bench.held.bank.view(KEY).note)
    bench.judge.revoked()


async def test_what_is_lost_is_said_and_its_policy_asked_for() -> None:
    """Neither snapshot nor journal: readiness goes on to say so, and the rollout itself does, without its policy's hash."""
    sources = packed(bank_after(SEEN).snapshot(Bank.SOURCES))
    bench = Bench(table_of(rollout=damaged(NEWER, 0.5, 3), sources=sources))
    await bench.take(SEEN, SEEN + 10)
    await bench.rebuild(begins=SEEN)

    ready, why, _ = bench.judge.readiness()
    assert not ready
    assert "the journal, which begins at offset 60, does not tell of it" in why
    assert "publish its policy again, then resume it" in why
    await bench.judge.idle()
    (shown,) = bench.outlet.on(TOPICS.rollouts)
    assert (KEY, True) == (shown.key, b"it is not watched" in (shown.value or b""))
    bench.judge.revoked()


@pytest.mark.parametrize("part", ["rollout", "sources"])
async def test_state_of_a_newer_version_is_left_alone(part: str) -> None:
    """A partition that a newer version has judged is neither judged nor written by this one, nor rebuilt over it."""
    bank = bank_after(SEEN)
    names = {"rollout": KEY, "sources": Bank.SOURCES}
    parts = {name: packed(bank.snapshot(names[name])) for name in names}
    parts[part] = packed((SEEN - 1).to_bytes(8, "big") + pack(200, b"of tomorrow"))
    bench = Bench(table_of(**parts))
    with pytest.raises(NewerState, match=r"partition 0 was judged by a newer version .* upgrade this one"):
        await bench.judge.until_left()

    assert [] == bench.judge.partitions
    await bench.take(SEEN, SEEN + 10)
    await bench.keeper.save(bench.judge.partitions)
    assert ([], None) == (bench.outlet.written, bench.meet)


async def test_every_rollout_has_its_turn_with_its_keepsake(dice: random.Random) -> None:
    """Within a round of time each rollout's keepsake is written once, to its place in the journal, from wherever on."""
    banks = [bank_after(SEEN), Bank(JudgeConfig())]
    for number in range(20):
        key = f"production|flag-{number}"
        document = TERMS.to_document() | {"flag": f"flag-{number}"}
        banks[1].apply(number, PolicyEntry(at_ms=T0_MS, key=key, hash="sha256:0", document=document))
    outlet = MemoryOutlet()
    keepsakes = Keepsakes(outlet, TOPICS.journal, round_s=100.0)
    spent_s = 0.0
    while spent_s < 102.0:
        step_s = dice.uniform(0.1, 3.0)
        await keepsakes.go_on(banks, step_s)
        spent_s += step_s

    written = [one.key for one in outlet.on(TOPICS.journal)]
    assert {KEY, *banks[1].rollouts} == set(written)
    assert len(written) <= 23


class Clocked:
    """A consumer that knows where the journal begins and ends, and where it stood three hours ago."""

    def __init__(self, begins: int, end: int, since: int | None) -> None:
        self.begins, self.end, self.since = begins, end, since

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.begins)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.end)

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        at = None if self.since is None else OffsetAndTimestamp(self.since, 0)
        return dict.fromkeys(times, at)


@pytest.mark.parametrize(
    ("begins", "end", "since", "read_from"),
    [(0, 900, 800, 0), (500, 1_400, 0, 500), (0, 9_000, 8_500, 8_000), (0, 9_000, 2_000, 2_000), (0, 9_000, None, 8_000)],
)
async def test_a_long_journal_is_read_from_late_enough(begins: int, end: int, since: int | None, read_from: int) -> None:
    """All of a short journal is read; of a long one so many entries as the settings say, or three hours, whichever is more."""
    told = Settings.model_validate({"judge": {"rebuild_entries": 1_000}})
    rebuild = Rebuild(told, 0, lambda: Bank(JudgeConfig()), lambda: -1, lambda: -1, lambda made: None)

    assert (read_from, end) == await rebuild.span(Clocked(begins, end, since), TopicPartition("journal", 0))
