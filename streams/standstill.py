"""
A worker that reads nothing though there is something to read ends, so that its supervisor starts it again.

Clients of Kafka can stop in silence: a task of theirs ends by an error that nobody awaits, and from then on they ask no
broker for anything, or always the one that is gone. Everything else in the worker goes on, and says that all is well.
What is known of that is mended where it happens; this is for what is not. It asks with a client of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from guardian.errors import GuardianError
from streams.reading import open_consumer
from streams.settings import Settings

log = structlog.get_logger()

PATIENCE_S = 60.0
"""A worker that is merely slow, or is being given other partitions, reads something within this."""
LOOK_S = 10.0
"""From one look at where the topics end to the next."""
ASK_S = 10.0

Offsets = Mapping[TopicPartition, int]
"""By partition that is to be read now, how far it has been: any number that grows with each record."""
Ends = Callable[[list[TopicPartition]], Awaitable[Offsets]]


class StoodStill(GuardianError):
    """Nothing is read of a partition into which records come."""


async def until_standstill(
    reads: Callable[[], Offsets], ends: Ends, *, patience_s: float | None = None, look_s: float | None = None
) -> NoReturn:
    """
    Wait until a partition of *reads* stands still for *patience_s* while its end, by *ends*, moves on.

    As long as the ends cannot be had, Kafka is away: that is no reason to begin anew.

    Raises:
        StoodStill: which partition, and for how long.
    """
    clock_s = asyncio.get_running_loop().time
    patience_s, look_s = patience_s or PATIENCE_S, look_s or LOOK_S
    stands: dict[TopicPartition, tuple[int, float]] = {}
    before: Offsets = {}
    while True:
        await asyncio.sleep(look_s)
        now_s, read = clock_s(), reads()
        stands = {at: _since(stands.get(at), seen, now_s) for at, seen in read.items()}
        waiting = [at for at, (_, since_s) in stands.items() if now_s - since_s >= patience_s]
        try:
            async with asyncio.timeout(ASK_S):
                found = await ends(waiting) if waiting else {}
        except (TimeoutError, KafkaError) as error:
            log.info("ends_not_known", reason=repr(error))
            before = {}
            continue
        read = reads()
        for at in waiting:
            seen, since_s = stands[at]
            if found[at] > before.get(at, found[at]) and read.get(at) == seen:
                still_s = clock_s() - since_s
                raise StoodStill(f"{at.topic}/{at.partition}: nothing was read for {still_s:.0f} s, and records come in")
        before = found


def _since(known: tuple[int, float] | None, seen: int, now_s: float) -> tuple[int, float]:
    """How far a partition has been read, and since when that is so."""
    return known if known is not None and known[0] == seen else (seen, now_s)


def ends_by(settings: Settings) -> Ends:
    """Return what asks where partitions end, each time with a client that knows nothing of before."""

    async def ends(partitions: list[TopicPartition]) -> Offsets:
        async with open_consumer(settings) as consumer:
            found: Offsets = await consumer.end_offsets(partitions)
            return found

    return ends
