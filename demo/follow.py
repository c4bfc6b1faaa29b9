"""Follows the guardian's topics, as any service may."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer

DECISIONS, RECEIPTS = "guardian.decisions.v1", "guardian.receipts.v1"

Hear = Callable[[dict[str, Any]], None]


async def follow(bootstrap: str, on_decision: Hear, on_receipt: Hear) -> None:
    """Call back with each decision and each receipt, from the first on, until cancelled."""
    consumer = AIOKafkaConsumer(
        DECISIONS,
        RECEIPTS,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        metadata_max_age_ms=1_000,
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        async for record in consumer:
            hear = on_decision if record.topic == DECISIONS else on_receipt
            hear(json.loads(record.value)["data"])
    finally:
        await consumer.stop()
