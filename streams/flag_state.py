"""Records of the compacted flag-state topic: what services need to know of a flag now, as CloudEvents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from guardian.errors import EventError
from guardian.names import rollout_key
from streams.cloudevents import CONTENT_TYPE, read_event, to_event
from streams.outlet import Outlet
from streams.topics import Topics

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
    key = rollout_key(record["environment"], record["flag_key"])
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = to_event(FLAG_STATE_TYPE, record, id=f"{key}|{record['version']}", time=now, source=SOURCE)
    await outlet.send(topics.flag_state, key, event, headers=CONTENT_TYPE)


class Records:
    """The newest record of each flag, as far as the topic was read."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

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
        except (EventError, KeyError, TypeError):
            return

    def get(self, key: str) -> Record | None:
        """The newest record of ``environment|flag_key``, ``None`` if there is none."""
        return self._records.get(key)
