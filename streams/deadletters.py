"""What could not be read: the original bytes, and where and why. A dead letter always fits into a record."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from streams.folding.wire import Headers, Record, Unread

_OURS = "guardian_"
"""How the names of the headers begin that a dead letter adds."""
VALUE_BYTES_MAX = 512 * 1024
"""More of a value is not kept: the broker would refuse the dead letter itself."""
KEY_BYTES_MAX, HEADERS_BYTES_MAX = 16 * 1024, 128 * 1024
"""Nor of a key; and no more headers, names and values together."""
REASON_MAX = 2_000
"""Characters of a reason."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a record was read."""

    topic: str
    partition: int
    offset: int


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """
    A record that is no valid event.

    ``reason`` names the field and what would be right. Value, key and
    headers are those of the record; ``was_cut`` says that one of them is only
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
            ("guardian_reason", self.reason[:REASON_MAX].encode("utf-8", "replace")),
            ("guardian_topic", self.origin.topic.encode()),
            ("guardian_partition", b"%d" % self.origin.partition),
            ("guardian_offset", b"%d" % self.origin.offset),
            *([("guardian_truncated", b"true")] if self.was_cut else []),
        ]

    @classmethod
    def kept(
        cls, reason: str, origin: Origin, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> DeadLetter:
        """Return the dead letter of a record, with as much of it as is kept."""
        # A record of neither key nor value is not sent by every client; the empty value is as little of an event as none.
        value = b"" if value is None and key is None else value
        kept_value, kept_key = _cut(value, VALUE_BYTES_MAX), _cut(key, KEY_BYTES_MAX)
        named = tuple(_first(headers, HEADERS_BYTES_MAX)) if headers else ()
        was_cut = kept_value is not value or kept_key is not key or len(named) < len(headers)
        return cls(reason[:REASON_MAX], origin, kept_value, kept_key, named, was_cut)


def _cut(content: bytes | None, most: int) -> bytes | None:
    return content if content is None or len(content) <= most else content[:most]


def _first(headers: Headers, most: int) -> Iterator[tuple[str, bytes]]:
    """Yield the headers as long as they have no more bytes than that."""
    for name, content in headers:
        most -= len(name.encode("utf-8", "surrogatepass")) + len(content or b"")
        if most < 0:
            return
        yield name, content


def letter_of(record: Record) -> DeadLetter:
    """Return the dead letter that a record of the dead-letter topic holds; what it does not say is empty, or -1."""
    ours = [(name.removeprefix(_OURS), value) for name, value in record.headers if name.startswith(_OURS)]
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in ours}
    origin = Origin(said.get("topic", ""), _number(said.get("partition")), _number(said.get("offset")))
    headers = tuple((name, value) for name, value in record.headers if not name.startswith(_OURS))
    return DeadLetter(said.get("reason", ""), origin, record.value, record.key, headers, "truncated" in said)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.lstrip("-").isdecimal() else -1


def dead_letter(record: Record, source: str, reason: str) -> DeadLetter:
    """Return the dead letter of a record of ``source``, which is ``topic/partition`` (or a file's name)."""
    letter = DeadLetter.kept(reason, Origin(*_named(source), record.offset), record.value, record.key, record.headers)
    return msgspec.structs.replace(letter, was_cut=True) if isinstance(record, Unread) else letter


@lru_cache(maxsize=1_000)
def _named(source: str) -> tuple[str, int]:
    """Return topic and partition; a file's name, and no partition of it."""
    topic, _, partition = source.rpartition("/")
    return (topic, int(partition)) if topic and partition.isdecimal() else (source, -1)
