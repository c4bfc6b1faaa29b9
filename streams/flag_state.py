"""Records of the compacted flag-state topic: what services need to know of a flag now, as CloudEvents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from guardian.errors import EventError
from guardian.names import rollout_key
from streams.cloudevents import CONTENT_TYPE, read_event, to_event
from streams.outlet import NotDelivered, Outlet
from streams.stores.shares.noted import STORE, noted_key
from streams.topics import Topics

log = structlog.get_logger()

FLAG_STATE_TYPE = "dev.rolloutguardian.flag-state.v1"
SOURCE = "/guardian/act"

Record = dict[str, Any]
"""What the guardian decided about one flag: flag_key, environment, version, and more; see ``guardian.flagdoc``."""


def read_record(value: bytes) -> Record:
    """
    Return the record that an event holds.

    Raises:
        EventError: it is no event of this type, or its data is no object.
    """
    event = read_event(value)
    if event.type != FLAG_STATE_TYPE:
        raise EventError(f"type: {event.type!r}: expected {FLAG_STATE_TYPE!r}")
    try:
        record = msgspec.json.decode(event.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(f"data: {error}") from None
    if not isinstance(record, dict):
        raise EventError(f"data: {record!r} is not an object")
    return record


async def write_record(outlet: Outlet, topics: Topics, record: Record) -> None:
    """
    Publish a record, and wait until it is kept.

    Raises:
        NotDelivered: it may still have arrived; the same record again does no harm.
    """
    environment, flag_key = record["environment"], record["flag_key"]
    key = noted_key(environment, flag_key, record[STORE]) if STORE in record else rollout_key(environment, flag_key)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = to_event(FLAG_STATE_TYPE, record, id=f"{key}|{record['version']}", time=now, source=SOURCE)
    await outlet.send(topics.flag_state, key, event, headers=CONTENT_TYPE)


async def rewrite(outlet: Outlet, topics: Topics, records: list[Record]) -> None:
    """
    Write records once more that an older one came after, so that they are the last of their flag again.

    An act that was stopped in the middle of a command may write it when it wakes up, long after others went on. Nobody takes
    the older for the newer, but compaction keeps the last of a flag, and in the end that one alone would be there.
    """
    for record in records:
        try:
            await write_record(outlet, topics, record)
        except NotDelivered as error:
            # Whoever reads the topic next finds it so again.
            log.warning("flag_state_not_rewritten", flag=record["flag_key"], reason=str(error))
        else:
            log.warning("flag_state_rewritten", flag=record["flag_key"], version=record["version"])


class Records:
    """The newest record of each flag, as far as the topic was read."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._overwritten: set[str] = set()

    def take(self, key: str, value: bytes | None) -> None:
        """Take one record of the topic; what cannot be read is left to the process that serves flags to report."""
        if value is None:
            return
        try:
            record = read_record(value)
            known = self._records.get(key)
            # As the server, which keeps the first of two records of one version.
            if known is None or record["version"] > known["version"]:
                self._records[key] = record
            (self._overwritten.discard if record == self._records[key] else self._overwritten.add)(key)
        except (EventError, KeyError, TypeError):
            return

    def get(self, key: str) -> Record | None:
        """The newest record of ``environment|flag_key``, ``None`` if there is none."""
        return self._records.get(key)

    def overwritten(self) -> list[Record]:
        """The newest records of those flags whose last record is another one, in the order of their keys."""
        return [self._records[key] for key in sorted(self._overwritten)]
