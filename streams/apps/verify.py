"""``guardian verify``: whether the topics hold together, from evidence to receipt; the first link that does not, if any."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TextIO

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from guardian.chain import Break
from guardian.numerals import among, count
from streams.apps.audit import Audit
from streams.apps.client import DONE, UNDONE, NotReached, Wrong
from streams.apps.letters import unreachable
from streams.reading import open_consumer
from streams.settings import Settings

POLL_MS = 200
SHOWN = 10


def verify(settings: Settings, out: TextIO, *, recompute: bool) -> int:
    """
    Read journal, decisions and receipts as they stand now, and print what was found; return the exit code.

    Raises:
        NotReached: Kafka does not answer.
        Wrong: a topic is not there.
    """
    audit = Audit(settings.topics, settings.signing.keys, settings.judge.config() if recompute else None)
    try:
        asyncio.run(_read(settings, audit))
    except KafkaError as error:
        raise NotReached(unreachable(settings, error)) from None
    return tell(audit, settings.signing.keys.trusted, out)


def tell(audit: Audit, trusted: Any, out: TextIO) -> int:
    """Print what an audit found, the first break before all others; return the exit code."""
    breaks = audit.breaks()
    open_ones = audit.unanswered
    out.write(f"{among(audit.decisions, 'decision')}, {among(audit.receipts, 'receipt')}\n")
    if open_ones:
        out.write(f"{count(len(open_ones))} without a receipt yet: {_some(open_ones)}\n")
    if not trusted:
        out.write("signatures were not checked: no key is trusted (signing: of the settings)\n")
    out.writelines(f"not checked, {count(times)}×: {why}\n" for why, times in sorted(audit.untold.items()))
    if not breaks:
        out.write("the chain holds\n")
        return DONE
    out.write(f"BROKEN {_line(breaks[0])}\n")
    out.writelines(f"       {_line(one)}\n" for one in breaks[1:SHOWN])
    if len(breaks) > SHOWN:
        out.write(f"       and {count(len(breaks) - SHOWN)} more\n")
    return UNDONE


def _some(names: Sequence[str]) -> str:
    more = f" and {count(len(names) - SHOWN)} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _line(one: Break) -> str:
    """One line whatever the record holds: somebody else may have written it."""
    text = f"{one.place}: {one.why}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


async def _read(settings: Settings, audit: Audit) -> None:
    topics = settings.topics
    # In this order: what the journal led to is in the decisions by the time that those are read, and likewise receipts.
    for topic in (topics.journal, topics.decisions, topics.receipts):
        await _read_topic(settings, topic, audit)


async def _read_topic(settings: Settings, topic: str, audit: Audit) -> None:
    async with open_consumer(settings, topic, client_id="guardian-verify") as consumer:
        partitions: set[TopicPartition] = consumer.assignment()
        if not partitions:
            raise Wrong(f"there is no topic {topic} at {settings.kafka.bootstrap}; is topics: of the settings right?")
        for at, first in (await consumer.beginning_offsets(partitions)).items():
            audit.begins(at.topic, at.partition, first)
        await consumer.seek_to_beginning(*partitions)
        await _take_all(consumer, await consumer.end_offsets(partitions), audit)


async def _take_all(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int], audit: Audit) -> None:
    # Positions, not records: the last ones may be markers of transactions.
    while behind := [at for at, end in ends.items() if await consumer.position(at) < end]:
        batches = await consumer.getmany(*behind, timeout_ms=POLL_MS)
        for at, records in batches.items():
            for record in records:
                if record.offset < ends[at]:
                    audit.take(record)
