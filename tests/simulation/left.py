"""What a world leaves behind in its topics, as whoever audits them reads it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from guardian.chain import Break
from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from guardian.names import Millis
from streams.apps.audit import Audit
from streams.cloudevents import from_event, to_event
from streams.keys import UNSIGNED, Keys
from streams.stamps import BY_BROKERS
from tests.simulation.scene import scene
from tests.simulation.workers import TOPICS
from tests.simulation.world import World


@dataclass(frozen=True)
class Record:
    topic: str
    offset: int
    key: bytes
    value: bytes
    partition: int = 0
    timestamp: int = 0
    timestamp_type: int = BY_BROKERS


class _Noting(World):
    """Notes what is written to decisions and receipts."""

    def __init__(self, seed: int) -> None:
        super().__init__(scene(seed))
        self.written: dict[str, list[tuple[bytes, bytes]]] = {TOPICS.decisions: [], TOPICS.receipts: []}

    def _arrived(self, topic: str, key: str, value: bytes) -> None:
        super()._arrived(topic, key, value)
        if topic in self.written:
            self.written[topic].append((key.encode(), value))


@dataclass(frozen=True)
class Left:
    """The records of the three topics, and the settings of the judge that wrote them."""

    journal: list[tuple[bytes, Millis]]
    """Each entry, and when it was kept."""
    decisions: list[tuple[str, Decision]]
    receipts: list[Receipt]
    config: Any

    def changed(self, at: int, **fields: Any) -> Left:
        """With other fields in one decision."""
        decisions = list(self.decisions)
        decisions[at] = decisions[at][0], decisions[at][1].model_copy(update=fields)
        return replace(self, decisions=decisions)

    def audit(
        self, *, recompute: bool = False, keys: Keys = UNSIGNED, signer: Callable[[str, int], Keys] | None = None
    ) -> Audit:
        """Read it all; *signer* says for a topic and an offset who has signed the record."""
        found = Audit(TOPICS, keys, self.config if recompute else None)
        for topic in (TOPICS.journal, TOPICS.decisions, TOPICS.receipts):
            found.begins(topic, 0, 0)

        def event(topic: str, offset: int, of_type: str, data: Decision | Receipt, named: str, time: str) -> bytes:
            by = signer(topic, offset) if signer else UNSIGNED
            return to_event(of_type, data, id=named, time=time, source="/test", keys=by)

        for at, (value, kept_ms) in enumerate(self.journal):
            found.take(Record(TOPICS.journal, at, b"", value, timestamp=kept_ms))
        for at, (key, made) in enumerate(self.decisions):
            value = event(TOPICS.decisions, at, DECISION_TYPE, made, made.decision_id, made.decided_at)
            found.take(Record(TOPICS.decisions, at, key.encode(), value))
        for at, said in enumerate(self.receipts):
            value = event(TOPICS.receipts, at, RECEIPT_TYPE, said, said.receipt_id, said.at)
            found.take(Record(TOPICS.receipts, at, b"", value))
        return found

    def breaks(self, **how: Any) -> list[Break]:
        """What an audit of it finds."""
        return self.audit(**how).breaks()


@functools.cache
def left_by(seed: int) -> Left:
    """Play a seed; the same one is played once."""
    world = _Noting(seed)
    world.play()
    decisions = [(key.decode(), from_event(value, Decision)) for key, value in world.written[TOPICS.decisions]]
    receipts = [from_event(value, Receipt) for _, value in world.written[TOPICS.receipts]]
    journal = list(zip(world.journal.records, world.journal.kept_ms, strict=True))
    return Left(journal, decisions, receipts, world.config)
