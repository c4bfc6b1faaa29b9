"""Promises of observe when processes and brokers die, hang or come back: each event is in the journal exactly once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Any

import pytest

from streams.admin import ensure_topics
from streams.observe import run_observe
from streams.observing.transactions import Message, TransactionFailed, Transactions
from streams.settings import Settings
from streams.status import Status
from tests.support.cluster import Cluster
from tests.support.observed import journal, services
from tests.support.processes import Killable

EVENTS_PER_S = 800
CATCH_UP_S = 60.0


async def observing(status: Status, settings: Settings) -> None:
    await run_observe(settings, status)


@pytest.fixture
def settings(real_kafka: str) -> Settings:
    # Flushed so often, a worker is in a transaction most of the time.
    return Cluster(real_kafka, embedded=False).settings(observe={"flush_ms": 20})


@pytest.mark.kafka
@pytest.mark.timeout(150)
@pytest.mark.parametrize("flags", [4, 1_601])
async def test_killed_in_transactions(settings, tmp_path, dice, flags):
    """
    Killed at random moments, most of them in a transaction, observe loses no event and counts none twice; nor where
    it holds sums back because there are very many flags.
    """
    await ensure_topics(settings, inputs=True)
    async with services(settings, flags) as sending, journal(settings) as written:
        with Killable(observing, tmp_path / "one", settings, worker="one") as worker:
            async with sending.busy(EVENTS_PER_S):
                for _ in range(3):
                    await worker.ready()
                    await asyncio.sleep(dice.uniform(0.1, 0.8))
                    worker.kill()
                    worker.start()
            await written.until_summed(sending.sent, CATCH_UP_S)


@pytest.mark.kafka
@pytest.mark.timeout(150)
async def test_failed_transactions(settings, dice, monkeypatch):
    """
    Transactions that fail before, within or after their commit are settled, and what they held is written once.
    """
    commit, failed = Transactions.commit, {"before": 0, "within": 0, "after": 0}

    async def unreliable(transactions: Transactions, messages: Sequence[Message], offset: int, note: str) -> None:
        how = dice.choice([*failed, "not", "not", "not", "not"])
        failed[how] = failed.get(how, 0) + 1
        if how == "within":
            producer: Any = transactions._producer
            await producer.begin_transaction()
            for message in messages:
                await producer.send(message.topic, message.value, partition=message.partition)
            await producer.flush()
        if how in ("after", "not"):
            await commit(transactions, messages, offset, note)
        if how != "not":
            raise TransactionFailed(f"made to fail {how} its commit")

    monkeypatch.setattr(Transactions, "commit", unreliable)
    await ensure_topics(settings, inputs=True)
    async with services(settings) as sending, journal(settings) as written:
        running = asyncio.ensure_future(run_observe(settings, Status("observe")))
        async with sending.busy(EVENTS_PER_S):
            await asyncio.sleep(3.0)
        await written.until_summed(sending.sent, CATCH_UP_S)
        running.cancel()
        await asyncio.wait({running})

    assert min(failed.values()) >= 3


@pytest.mark.kafka
@pytest.mark.timeout(150)
async def test_partitions_move_between_workers(settings, tmp_path):
    """
    A second worker takes over some of the partitions in the midst of events, and all when the first one dies.
    """
    await ensure_topics(settings, inputs=True)
    async with services(settings) as sending, journal(settings) as written:
        with Killable(observing, tmp_path / "one", settings) as one:
            await one.ready()
            async with sending.busy(EVENTS_PER_S):
                two = Killable(observing, tmp_path / "two", settings)
                await two.ready()
                await asyncio.sleep(1.0)
                one.kill()
                await asyncio.sleep(1.0)
        with two:
            await written.until_summed(sending.sent, CATCH_UP_S)


@pytest.mark.kafka
@pytest.mark.timeout(150)
async def test_a_zombie_cannot_commit(real_kafka, tmp_path):
    """
    A worker that hangs for 8 s in its transactions, and would end them when it wakes up, is fenced by who took over.
    """
    # It must not find by itself that its transactions took too long.
    settings = Cluster(real_kafka, embedded=False).settings(observe={"flush_ms": 20, "stuck_after_s": 60})
    await ensure_topics(settings, inputs=True)
    async with services(settings) as sending, journal(settings) as written:
        with Killable(observing, tmp_path / "one", settings) as one, Killable(observing, tmp_path / "two", settings) as two:
            await one.ready()
            await two.ready()
            async with sending.busy(EVENTS_PER_S):
                await asyncio.sleep(1.0)
                one.signal(signal.SIGSTOP)
                await asyncio.sleep(8.0)
                one.signal(signal.SIGCONT)
                await asyncio.sleep(2.0)
            await written.until_summed(sending.sent, CATCH_UP_S)


@pytest.mark.kafka
@pytest.mark.long
@pytest.mark.timeout(150)
async def test_a_broker_that_hangs_and_one_that_dies(kafka_server, tmp_path):
    """
    Transactions that hang with the broker are given up and made again; a broker that dies is waited for, and what it
    says of committed offsets when it is back is no reason to count an event twice.
    """
    settings = Cluster(kafka_server.bootstrap, embedded=False).settings(observe={"flush_ms": 20, "stuck_after_s": 1.0})
    broker = kafka_server._process
    assert broker is not None
    await ensure_topics(settings, inputs=True)
    async with services(settings) as sending, journal(settings) as written:
        with Killable(observing, tmp_path / "one", settings) as worker:
            await worker.ready()
            async with sending.busy(EVENTS_PER_S):
                await asyncio.sleep(0.5)
                broker.send_signal(signal.SIGSTOP)
                await asyncio.sleep(3.0)
                broker.send_signal(signal.SIGCONT)
                await asyncio.sleep(2.0)
                await asyncio.to_thread(kafka_server.kill)
                await asyncio.sleep(1.0)
                await asyncio.to_thread(kafka_server.restart)
            await written.until_summed(sending.sent, CATCH_UP_S)
        said = (tmp_path / "one").read_text()

    assert "not committed within 1 s" in said
