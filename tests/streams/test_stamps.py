"""On a real Kafka the brokers stamp the journal: a worker whose clock is ahead does not take the others along."""

from __future__ import annotations

import pytest

from guardian.journal import Beat, encode
from streams.admin import ensure_topics
from streams.clock import now_ms
from streams.judge import run_judge
from streams.reading import open_consumer
from streams.settings import Settings
from streams.stamps import kept_ms
from streams.status import Status
from tests.support.cluster import Cluster
from tests.support.movers import until
from tests.support.processes import Killable, producer

HOUR_MS = 3_600_000
TEST_MS = 60_000
"""Two looks at a clock in one test are no further apart."""


async def judging(status: Status, settings: Settings) -> None:
    await run_judge(settings, status)


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_a_journal_tells_when_it_was_written_and_judge_whose_clock_is_ahead(real_kafka, tmp_path):
    """
    Of an entry that is dated an hour from now, whatever time its writer has put beside it, Kafka says that it came now; judge
    names its writer, which it does of entries that it has dated back.
    """
    settings = Cluster(real_kafka, embedded=False).settings()
    journal = settings.topics.journal
    await ensure_topics(settings)
    ahead_ms = now_ms() + HOUR_MS
    entry = encode(Beat(source="orders/0", at_ms=ahead_ms, passed_ms=ahead_ms))
    async with producer(settings) as producing, open_consumer(settings, journal) as reading:
        with Killable(judging, tmp_path / "judge", settings) as judge:
            await judge.ready()
            await producing.send_and_wait(journal, entry, partition=0, timestamp_ms=ahead_ms)
            record = await reading.getone()
            numbers = await until(lambda: judge.numbers.get("clock_ahead_s") and judge.numbers, within_s=20, what="it is told")
            said = (tmp_path / "judge").read_text()

    kept = kept_ms(record)
    assert kept is not None
    assert abs(now_ms() - kept) < TEST_MS
    assert "writer=orders/0" in said
    assert HOUR_MS - TEST_MS < 1_000 * numbers["clock_ahead_s"] <= HOUR_MS


@pytest.mark.kafka
async def test_other_topics_carry_their_writers_times(real_kafka):
    """Of a record that its writer has stamped nothing else is known."""
    settings = Cluster(real_kafka, embedded=False).settings()
    await ensure_topics(settings)
    async with producer(settings) as producing, open_consumer(settings, settings.topics.receipts) as reading:
        await producing.send_and_wait(settings.topics.receipts, b"{}", partition=0)
        record = await reading.getone()

    assert kept_ms(record) is None
