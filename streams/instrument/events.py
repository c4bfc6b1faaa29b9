"""
The three events a service sends, and their bytes.

CloudEvents 1.0 in structured JSON mode, as the guardian reads them. A
service pays for making the small struct; the bytes are made later, off the
request's path.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from itertools import count

import msgspec

CONTENT_TYPE = "application/cloudevents+json"
HEADERS: list[tuple[str, bytes]] = [("content-type", CONTENT_TYPE.encode())]

EXPOSURE_TYPE = "dev.rolloutguardian.exposure.v1"
OUTCOME_TYPE = "dev.rolloutguardian.outcome.v1"
FEEDBACK_TYPE = "dev.rolloutguardian.feedback.v1"


# gc=False: thousands of these may wait in a queue, and the service's garbage collector would look at each in vain.
class Exposure(msgspec.Struct, omit_defaults=True, gc=False):
    """A unit was served a variation."""

    flag_key: str
    variant: str
    environment: str
    service_name: str
    context_id: str | None = None
    reason: str | None = None
    flag_version: str | None = None


class Outcome(msgspec.Struct, omit_defaults=True, gc=False):
    """A request ended; it had run under ``flags`` (flag to variation)."""

    flags: dict[str, str]
    environment: str
    service_name: str
    outcome: str
    operation: str | None = None
    error_type: str | None = None
    latency_ms: float | None = None
    context_id: str | None = None
    attributes: dict[str, str] | None = None
    measures: dict[str, float] | None = None


class Feedback(msgspec.Struct, omit_defaults=True, gc=False):
    """A person said what they think of what they got under ``flags``."""

    flags: dict[str, str]
    environment: str
    service_name: str
    kind: str
    score: float | None = None
    scale: list[float] | None = None
    context_id: str | None = None


Event = Exposure | Outcome | Feedback

_TYPES: dict[type, str] = {Exposure: EXPOSURE_TYPE, Outcome: OUTCOME_TYPE, Feedback: FEEDBACK_TYPE}


class _Envelope(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    time: str
    data: Event


class Encoder:
    """
    Makes the Kafka key and value of events of one process.

    ``(source, id)`` is unique: the source names service, host and process, the
    id starts with the milliseconds and 32 random bits of the process's first
    event, then counts. ``pseudonymise`` replaces every ``context_id``; what it
    raises, ``encode`` raises, so that no raw id leaves by accident.
    """

    def __init__(self, service_name: str, pseudonymise: Callable[[str], str] | None = None) -> None:
        self._service_name = service_name
        self._pseudonymise = pseudonymise
        self._pid = 0
        self._source = ""
        self._prefix = ""
        self._numbers = count()
        self._second = -1
        self._second_text = ""
        self._encoder = msgspec.json.Encoder()

    def encode(self, event: Event, at_ms: int) -> tuple[bytes | None, bytes]:
        """
        Return ``(key, value)``; the key is the ``context_id`` where there is one.

        Raises:
            TypeError, msgspec.EncodeError: a field holds what JSON cannot.

        """
        if event.context_id is not None and self._pseudonymise is not None:
            event = msgspec.structs.replace(event, context_id=self._pseudonymise(event.context_id))
        if self._pid != os.getpid():
            self._name_process()
        number = next(self._numbers)
        event_id, when = f"{self._prefix}-{number:x}", self._rfc3339(at_ms)
        envelope = _Envelope("1.0", event_id, self._source, _TYPES[type(event)], when, event)
        key = event.context_id.encode() if event.context_id is not None else None
        return key, self._encoder.encode(envelope)

    def _name_process(self) -> None:
        # Looked at with each event, because servers that fork copy this object after it was made.
        self._pid = os.getpid()
        self._source = f"/{self._service_name}/{socket.gethostname()}/{self._pid}"
        self._prefix = f"{int(time.time() * 1000):012x}-{secrets.token_hex(4)}"

    def _rfc3339(self, at_ms: int) -> str:
        second, ms = divmod(at_ms, 1000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{ms:03d}Z"
