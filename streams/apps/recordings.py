"""
Recorded events from files, put in the order in which they happened.

Only the time of an event is looked at here; what it says is decoded where it
is counted. A line whose time cannot be read keeps its place: it goes on to be
refused there, with its reason.
"""

from __future__ import annotations

import gzip
import heapq
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from guardian.names import Millis
from streams.folding.times import parse_times
from streams.folding.wire import Headers

ORDER_WINDOW = 50_000
"""Events held back to be put in order; what comes further out of order is late, as it would be live."""
BATCH_LINES = 2_000


class Recorded(msgspec.Struct, gc=False):
    """One recorded event: when it happened, where it stands, and its bytes."""

    time_ms: Millis
    place: str
    value: bytes
    headers: Headers = ()


class _Stamp(msgspec.Struct):
    time: Any = None


_TIME = attrgetter("time_ms")
_stamp = msgspec.json.Decoder(_Stamp).decode


def read(paths: Iterable[str], stdin: Iterable[bytes], batch_lines: int = BATCH_LINES) -> Iterator[Recorded]:
    """
    Yield the events of all files in the order of their times; of equal times, the earlier file's and line's first.

    ``-`` is standard input, ``.gz`` is unpacked, empty lines are passed over.
    The order does not depend on ``batch_lines``. Raises OSError or EOFError
    for a file that cannot be read.
    """
    streams = [in_order(stamped(_lines(path, stdin), batch_lines)) for path in paths]
    return streams[0] if len(streams) == 1 else heapq.merge(*streams, key=_TIME)


def stamped(lines: Iterable[tuple[str, bytes]], batch_lines: int = BATCH_LINES) -> Iterator[Recorded]:
    """Yield lines with their times; a line without a readable one gets the time of the line before it."""
    source, last_ms = iter(lines), 0
    while batch := list(islice(source, batch_lines)):
        times_ms, wrong = parse_times([_time_of(value) for _, value in batch])
        for (place, value), time_ms, bad in zip(batch, times_ms.tolist(), wrong.tolist(), strict=True):
            last_ms = last_ms if bad else time_ms
            yield Recorded(last_ms, place, value)


def in_order(events: Iterable[Recorded], window: int = ORDER_WINDOW) -> Iterator[Recorded]:
    """Yield events by time, as far as a window of them allows; of equal times, the earlier read first."""
    held: list[Recorded] = []
    source = iter(events)
    while more := list(islice(source, window)):
        # What is nearly in order is sorted in hardly more time than it is looked at; of equal times the order stays.
        held += more
        held.sort(key=_TIME)
        yield from held[:-window]
        del held[:-window]
    yield from held


def stamp_of(place: str, value: bytes, headers: Headers, otherwise_ms: Millis) -> Recorded:
    """Return one record with its event's time: from the body, a binary CloudEvent's header, or else as given."""
    times_ms, wrong = parse_times([_time_of(value) or _header_time(headers)])
    return Recorded(otherwise_ms if wrong[0] else int(times_ms[0]), place, value, headers)


def _header_time(headers: Headers) -> str | None:
    return next((text.decode(errors="replace") for name, text in headers if name == "ce_time"), None)


def _time_of(value: bytes) -> Any:
    try:
        return _stamp(value).time
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _lines(path: str, stdin: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    name = "<stdin>" if path == "-" else path
    if path == "-":
        source: Iterable[bytes] = stdin
    elif path.endswith(".gz"):
        source = gzip.open(path, "rb")  # noqa: SIM115 - read to its end below
    else:
        source = Path(path).open("rb")  # noqa: SIM115 - read to its end below
    for number, value in enumerate(source, 1):
        if stripped := value.strip():
            yield f"{name}:{number}", stripped
