"""
Makes parts of judge's state anew whose snapshots are damaged or gone: from the journal, beside the judging of all others.

It reads the partition from the earliest entry that is retained (of a long journal, from late enough:
``judge.rebuild_entries``) to where judge is, and hands over there: between two entries, so that nothing is missed and
nothing counted twice. Until then nothing is known of what is being rebuilt, and so nothing decided about it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from guardian.bank import Bank
from guardian.dating import dated
from guardian.effects import Confirm, Effect
from guardian.journal import Entry, decode
from guardian.names import rollout_key
from guardian.rebuilding import Rebuilding
from streams.reading import open_consumer
from streams.settings import Settings
from streams.stamps import kept_ms

SLICE_S = 0.005
"""So long it works at a time, and then leaves as much to the judging of others."""
POLL_MS = 200
KEPT_WITHIN_S = 3 * 3_600.0
"""Within this each rollout has had its keepsake written, several times."""
WAIT_S = 0.05
_POLICY = b'"policy"'
"""In each entry that may be one; most are not, and need not be decoded to be passed over."""


@dataclass(slots=True)
class Rebuilt:
    """
    What came out: the bank, where the journal began, and what was to be published meanwhile and has no outbox.

    ``entries`` were read within ``seconds``, ``before`` of them before the first that judge has taken.
    """

    bank: Bank
    begins: int
    entries: int = 0
    before: int = 0
    seconds: float = 0.0
    confirms: list[tuple[str, Confirm]] = field(default_factory=list)


@dataclass(slots=True)
class Rebuild:
    """
    One partition of the journal under way.

    ``seen`` tells the offset up to which judge has taken entries, -1 before the first; ``first`` the first one it took.
    ``meet`` is given what came out when both have seen the same: it must take it at once.
    """

    settings: Settings
    partition: int
    new_bank: Callable[[], Bank]
    seen: Callable[[], int]
    first: Callable[[], int]
    meet: Callable[[Rebuilt], None]
    done: float = 0.0
    """Which part of the journal is read."""

    async def run(self) -> None:
        """
        Read until judge is met.

        Raises:
            KafkaError: the journal could not be read.
        """
        started_s = time.monotonic()
        at = TopicPartition(self.settings.topics.journal, self.partition)
        async with open_consumer(self.settings) as consumer:
            consumer.assign([at])
            begins, end = await self.span(consumer, at)
            rebuilding = Rebuilding(self.new_bank(), begins)
            if not rebuilding.is_whole:
                await self._look(consumer, at, rebuilding, end)
            made = Rebuilt(rebuilding.bank, begins)
            await self._apply(consumer, at, rebuilding, made)
            made.seconds = time.monotonic() - started_s
            # No await between the last look at where judge is and this.
            self.meet(made)

    async def span(self, consumer: AIOKafkaConsumer, at: TopicPartition) -> tuple[int, int]:
        """
        From where to read, and to where the journal goes now: all of it, unless that would take hours.

        Then what came before is treated as if it were retained no more.
        """
        begins, end = (await consumer.beginning_offsets([at]))[at], (await consumer.end_offsets([at]))[at]
        late = end - self.settings.judge.rebuild_entries
        if late <= begins:
            return begins, end
        since = (await consumer.offsets_for_times({at: int((time.time() - KEPT_WITHIN_S) * 1_000)}))[at]
        return max(begins, late if since is None else min(late, since.offset)), end

    async def _look(self, consumer: AIOKafkaConsumer, at: TopicPartition, rebuilding: Rebuilding, end: int) -> None:
        consumer.seek(at, rebuilding.begins)
        while await consumer.position(at) < end:
            for record in await _next(consumer, at):
                if _POLICY in (record.value or b"") and (entry := _entry(record)) is not None:
                    rebuilding.look(entry)

    async def _apply(
        self, consumer: AIOKafkaConsumer, at: TopicPartition, rebuilding: Rebuilding, made: Rebuilt
    ) -> None:
        consumer.seek(at, rebuilding.begins)
        slice_s = time.monotonic()
        reached = -1
        while True:
            for record in await _next(consumer, at):
                while record.offset > self.seen():
                    if reached == self.seen() >= 0:
                        return
                    await asyncio.sleep(WAIT_S)
                self._take(record, rebuilding, made)
                reached = record.offset
                if time.monotonic() - slice_s > SLICE_S:
                    self.done = (reached - rebuilding.begins) / max(self.seen() - rebuilding.begins, 1)
                    await asyncio.sleep(SLICE_S)
                    slice_s = time.monotonic()
            if reached == self.seen() >= 0:
                return

    def _take(self, record: ConsumerRecord, rebuilding: Rebuilding, made: Rebuilt) -> None:
        entry = _entry(record)
        if entry is None:
            return  # judge has made a dead letter of it
        made.entries += 1
        made.before += record.offset < self.first()
        try:
            effects = rebuilding.apply(record.offset, entry)
        except Exception:  # noqa: BLE001 - judge has made a dead letter of this one, too, and said so
            return
        if record.offset >= self.first():
            made.confirms += [(_key(effect), effect) for effect in effects if isinstance(effect, Confirm)]


async def _next(consumer: AIOKafkaConsumer, at: TopicPartition) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = (await consumer.getmany(at, timeout_ms=POLL_MS)).get(at, [])
    return found


def _entry(record: ConsumerRecord) -> Entry | None:
    try:
        return dated(decode(record.value or b""), kept_ms(record))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _key(effect: Effect) -> str:
    assert isinstance(effect, Confirm)
    return rollout_key(effect.receipt.environment, effect.receipt.flag_key)
