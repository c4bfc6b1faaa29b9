"""
What each kill teaches of its store: how long it took to reach the last client, written into every partition of the journal.

Judge learns it from there, as all that it knows, so that every worker knows the same at the same entry and none forgets it
with its process. A lesson that is lost is a lesson less; one that comes twice says nothing new.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import structlog

from guardian.decisions import Receipt
from guardian.journal import LESSON, ReceiptEntry, encode
from guardian.names import rollout_key
from streams.outlet import NotDelivered
from streams.telemetry import PROPAGATION_SECONDS

log = structlog.get_logger()


class Writer(Protocol):
    """What the journal is written through: an outlet."""

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        ...

    async def send(self, topic: str, key: str, value: bytes | None, *, partition: int | None = None) -> None:
        """Write one record and wait until it is kept; raises ``NotDelivered``."""
        ...


def lesson_of(receipt: Receipt) -> ReceiptEntry | None:
    """Return what a receipt of judge teaches; None where it proves no effect, or nobody knows of which store."""
    if receipt.status != LESSON or receipt.took_ms is None or not receipt.store:
        return None
    return ReceiptEntry(
        at_ms=round(datetime.fromisoformat(receipt.at).timestamp() * 1_000),
        key=rollout_key(receipt.environment, receipt.flag_key),
        decision_id=receipt.decision_id,
        status=LESSON,
        action=receipt.action,
        variation=receipt.variant,
        store=receipt.store,
        took_ms=receipt.took_ms,
        services={one.service: one.stopped_ms for one in receipt.services if one.stopped_ms is not None},
    )


async def teach(receipt: Receipt, outlet: Writer, journal: str) -> None:
    """Write what a receipt teaches, if it does, for all workers; what Kafka does not take is said and left."""
    lesson = lesson_of(receipt)
    if lesson is None:
        return
    PROPAGATION_SECONDS.labels(lesson.store).observe(lesson.took_ms / 1_000)
    try:
        for partition in range(await outlet.partitions(journal)):
            await outlet.send(journal, lesson.key, encode(lesson), partition=partition)
    except NotDelivered as error:
        log.warning("lesson_lost", decision=receipt.decision_id, store=receipt.store, reason=str(error))
