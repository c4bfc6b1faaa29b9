"""What could not be read: the original bytes, and where and why."""

from __future__ import annotations

from dataclasses import dataclass

from streams.folding.wire import Headers, Record

_OURS = "guardian_"
"""How the names of the headers begin that a dead letter adds."""
VALUE_BYTES_MAX = 512 * 1024
"""More of a value is not kept: the broker would refuse the dead letter itself."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record was read."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """
    A record that is no valid event.

    ``reason`` names the field and what would be right. Value, key and
    headers are those of the record; ``was_cut`` says that the value is only
    what was kept of it.
    """

    reason: str
    origin: Origin
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    was_cut: bool = False

    def kafka_headers(self) -> list[tuple[str, bytes]]:
        """Return the record's own headers, followed by reason and origin."""
        return [
            *self.headers,
            ("guardian_reason", self.reason.encode("utf-8", "replace")),
            ("guardian_topic", self.origin.topic.encode()),
            ("guardian_partition", str(self.origin.partition).encode()),
            ("guardian_offset", str(self.origin.offset).encode()),
            *([("guardian_truncated", b"true")] if self.is_truncated else []),
        ]

    def kafka_value(self) -> bytes | None:
        """Return the original bytes, cut where they are too many to be kept."""
        return self.value if self.value is None else self.value[:VALUE_BYTES_MAX]

    @property
    def is_truncated(self) -> bool:
        """Whether some of the value is not kept."""
        return self.was_cut or (self.value is not None and len(self.value) > VALUE_BYTES_MAX)


def letter_of(record: Record) -> DeadLetter:
    """Return the dead letter that a record of the dead-letter topic holds; what it does not say is empty, or -1."""
    ours = [(name.removeprefix(_OURS), value) for name, value in record.headers if name.startswith(_OURS)]
    said = {name: value.decode("utf-8", "replace") for name, value in ours}
    origin = Origin(said.get("topic", ""), _number(said.get("partition")), _number(said.get("offset")))
    headers = tuple((name, value) for name, value in record.headers if not name.startswith(_OURS))
    return DeadLetter(said.get("reason", ""), origin, record.value, record.key, headers, "truncated" in said)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.lstrip("-").isdecimal() else -1


def dead_letter(record: Record, source: str, reason: str) -> DeadLetter:
    """Return the dead letter of a record of ``source``, which is ``topic/partition`` (or a file's name)."""
    topic, _, partition = source.rpartition("/")
    is_kafka = bool(topic) and partition.isdecimal()
    origin = Origin(topic if is_kafka else source, int(partition) if is_kafka else -1, record.offset)
    return DeadLetter(reason, origin, record.value, record.key, record.headers)
