"""Where the time of a kill went, read from the topics that every hand-over left behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer

STAGES = ("summed", "judged", "sent", "seen")
"""
summed   from the last failure in Kafka to the summary that decided (the clock of its flush)
judged   from there to the decision's record: the transaction, the journal, the tests
sent     from there to the flag's new state: the decision's topic, what act plans; where the store keeps its state itself, to the
         receipt, which is written when the change was read back
seen     from there to the client that evaluates control: the store, its push
"""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill by the wall clock: the flag, the last failure acknowledged, the first evaluation of control."""

    flag: str
    harmed_ms: float
    seen_ms: float

    @property
    def took_ms(self) -> float:
        """How long it took."""
        return self.seen_ms - self.harmed_ms


async def stages(bootstrap: str, kills: Iterable[Kill]) -> dict[str, dict[str, float]]:
    """Return median and 99 % quantile of each stage, in milliseconds, over kills whose records are found."""
    decided: dict[str, tuple[float, float]] = {}
    for record in await everything(bootstrap, "guardian.decisions.v1"):
        data = json.loads(record.value)["data"]
        if data["action"] == "kill":
            at_ms = datetime.fromisoformat(data["decided_at"]).timestamp() * 1_000
            decided.setdefault(data["flag_key"], (at_ms, record.timestamp))
    changed: dict[str, float] = {}
    for record in await everything(bootstrap, "guardian.flag-state.v1"):
        data = json.loads(record.value)["data"]
        if data.get("killed"):
            changed.setdefault(data["flag_key"], record.timestamp)
    if not changed:
        for record in await everything(bootstrap, "guardian.receipts.v1"):
            data = json.loads(record.value)["data"]
            if (data["action"], data["status"]) == ("kill", "applied"):
                changed.setdefault(data["flag_key"], record.timestamp)
    rows = [
        np.diff([kill.harmed_ms, *decided[kill.flag], changed[kill.flag], kill.seen_ms])
        for kill in kills
        if kill.flag in decided and kill.flag in changed
    ]
    return {name: figures(list(column)) for name, column in zip(STAGES, zip(*rows, strict=True), strict=True)}


def figures(took_ms: list[float]) -> dict[str, float]:
    """Return median, 99 % quantile, worst and number."""
    return {
        "p50_ms": float(np.percentile(took_ms, 50)),
        "p99_ms": float(np.percentile(took_ms, 99)),
        "max_ms": float(max(took_ms)),
        "n": len(took_ms),
    }


async def everything(bootstrap: str, topic: str) -> list[Any]:
    """Return all records that a topic holds now."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        ends: Mapping[Any, int] = await consumer.end_offsets(consumer.assignment())
        found: list[Any] = []
        while not all([await consumer.position(at) >= end for at, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
        return found
    finally:
        await consumer.stop()
