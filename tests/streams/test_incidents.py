from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from guardian.incidents import INCIDENT_TYPE, Incident
from streams.cloudevents import from_event
from streams.partitioning import partition_of
from streams.reading import read_partition
from streams.report import run_report
from streams.settings import Settings
from streams.status import Status
from streams.webhooks import message_id
from tests.streams.test_report import alerts, hooks, now_ms
from tests.support.cluster import Cluster
from tests.support.page import Hand, hand, until
from tests.support.pagerduty import events_api
from tests.support.processes import Killable
from tests.support.published import decision, receipt

INCIDENT = "production|checkout-v2|treatment"
OPEN = "guardian:production:checkout-v2:treatment"


async def live(status: Status, given: Settings) -> None:
    await run_report(given, status)


async def known(given: Settings) -> Incident | None:
    at = TopicPartition(given.topics.incidents, partition_of("production|checkout-v2", given.partitions))
    found = [value async for key, value in read_partition(given, at) if key == INCIDENT]
    return from_event(found[-1], Incident, type=INCIDENT_TYPE) if found else None


async def until_known(given: Settings, what: str, **fields: object) -> Incident:
    async with asyncio.timeout(30.0):
        while True:
            found = await known(given)
            if found is not None and all(getattr(found, name) == value for name, value in fields.items()):
                return found
            await asyncio.sleep(0.05)
    raise AssertionError(what)


@pytest.mark.timeout(120)
async def test_killed_at_any_moment_it_tells_everything_and_what_it_knows_once(
    embedded_kafka: str, tmp_path: Path, dice: random.Random
):
    """
    Report dies by ``kill -9`` at some moment while it pages, and again when all is quiet: pages, statuses, the end and the
    report arrive, the pager's incident is closed in the end, and nothing of before the quiet moment is told once more.
    """
    await _killed(Cluster(embedded_kafka, embedded=True), tmp_path, dice)


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.timeout(180)
async def test_so_it_does_with_kafka(real_cluster: Cluster, tmp_path: Path, dice: random.Random):
    """
    The same on Apache Kafka.
    """
    await _killed(real_cluster, tmp_path, dice)


async def _killed(kafka: Cluster, tmp_path: Path, dice: random.Random) -> None:
    async with events_api() as api, hooks() as (hook, got):
        api.delay_s = 0.05
        asked = alerts(api, hook)
        asked["alerts"] |= {"stakeholders_after": "2s", "status_every": "1h"}
        given = kafka.settings(**asked)
        async with hand(given) as publish:
            with Killable(live, tmp_path / "said", given, worker="one") as report:
                await report.ready()
                ids = await _tell(publish)
                await asyncio.sleep(dice.uniform(0.0, 0.3))  # any moment is right
                report.kill()
                report.start()
                await until(lambda: ids <= {named for named, _ in got} and api.open, "all of it is told")
                await until_known(given, "the status", statuses=0)
                await until(lambda: report.is_ready, "it is ready")
                told = Counter(named for named, _ in got)
                report.kill()
                report.start()
                await report.ready()
                await publish.decision(decision(18, at_ms=now_ms(), action="resume"))
                await until_known(given, "the end", is_report_told=True)

    assert {} == api.open
    kinds = [said["type"].split(".")[2] for _, said in got]
    assert 4 == len({named for named, _ in got}) - len(ids), f"status, resume, end, report: {kinds}"
    assert told == Counter({named: times for named, times in Counter(name for name, _ in got).items() if named in told})
    assert all(times <= 2 for times in told.values())


async def _tell(publish: Hand) -> set[str]:
    """A kill that fails, and the identities by which the webhook is to hear of it."""
    of = decision(at_ms=now_ms())
    failed = receipt(of, "failed", detail="no such flag")
    await publish.decision(of)
    await publish.receipt(failed)
    return {message_id(f"decision:{of.decision_id}"), message_id(f"receipt:{failed.receipt_id}")}


async def test_a_flag_that_is_archived_has_no_incident(embedded_kafka: str, tmp_path: Path):
    """
    Where the rollout of an open incident is deleted, the incident is over; others stay open.
    """
    async with events_api() as api, hooks() as (hook, _):
        given = Cluster(embedded_kafka, embedded=True).settings(**alerts(api, hook))
        async with hand(given) as publish:
            with Killable(live, tmp_path / "said", given) as report:
                await report.ready()
                await publish.decision(decision(at_ms=now_ms()))
                await publish.decision(decision(flag="new-cart", at_ms=now_ms()))
                await until(lambda: 2 == len(api.open), "both page")
                await publish.raw(given.topics.rollouts, "production|checkout-v2", None)
                ended = await until_known(given, "the end", is_report_told=True)

    assert ["guardian:production:new-cart:treatment"] == list(api.open)
    assert "The flag was archived: its rollout is gone." == ended.closed_by
