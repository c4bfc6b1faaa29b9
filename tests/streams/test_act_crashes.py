"""Act on Kafka: killed between the store and the receipt, and fast enough when nothing goes wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from guardian.journal import ReceiptEntry, decode
from guardian.names import rollout_key
from guardian.ports import Applied, FlagCommand, FlagState, FlagStore
from streams.act import run_act
from streams.admin import ensure_topics
from streams.cloudevents import from_event, to_event
from streams.partitioning import partition_of
from streams.settings import Settings
from streams.status import Status
from streams.stores.memory import MemoryFlagStore
from tests.support.movers import decision, until
from tests.support.processes import Killable, Reader, producer, reader


class FileStore:
    """
    A store that outlives its client: a line in *path* for each command that had an effect.

    While *path* has a neighbour named ``die``, the first client that changes something is killed right afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.capabilities = MemoryFlagStore({"flags": {}}).capabilities

    @property
    def effects(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    async def read(self, environment: str, flag_key: str) -> FlagState:
        weights = {"treatment": 0.0 if self.effects else 0.5}
        return FlagState(flag_key, environment, True, ("control", "treatment"), weights, str(len(self.effects)))

    async def apply(self, command: FlagCommand) -> Applied:
        state = await self.read(command.environment, command.flag_key)
        if command.command_id in self.effects:
            return Applied("already", state.version, "this command was applied before", state)
        with self.path.open("a") as effects:
            effects.write(f"{command.command_id}\n")
        die = self.path.with_name("die")
        if die.exists():
            die.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return Applied("applied", str(len(self.effects)), "done", state)


async def act_on_file(status: Status, settings: Settings, path: str) -> None:
    @asynccontextmanager
    async def open_store(*_: Any) -> AsyncIterator[FlagStore]:
        yield FileStore(Path(path))

    await run_act(settings, status, open_store)


@asynccontextmanager
async def topics_of(settings: Settings) -> AsyncIterator[tuple[Any, Reader, Reader]]:
    """A function that publishes decisions, and readers of receipts and journal."""
    partitions = await ensure_topics(settings)
    async with (
        producer(settings) as producing,
        reader(settings, settings.topics.receipts) as receipts,
        reader(settings, settings.topics.journal) as journal,
    ):

        async def decide(given: Decision) -> None:
            key = rollout_key(given.environment, given.flag_key)
            event = to_event(DECISION_TYPE, given, id=given.decision_id, time=given.decided_at, source="/test")
            await producing.send_and_wait(
                settings.topics.decisions, event, key=key.encode(), partition=partition_of(key, partitions)
            )

        yield decide, receipts, journal


def _at_least(number: int, values: list[bytes]) -> bool:
    return len(values) >= number


def receipts_in(values: list[bytes]) -> list[Receipt]:
    return [from_event(value, Receipt, type=RECEIPT_TYPE) for value in values]


@pytest.mark.timeout(120)
async def test_killed_between_the_store_and_the_receipt(kafka, tmp_path):
    """The kill takes effect once; the next life of act finds it done, and says so in both topics."""
    settings = kafka.settings()
    (tmp_path / "die").touch()
    store = FileStore(tmp_path / "store")
    async with topics_of(settings) as (decide, receipts, journal):
        with Killable(act_on_file, tmp_path / "said", settings, str(store.path), worker="one") as act:
            await act.ready()
            await decide(decision(1))
            await until(lambda: act.process.exitcode is not None, what="act was killed by its store")
            assert ([decision(1).decision_id], []) == (store.effects, await receipts.poll(500))
            act.start()
            found = await receipts.until(receipts_in, 40, "a receipt")
            entries = await journal.until(lambda values: [decode(value) for value in values], 5, "a receipt entry")

    assert [(decision(1).decision_id, "already")] == [(one.decision_id, one.status) for one in found]
    assert [decision(1).decision_id] == store.effects
    assert isinstance(entries[0], ReceiptEntry)
    assert "already" == entries[0].status
