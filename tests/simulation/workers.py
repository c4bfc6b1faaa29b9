"""The processes of the guardian: the real fold, judge, keeper and act around the logs of the simulation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from guardian.bank import Bank
from guardian.effects import Effect
from guardian.journal import Entry
from guardian.names import Millis
from guardian.ports import Applied, FlagCommand, FlagState, StoreUnavailable
from streams.acting import Acting
from streams.codecs import Line
from streams.fold import Fold, FoldConfig
from streams.judge import _saving, _showing
from streams.judging import Judge
from streams.keeper import Keeper
from streams.observing.entries import Journalist
from streams.snapshots import split_table_key, table_key, unpacked
from streams.sources import Source
from streams.stamps import BY_BROKERS
from streams.topics import Topics
from tests.simulation.logs import Log, Snapshots
from tests.simulation.loop import Process
from tests.simulation.scene import ENVIRONMENT
from tests.support.movers import Message

if TYPE_CHECKING:
    from tests.simulation.world import World

TOPICS = Topics()
CHANGELOG = "changelog"
SAVE_EVERY_S = 0.7
REFRESH_S = 60.0


class Observe:
    """One source: reads on from what is committed; a commit writes entries and offset together, or nothing."""

    def __init__(self, world: World, process: Process, number: int) -> None:
        self._world, self._process, self._number = world, process, number
        self._name = f"flag.events.v1/{number}"
        self._dice = random.Random(f"observe {world.scene.seed} {number} {world.loop.time()}")

    async def run(self) -> None:
        """Flush once or twice a second, and half as often when it is quiet: then nothing strikes between two flushes."""
        world, number = self._world, self._number
        offset, note = world.noted[number]
        fold = Fold(self._name, FoldConfig(bare=True), position=offset, note=note)
        point, journalist = fold.savepoint(), Journalist(self._name, TOPICS.journal, 1)
        while True:
            await asyncio.sleep(self._dice.uniform(0.4, 0.9) * (2.0 if world.is_quiet else 1.0))
            if world.is_unread(number):
                continue
            now_ms = world.clock_ms(f"source {number}")
            first = fold.position
            self._take(fold, now_ms)
            messages, written = self._flush(fold, journalist, first, now_ms)
            if messages:
                await world.moment("folded", self._process)
                if world.happens(world.scene.faults.aborted):
                    world.note(f"observe {number}: transaction aborted, back to {point.position}")
                    fold.rollback(point)
                    continue
                point, journalist = fold.savepoint(), written
                world.commit(number, messages, (fold.position, point.note))
                fold.confirm(point)

    def _take(self, fold: Fold, now_ms: Millis) -> None:
        fold.plans, fold.proofs = self._world.plans.now, self._world.plans.proofs
        records = self._world.inputs[self._number].records
        while fold.position < len(records):
            first = fold.position
            batch = records[first : first + self._dice.randint(20, 200)]
            letters = fold.take([Line(value, (), first + at) for at, value in enumerate(batch)], now_ms)
            self._world.check(not letters, f"observe cannot read {letters}")

    def _flush(
        self, fold: Fold, journalist: Journalist, first: int, now_ms: Millis
    ) -> tuple[list[bytes], Journalist]:
        written = journalist.copy()
        offsets = [first, fold.position - 1] if fold.position > first else []
        entries = written.entries(fold.flush(now_ms), offsets, now_ms, now_ms)
        return [message.value or b"" for message in entries], written


class Event:
    """Mirrors a Faust event; its acknowledgement counts unless the group has given the partition to others."""

    def __init__(self, topic: str, offset: int, value: bytes, log: Log, worker: Any) -> None:
        # As a topic that is stamped by its brokers.
        self.message = Message(topic, 0, offset, value, timestamp=log.kept_ms[offset] / 1_000, timestamp_type=BY_BROKERS)
        self._log, self._worker = log, worker

    def ack(self) -> None:
        """Be done with it."""
        if self._worker.process.alive and not self._worker.is_deposed:
            self._log.acknowledge(self.message.offset)


class Table:
    """Mirrors ``SnapshotTable``: what this worker read of the changelog when it was given the partition."""

    def __init__(self, kept: Snapshots) -> None:
        self._data = {table_key(0, part): value for part, value in kept.parts.items()}

    @property
    def snapshots(self) -> Table:
        """Itself."""
        return self

    def keep(self, partition: int, key: bytes, value: bytes) -> None:  # noqa: ARG002
        """Keep what this worker wrote."""
        self._data[key] = value

    def unreadable(self, partition: int) -> dict[str, str]:  # noqa: ARG002
        """Nothing."""
        return {}

    def snapshot(self, partition: int, part: str) -> bytes | None:
        """The snapshot of a part."""
        value = self._data.get(table_key(partition, part))
        return None if value is None else unpacked(value)

    def parts(self, partition: int) -> Iterator[tuple[str, bytes]]:  # noqa: ARG002
        """All of them."""
        for key, value in list(self._data.items()):
            yield split_table_key(key)[1], unpacked(value)


class WatchedBank(Bank):
    """The real bank, whose effects are told to the ledger."""

    def __init__(self, world: World) -> None:
        super().__init__(world.config)
        self._world = world

    def apply(self, offset: int, entry: Entry) -> list[Effect]:
        """Apply the entry."""
        effects = super().apply(offset, entry)
        self._world.ledger.effects(self, offset, effects)
        return effects


class JudgeWorker:
    """
    One judge; once ``is_deposed`` another one has the partition, and this one does not know it yet.

    ``sleeps_s`` is for how long it stands still now.
    """

    def __init__(self, world: World, process: Process) -> None:
        self.process, self.is_deposed, self.seen = process, False, -1
        self.sleeps_s = 0.0
        self._world = world
        self._dice = random.Random(f"judge {world.scene.seed} {process.name}")
        outlet: Any = world.outlet(process)
        self._judge = Judge(lambda: WatchedBank(world), outlet, TOPICS)
        table: Any = Table(world.kept)
        self._table = table
        self._keeper = Keeper(outlet, table, CHANGELOG, refresh_s=REFRESH_S)

    @property
    def bank(self) -> Bank | None:
        """What it knows; None before it has read the snapshots."""
        held = self._judge.partitions
        return held[0].bank if held else None

    async def run(self) -> None:
        """Recover, then read, save and show."""
        self._judge.recovered([0], lambda held: held.load(self._table))
        await asyncio.gather(self._read(), _saving(self._judge, self._keeper, SAVE_EVERY_S), self._show())

    async def _show(self) -> None:
        await asyncio.sleep(0.1)
        await _showing(self._judge)

    async def _read(self) -> None:
        log = self._world.journal
        position = log.committed
        while True:
            for _ in range(self._dice.randint(1, 12)):
                if position >= len(log.records):
                    break
                event = Event(TOPICS.journal, position, log.records[position], log, self)
                await self._judge.take(event)
                self.seen, position = position, position + 1
                self._world.judged(self)
                await self._world.moment("applied", self.process)
            await log.beyond(position)
            # A zombie may be one that slept through its rebalance, and goes on where it was.
            await asyncio.sleep(self.sleeps_s + self._dice.uniform(0.02, 0.2))
            self.sleeps_s = 0.0


class ActWorker:
    """Act, reading decisions from what is committed on."""

    is_deposed = False

    def __init__(self, world: World, process: Process) -> None:
        self.process, self._world = process, world
        self._dice = random.Random(f"act {world.scene.seed} {process.name}")
        store: Any = Store(world, process, self._dice)
        outlet: Any = world.outlet(process)
        self._acting = Acting(store, outlet, TOPICS, deadline_s=world.scene.deadline_s)

    async def run(self) -> None:
        """Read and carry out."""
        log = self._world.decisions
        position = log.committed
        while True:
            while position < len(log.records):
                self._acting.take(Event(TOPICS.decisions, position, log.records[position], log, self))
                position += 1
            await log.beyond(position)
            await asyncio.sleep(self._dice.uniform(0.01, 0.1))


class Teller:
    """The store's own process: it tells what each flag gives whom, a little after that has changed."""

    is_deposed = False

    def __init__(self, world: World, process: Process) -> None:
        self.process, self._world = process, world
        self._dice = random.Random(f"store {world.scene.seed} {process.name}")
        outlet: Any = world.outlet(process)
        self._source = Source(outlet, TOPICS.journal, environment=ENVIRONMENT, store="memory")

    async def run(self) -> None:
        """Look again and again, and tell what is news."""
        while True:
            at_ms = self._world.clock_ms("act")
            await self._source.tell(self._world.shelf.serves(), at_ms=at_ms)
            await asyncio.sleep(self._dice.uniform(0.02, 0.4))


class Store:
    """The way to the memory store: slow, away, or silent about what it did."""

    def __init__(self, world: World, process: Process, dice: random.Random) -> None:
        self._world, self._process, self._dice = world, process, dice

    async def read(self, environment: str, flag_key: str) -> FlagState:
        """Read it; raises StoreUnavailable."""
        await self._way()
        return await self._world.store.read(environment, flag_key)

    async def apply(self, command: FlagCommand) -> Applied:
        """Apply it; raises StoreUnavailable, whether it was applied or not."""
        await self._way()
        applied = await self._world.store.apply(command)
        self._world.stored(command, applied)
        await self._world.moment("stored", self._process)
        await self._way()
        return applied

    async def _way(self) -> None:
        await asyncio.sleep(self._dice.uniform(0.001, 0.1))
        if self._world.is_store_down():
            raise StoreUnavailable("away")
        if self._world.happens(self._world.scene.faults.store_unknown):
            if self._dice.random() < 0.2:
                await asyncio.sleep(10.0)  # longer than act waits for one answer
            raise StoreUnavailable("no answer")
