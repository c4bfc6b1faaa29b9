"""What the tests of the movers share: a bank that counts, an outlet that remembers, events as Faust hands them on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision, Receipt, RolloutView
from guardian.effects import Confirm, Decide, Effect, Show
from guardian.journal import Entry, Override, ReceiptEntry
from streams.outlet import NotDelivered
from streams.snapshots import SnapshotStore, split_table_key, table_key, unpacked

KEY = "production|checkout"
FAIL = "fail"
"""What a ``CountingBank`` cannot take, or show."""
EVERY = 10
"""A ``CountingBank`` decides at every so many entries."""


def decision(
    number: int = 1, *, flag: str = "checkout", variant: str = "treatment", action: Any = "kill", **fields: Any
) -> Decision:
    values: dict[str, Any] = {
        "decision_id": f"production|{flag}|{variant}|{number}",
        "flag_key": flag,
        "environment": "production",
        "variant": variant,
        "control": "control",
        "action": action,
        "mode": "enforce",
        "guardrail": "error_rate > 5%",
        "signal": "error_rate",
        "decided_at": "2026-11-21T01:00:03.400Z",
        "evidence_from": "2026-11-21T01:00:00.000Z",
        "evidence_to": "2026-11-21T01:00:03.200Z",
        "evidence": None,
        "policy_hash": "sha256:0",
        "explanation": "",
    }
    return Decision(**{**values, **fields})


def receipt(number: int = 1) -> Receipt:
    return Receipt(
        receipt_id=f"r{number}",
        decision_id="production|checkout|treatment|1",
        flag_key="checkout",
        environment="production",
        variant="treatment",
        action="kill",
        status="effective",
        at="2026-11-21T01:00:06.000Z",
    )


def view(at: str) -> RolloutView:
    return RolloutView(
        key=KEY,
        flag_key="checkout",
        environment="production",
        control="control",
        status="running",
        at=at,
    )


class CountingBank(Bank):
    """
    Mirrors ``guardian.bank.Bank`` and counts: the simplest state in which a lost or doubled entry shows.

    It decides at every tenth entry, with the count in the decision's id and the entry in its explanation; a receipt
    empties the outbox. An override makes it do what its ``action`` says: ``fail``, ``confirm``, ``show``.
    """

    def __init__(self, config: Any = None) -> None:
        super().__init__(config or JudgeConfig())
        self.count = 0
        self.pending: dict[str, Decision] = {}
        self.padding = 0
        self._unsaved = False
        self._seen_at = ""

    def apply(self, offset: int, entry: Entry) -> list[Effect]:
        if offset <= self.sources.offset:
            return []
        self.sources.offset, self._unsaved = offset, True
        if isinstance(entry, ReceiptEntry):
            self.pending.pop(entry.decision_id, None)
            return []
        if isinstance(entry, Override):
            return self._special(entry)
        self.count += 1
        if self.count % EVERY:
            return []
        decided = decision(self.count, variant=getattr(entry, "source", "treatment"), explanation=str(entry.at_ms))
        self.pending[decided.decision_id] = decided
        return [Decide(decided)]

    def _special(self, entry: Override) -> list[Effect]:
        if entry.action == FAIL:
            raise RuntimeError("a defect")
        if entry.action == "grow":
            self.padding = int(entry.reason)
        if entry.action == "confirm":
            return [Confirm(receipt())]
        if entry.action != "show":
            return []
        self._seen_at = entry.reason
        return [Show(KEY)]

    def view(self, key: str) -> RolloutView:
        assert key == KEY
        if self._seen_at == FAIL:
            raise RuntimeError("a defect")
        return view(self._seen_at)

    def dirty(self) -> dict[str, bytes]:
        if not self._unsaved:
            return {}
        self._unsaved = False
        pending = [one.model_dump(mode="json") for one in self.pending.values()]
        snapshot = msgspec.json.encode([self.sources.offset, self.count, pending])
        # What cannot be made small shows the largest size that is kept.
        noise = b"" if not self.padding else random.Random(1).randbytes(self.padding)
        return {"rollout": snapshot + noise, self.SOURCES: snapshot}

    def load(self, part: str, snapshot: bytes) -> bool:  # noqa: ARG002
        offset, count, pending = msgspec.json.decode(snapshot)
        if offset <= self.sources.offset:
            return False
        self.sources.offset, self.count = offset, count
        self.pending = {one["decision_id"]: Decision(**one) for one in pending}
        return True

    def outbox(self) -> list[Decision]:
        return list(self.pending.values())

    @staticmethod
    def offset_of(snapshot: bytes) -> int:
        offset, *_ = msgspec.json.decode(snapshot)
        return int(offset)


@dataclass(frozen=True)
class Written:
    topic: str
    key: str
    value: bytes | None
    partition: int | None
    headers: tuple[tuple[str, bytes], ...]


class MemoryOutlet:
    """Mirrors ``streams.outlet.Outlet``: keeps what is written, unless ``refuses`` says that the broker does not."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.refuses: Callable[[str, str], bool] = lambda topic, key: False
        self.open = asyncio.Event()
        """While it is not set, nothing arrives."""
        self.open.set()

    async def partitions(self, topic: str) -> int:  # noqa: ARG002
        return 1

    async def post(
        self, topic: str, key: str, value: bytes | None, *, partition: int | None = None, headers: Any = ()
    ) -> asyncio.Task[None]:
        return asyncio.ensure_future(self._write(Written(topic, key, value, partition, tuple(headers))))

    async def send(
        self, topic: str, key: str, value: bytes | None, *, partition: int | None = None, headers: Any = ()
    ) -> None:
        await self._write(Written(topic, key, value, partition, tuple(headers)))

    async def send_all(self, topic: str, partition: int, records: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in records:
            await self._write(Written(topic, key.decode(), value, partition, ()))

    async def _write(self, record: Written) -> None:
        await self.open.wait()
        if self.refuses(record.topic, record.key):
            raise NotDelivered(f"{record.topic}: {record.key}: refused")
        self.written.append(record)

    def on(self, topic: str) -> list[Written]:
        return [one for one in self.written if one.topic == topic]


class MemoryTable:
    """Mirrors ``SnapshotTable`` over a real ``SnapshotStore``, without an app."""

    def __init__(self, offset_of: Callable[[bytes], int] = CountingBank.offset_of) -> None:
        self.snapshots = SnapshotStore.__new__(SnapshotStore)
        self.snapshots.__post_init__()
        self.snapshots.offset_of = offset_of

    def snapshot(self, partition: int, part: str) -> bytes | None:
        value = self.snapshots.data.get(table_key(partition, part))
        return None if value is None else unpacked(value)

    def unreadable(self, partition: int) -> dict[str, str]:
        found = [(split_table_key(key), why) for key, why in self.snapshots.unreadable.items()]
        return {part: why for (owner, part), why in found if owner == partition}

    def parts(self, partition: int) -> list[tuple[str, bytes]]:
        found = [(split_table_key(key), value) for key, value in self.snapshots.data.items()]
        return [(part, unpacked(value)) for (owner, part), value in found if owner == partition]


@dataclass
class Message:
    """Mirrors a Kafka message as Faust hands it on."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    key: bytes | None = None
    headers: Any = None
    timestamp: float = 0.0
    timestamp_type: int = 0


@dataclass
class Event:
    """Mirrors a Faust event whose acknowledgement is noted."""

    message: Message
    acked: list[int] = field(default_factory=list)

    def ack(self) -> bool:
        self.acked.append(self.message.offset)
        return True


def events(topic: str, values: Iterable[bytes | None], *, partition: int = 0, first: int = 0) -> list[Event]:
    acked: list[int] = []
    return [Event(Message(topic, partition, first + number, value), acked) for number, value in enumerate(values)]


async def until(condition: Callable[[], Any], *, within_s: float = 10.0, what: str = "") -> Any:
    """What *condition* returns once that is true; fails when it takes longer."""
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what or condition}"
        await asyncio.sleep(0.02)
    return found
