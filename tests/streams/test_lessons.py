"""Promises about what kills teach: written for all workers, and no harm where it is lost."""

from __future__ import annotations

import pytest

from guardian.decisions import Receipt, ServiceSeen
from guardian.journal import ReceiptEntry, decode
from streams.lessons import teach
from tests.support.movers import MemoryOutlet, receipt

JOURNAL = "journal"
SEEN = receipt().model_copy(
    update={
        "store": "flagd", "took_ms": 1_150,
        "services": (
            ServiceSeen(service="search-api", stopped_ms=750), ServiceSeen(service="checkout-api", still=3, stopped_ms=None)
        ),
    }
)  # fmt: skip


class Wide(MemoryOutlet):
    """Its topics have three partitions."""

    async def partitions(self, topic: str) -> int:  # noqa: ARG002
        return 3


async def test_a_lesson_stands_in_every_partition():
    """How long the kill took, of which store, by service; under the rollout's key, in each partition of the journal."""
    outlet = Wide()
    await teach(SEEN, outlet, JOURNAL)
    written = outlet.on(JOURNAL)

    assert [0, 1, 2] == [one.partition for one in written]
    entry = decode(written[0].value or b"")
    assert isinstance(entry, ReceiptEntry)
    assert ("effective", "flagd", 1_150, {"search-api": 750}) == (entry.status, entry.store, entry.took_ms, entry.services)
    assert 1 == len({one.value for one in written})


@pytest.mark.parametrize(
    "said",
    [SEEN.model_copy(update={"status": "not_effective"}), SEEN.model_copy(update={"store": ""}),
     SEEN.model_copy(update={"took_ms": None})],
    ids=["not effective", "no store", "no time"],
)  # fmt: skip
async def test_what_teaches_nothing_is_not_written(said: Receipt):
    """A kill that is not proven, or whose store nobody knows, is no lesson."""
    outlet = Wide()
    await teach(said, outlet, JOURNAL)

    assert [] == outlet.written


async def test_a_lesson_that_kafka_refuses_is_left():
    """It is lost, and nothing else with it."""
    outlet = Wide()
    outlet.refuses = lambda _topic, _key: True
    await teach(SEEN, outlet, JOURNAL)

    assert [] == outlet.written
