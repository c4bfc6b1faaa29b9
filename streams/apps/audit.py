"""What ``guardian verify`` finds in the topics: signatures, the chain (``guardian.chain``), and the engine's own answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec
from pydantic import BaseModel

from guardian.bank import Bank, decisions_of
from guardian.chain import Break, Chain, Place, millis
from guardian.config import JudgeConfig
from guardian.dating import dated
from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from guardian.errors import EventError
from guardian.journal import decode
from streams.cloudevents import from_event
from streams.keys import Keys, SignatureError
from streams.stamps import kept_ms
from streams.topics import Topics

Model = TypeVar("Model", bound=BaseModel)
UNDER_WAY_MS = 60_000
"""A decision so young may not have arrived in its topic yet."""
NOT_COMPUTED = "the journal no longer has its beginning, so the decisions of its partition were not computed again"
BEFORE_SIGNING = "they were written before anything in their partition was signed"


class Record(Protocol):
    """A record as aiokafka hands it on; ``timestamp`` in milliseconds since the epoch."""

    @property
    def topic(self) -> str: ...  # noqa: D102 - Kafka's own words
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def timestamp_type(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


@dataclass(slots=True)
class Part:
    """One partition number of all topics; ``unsigned`` are breaks of records without a signature, by topic."""

    chain: Chain = field(default_factory=Chain)
    bank: Bank | None = None
    computed: dict[str, Decision] = field(default_factory=dict)
    last: Place | None = None
    unsigned: dict[str, list[Break]] = field(default_factory=lambda: defaultdict(list))


class Audit:
    """
    Takes the records of journal, decisions and receipts, those of a partition in their order; then says what is broken.

    With a *config* the decisions are computed again from the journal, by the same engine: it must be the one that judge
    has had all the time.
    """

    def __init__(self, topics: Topics, keys: Keys, config: JudgeConfig | None = None) -> None:
        self._topics, self._keys, self._config = topics, keys, config
        self._parts: dict[int, Part] = {}
        self._found: list[Break] = []
        self.untold: Counter[str] = Counter()
        """How often something could not be checked, by reason; complete once ``breaks`` were asked for."""

    def begins(self, topic: str, partition: int, offset: int) -> None:
        """Learn the first offset that a partition still has, before its records."""
        chain = self._part(partition).chain
        whole = offset == 0
        if topic == self._topics.journal:
            chain.journal_whole = whole
        elif topic == self._topics.decisions:
            chain.decisions_whole = whole
        else:
            chain.receipts_whole = whole

    def take(self, record: Record) -> None:
        """Take one record; never raises for its content."""
        place = Place(record.topic, record.partition, record.offset, record.timestamp)
        part = self._part(record.partition)
        if record.topic == self._topics.journal:
            self._take_entry(part, place, record)
        elif record.topic == self._topics.decisions:
            key = (record.key or b"").decode(errors="replace")
            if (decision := self._read(part, place, record.value, Decision, DECISION_TYPE)) is not None:
                part.chain.take_decision(place, key, decision)
        elif (receipt := self._read(part, place, record.value, Receipt, RECEIPT_TYPE)) is not None:
            part.chain.take_receipt(place, receipt)

    def breaks(self) -> list[Break]:
        """Return what does not hold, the record that was written first before all others."""
        found = list(self._found)
        for part in self._parts.values():
            found += part.chain.breaks()
            for breaks in part.unsigned.values():
                found += breaks
            found += self._compared(part)
            self.untold.update(part.chain.untold)
        return sorted(found, key=lambda one: (one.place.at_ms, one.place))

    @property
    def decisions(self) -> int:
        """How many different decisions were read."""
        return sum(len(part.chain.decisions) for part in self._parts.values())

    @property
    def receipts(self) -> int:
        """How many receipts were read."""
        return sum(len(part.chain.receipts) for part in self._parts.values())

    @property
    def unanswered(self) -> list[str]:
        """The decisions that have no receipt yet."""
        return sorted(name for part in self._parts.values() for name in part.chain.unanswered)

    def _part(self, number: int) -> Part:
        if number not in self._parts:
            bank = None if self._config is None else Bank(self._config)
            self._parts[number] = Part(bank=bank)
        return self._parts[number]

    def _take_entry(self, part: Part, place: Place, record: Record) -> None:
        part.last = place
        try:
            entry = dated(decode(record.value or b""), kept_ms(record))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._found.append(Break(place, f"is no entry: {error}"))
            return
        part.chain.take_entry(place, entry)
        if part.bank is None or not part.chain.journal_whole:
            return
        try:
            made = decisions_of(part.bank.apply(place.offset, entry))
        except Exception as error:  # noqa: BLE001 - judge goes on with the next entry, too
            self._found.append(Break(place, f"is not applied: {error!r}"))
            return
        for decision in made:
            part.computed.setdefault(decision.decision_id, decision)

    def _read(self, part: Part, place: Place, value: bytes | None, model: type[Model], of_type: str) -> Model | None:
        try:
            event: Model = from_event(value, model, type=of_type, keys=self._keys)
        except SignatureError as error:
            if error.is_missing:
                part.unsigned[place.topic].append(Break(place, str(error)))
            else:
                self._found.append(Break(place, str(error)))
            return self._unsigned(value, model, of_type) if error.is_missing else None
        except EventError as error:
            self._found.append(Break(place, str(error)))
            return None
        if before := part.unsigned.pop(place.topic, None):
            # Nobody can write into the past of a log: what stands before the first signature was there before signing began.
            self.untold[BEFORE_SIGNING] += len(before)
        return event

    @staticmethod
    def _unsigned(value: bytes | None, model: type[Model], of_type: str) -> Model | None:
        try:
            return from_event(value, model, type=of_type)
        except EventError:
            return None

    def _compared(self, part: Part) -> Iterator[Break]:
        if part.bank is None:
            return
        if not part.chain.journal_whole:
            self.untold[NOT_COMPUTED] += 1
            return
        for name, (place, decision) in part.chain.decisions.items():
            computed = part.computed.get(name)
            if computed is None:
                yield Break(place, f"{name}: the journal does not lead to it")
            elif computed != decision:
                fields = [field for field in Decision.model_fields if getattr(computed, field) != getattr(decision, field)]
                yield Break(place, f"{name}: the journal leads to another {', '.join(fields)}")
        for name, computed in part.computed.items():
            is_old = millis(computed.decided_at) + UNDER_WAY_MS < part.bank.sources.now_ms
            if name not in part.chain.decisions and is_old and part.chain.decisions_whole and part.last is not None:
                yield Break(part.last, f"{name}: the journal leads to it, and it is not among the decisions")
