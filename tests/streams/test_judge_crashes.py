"""
Judge dies, hangs and comes back while the journal goes on: every entry counts once, every decision is published.

The bank counts, and decides at every tenth entry with the count in the decision's id and the entry in its text. So
one entry lost or doubled anywhere shifts every later decision, and two workers that disagree show as two texts.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from guardian.decisions import Decision
from guardian.journal import Beat, encode
from streams.admin import ensure_topics
from streams.cloudevents import from_event
from streams.judge import run_judge
from streams.settings import Settings
from streams.status import Status
from tests.support.cluster import REAL_FIRST, Cluster
from tests.support.movers import EVERY, CountingBank
from tests.support.processes import Killable, Reader, producer, reader

ENTRIES_A_SECOND = 25
CATCH_UP_S = 45.0


async def counting_judge(status: Status, settings: Settings) -> None:
    await run_judge(settings, status, CountingBank)


class Journal:
    """Writes entries to every partition, and knows which decisions they must lead to."""

    def __init__(self, settings: Settings, producing: AIOKafkaProducer, partitions: int) -> None:
        self.settings, self.producing, self.sent = settings, producing, [0] * partitions

    @asynccontextmanager
    async def goes_on(self) -> AsyncIterator[None]:
        """Entries at an even pace, the same for each partition, for as long as the context lasts."""
        writing = asyncio.ensure_future(self._write())
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.wait({writing})
            await self.producing.flush()

    async def _write(self) -> None:
        while True:
            for partition, sent in enumerate(self.sent):
                entry = Beat(source=f"in/{partition}", at_ms=sent, passed_ms=0)
                self.sent[partition] += 1
                await self.producing.send(self.settings.topics.journal, encode(entry), partition=partition)
            await asyncio.sleep(1 / ENTRIES_A_SECOND)

    def expected(self) -> dict[str, str]:
        """The id and text of each decision."""
        return {
            f"production|checkout|in/{partition}|{count}": str(count - 1)
            for partition, sent in enumerate(self.sent)
            for count in range(EVERY, sent + 1, EVERY)
        }


@asynccontextmanager
async def journal_of(settings: Settings) -> AsyncIterator[tuple[Journal, Reader]]:
    partitions = await ensure_topics(settings)
    async with producer(settings) as producing, reader(settings, settings.topics.decisions) as decisions:
        yield Journal(settings, producing, partitions), decisions


def texts(values: list[bytes]) -> dict[str, str]:
    """Each decision's text by its id; fails if one id ever had two texts."""
    found: dict[str, str] = {}
    for value in values:
        decided = from_event(value, Decision)
        assert decided.explanation == found.setdefault(decided.decision_id, decided.explanation), "same id, two texts"
    return found


async def assert_exact(journal: Journal, decisions: Reader) -> None:
    """Every decision that the journal leads to is published, with its own id and text, and no other."""
    await decisions.until(
        lambda values: len(texts(values)) >= len(journal.expected()), CATCH_UP_S, "all decisions are published"
    )

    assert journal.expected() == texts(await decisions.poll(500))


@pytest.fixture
def settings(embedded_kafka: str) -> Settings:
    return Cluster(embedded_kafka, embedded=True).settings(judge={"snapshot_s": 0.5})


@REAL_FIRST
@pytest.mark.timeout(150)
async def test_killed_at_any_moment(kafka, tmp_path, dice):
    """Killed again and again while it judges, judge loses no entry, counts none twice, and repeats ids, not kills."""
    settings = kafka.settings(judge={"snapshot_s": 0.5})
    async with journal_of(settings) as (journal, decisions):
        with Killable(counting_judge, tmp_path / "judge", settings, worker="one") as judge:
            async with journal.goes_on():
                for _ in range(2):
                    await judge.ready()
                    await asyncio.sleep(dice.uniform(0.0, 2.0))
                    judge.kill()
                    judge.start()
            await assert_exact(journal, decisions)


@pytest.mark.timeout(150)
async def test_killed_during_recovery(settings, tmp_path, dice):
    """Killed while it starts, joins its group or recovers its table, judge begins again where its snapshots stand."""
    async with journal_of(settings) as (journal, decisions):
        with Killable(counting_judge, tmp_path / "judge", settings, worker="one") as judge:
            async with journal.goes_on():
                await judge.ready()
                for _ in range(3):
                    judge.kill()
                    judge.start()
                    await asyncio.sleep(dice.uniform(0.3, 3.0))
            await assert_exact(journal, decisions)


@pytest.mark.timeout(180)
async def test_two_judges_decide_as_one(real_cluster, tmp_path):
    """A judge that hangs for 8 s and wakes up late, and one that dies for good, change nothing in what is decided."""
    # The embedded broker refuses a follower that syncs after its leader: on a busy machine, again and again.
    settings = real_cluster.settings(judge={"snapshot_s": 0.5})
    async with journal_of(settings) as (journal, decisions):
        with (
            Killable(counting_judge, tmp_path / "one", settings) as one,
            Killable(counting_judge, tmp_path / "two", settings) as two,
        ):
            async with journal.goes_on():
                await asyncio.gather(one.ready(), two.ready())
                one.signal(signal.SIGSTOP)
                await asyncio.sleep(8.0)
                one.signal(signal.SIGCONT)
                await asyncio.sleep(1.0)
                two.kill()
                await asyncio.sleep(1.0)
            await assert_exact(journal, decisions)


@pytest.mark.timeout(120)
async def test_entries_of_aborted_transactions_are_not_judged(real_kafka, tmp_path):
    """What observe took back was never said: only committed entries count, and judge goes on past the others."""
    settings = Cluster(real_kafka, embedded=False).settings()
    journal = settings.topics.journal
    await ensure_topics(settings)
    options = {"transactional_id": f"{settings.kafka.group_prefix}-observe"}
    with Killable(counting_judge, tmp_path / "judge", settings) as judge:
        async with producer(settings, **options) as producing, reader(settings, settings.topics.decisions) as decisions:
            await judge.ready()
            for at in range(3 * EVERY):
                await producing.begin_transaction()
                entry = Beat(source="aborted" if at % 3 else "committed", at_ms=at, passed_ms=0)
                await producing.send_and_wait(journal, encode(entry), partition=0)
                await (producing.abort_transaction() if at % 3 else producing.commit_transaction())
            found = await decisions.until(texts, 30, "a decision")

    assert {f"production|checkout|committed|{EVERY}": str(3 * (EVERY - 1))} == found
