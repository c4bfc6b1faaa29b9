"""Dead letters as they stand in their topic, found by place, origin or reason, and sent again as they were."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from guardian.errors import GuardianError
from streams.deadletters import DeadLetter, letter_of
from streams.outlet import Outlet
from streams.reading import open_consumer
from streams.settings import Settings

POLL_MS = 200
REASONS_MAX, OTHERS = 10_000, "other reasons"


class NoLetter(GuardianError):
    """There is no such dead letter, or it cannot be sent again; the text says which and why."""


class Place(NamedTuple):
    """Where a dead letter stands in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"

    @classmethod
    def of(cls, text: str) -> Place:
        """
        Return the place that a text such as ``3/1042`` names.

        Raises:
            NoLetter: it names none.
        """
        partition, _, offset = text.partition("/")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise NoLetter(f"{text!r} is no place of a dead letter; write partition/offset as `list` shows it: 3/1042")
        return cls(int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter, where it stands and when it was written."""

    place: Place
    at: str
    letter: DeadLetter


@dataclass(slots=True)
class Survey:
    """
    The newest letters that were asked for, the oldest of them first, and by reason how many there are of them in all.

    A flood may give a million reasons: those that come after ``REASONS_MAX`` are counted as ``OTHERS``.
    """

    newest: deque[Found]
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, found: Found) -> None:
        """Take one letter in."""
        self.newest.append(found)
        reason = found.letter.reason
        self.reasons[reason if reason in self.reasons or len(self.reasons) < REASONS_MAX else OTHERS] += 1


Asked = Callable[[DeadLetter], bool]


def asked_for(topic: str, reason: str) -> Asked:
    """Return what chooses letters by the topic that they came from, and by a part of their reason; empty is any."""
    return lambda letter: topic in ("", letter.origin.topic) and reason in letter.reason


class Letters:
    """Reads the dead-letter topic; every question raises ``KafkaError`` where the broker does not answer it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topics.dead_letters

    async def survey(self, asked: Asked, most: int, *, whole: bool = True) -> Survey:
        """Read the whole topic; keep the newest ``most`` of those asked for, without their values if not ``whole``."""
        found = Survey(deque(maxlen=most))
        async for one in self._all():
            if asked(one.letter):
                found.add(one if whole else replace(one, letter=msgspec.structs.replace(one.letter, value=None)))
        return found

    async def again(self, places: Collection[Place]) -> AsyncIterator[Found]:
        """Read the whole topic; yield the letters at these places."""
        async for one in self._all():
            if one.place in places:
                yield one

    async def at(self, places: Iterable[Place]) -> list[Found]:
        """
        Return the letters at these places.

        Raises:
            NoLetter: one of them is not there, or no longer.
        """
        async with open_consumer(self._settings, self._topic) as consumer:
            return [await self._one(consumer, place) for place in places]

    async def _one(self, consumer: AIOKafkaConsumer, place: Place) -> Found:
        at = TopicPartition(self._topic, place.partition)
        if at in consumer.assignment():
            first, end = (await consumer.beginning_offsets([at]))[at], (await consumer.end_offsets([at]))[at]
            if first <= place.offset < end:
                consumer.seek(at, place.offset)
                async for one in self._until(consumer, {at: place.offset + 1}):
                    if one.place == place:
                        return one
        raise NoLetter(f"there is no dead letter at {place}, or no longer; `list` shows those that there are")

    async def _all(self) -> AsyncIterator[Found]:
        async with open_consumer(self._settings, self._topic) as consumer:
            partitions = consumer.assignment()
            await consumer.seek_to_beginning(*partitions)
            async for one in self._until(consumer, await consumer.end_offsets(partitions)):
                yield one

    async def _until(self, consumer: AIOKafkaConsumer, ends: dict[Any, int]) -> AsyncIterator[Found]:
        while True:
            # Positions, not records: the last ones may be markers of transactions.
            behind = [at for at, end in ends.items() if await consumer.position(at) < end]
            if not behind:
                return
            batches = await consumer.getmany(*behind, timeout_ms=POLL_MS)
            records = sorted((record for batch in batches.values() for record in batch), key=lambda record: record.timestamp)
            for record in records:
                yield _found(record)


def _found(record: Any) -> Found:
    at = datetime.fromtimestamp(record.timestamp / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Found(Place(record.partition, record.offset), at, letter_of(record))


def refusal(settings: Settings, found: Found) -> str:
    """Return why a letter cannot be sent again, or nothing: only whole events go back, to topics that events are read from."""
    topics = settings.topics
    sources = {*topics.exposures, *topics.outcomes, *topics.feedback}
    if found.letter.was_cut:
        return f"{found.place}: only the beginning of it was kept, as it was too large; send it from where it came from"
    if found.letter.origin.topic not in sources:
        return f"{found.place}: it came from {found.letter.origin.topic or 'nowhere'}, from which no events are read"
    return ""


async def resubmit(letters: AsyncIterable[Found], outlet: Outlet) -> int:
    """
    Send letters to where they came from, as they were; return how many were sent.

    Raises:
        NotDelivered: Kafka did not take one; those before it were sent.
    """
    sent = 0
    async for one in letters:
        letter = one.letter
        partition = letter.origin.partition if letter.origin.partition >= 0 else None
        await outlet.send(letter.origin.topic, letter.key, letter.value, partition=partition, headers=letter.headers)
        sent += 1
    return sent


def unreachable(settings: Settings, error: KafkaError) -> str:
    """Return what to say where the broker does not answer."""
    return f"Kafka at {settings.kafka.bootstrap} does not answer: {error}; is it up, and is kafka.bootstrap right?"
