"""
Compressed batches, unpacked within bounds.

A megabyte may be a gigabyte that was compressed: aiokafka would unpack all of it. Here it ends at ``UNPACKED_MAX``, and
the batch is one that cannot be read.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatch

UNPACKED_MAX = 2**26
"""Bytes; a batch of a producer has a megabyte or so before it is compressed."""
_GZIP = 31
"""What zlib calls its own format with gzip's header."""
_XERIAL, _XERIAL_BYTES = b"\x82SNAPPY\x00", 16
"""How snappy in blocks begins, as Java writes it, and what its header takes."""


class TooLarge(ValueError):
    """More would be unpacked than may be."""

    def __init__(self) -> None:
        super().__init__(f"it has more than {UNPACKED_MAX:,} bytes when unpacked")


def bound() -> None:
    """Let every consumer of this process unpack within bounds; where aiokafka has changed, as it does by itself."""
    module: Any = sys.modules[DefaultRecordBatch.__module__]
    for name, unpack in _UNPACK.items():
        if hasattr(module, name):
            setattr(module, name, unpack)


def gunzip(payload: Any) -> bytes:
    """Return what was compressed; raises ``TooLarge``, or ``zlib.error`` where it is no gzip."""
    found, rest = b"", bytes(payload)
    while rest:
        member = zlib.decompressobj(_GZIP)
        found += member.decompress(rest, UNPACKED_MAX - len(found) + 1)
        if len(found) > UNPACKED_MAX:
            raise TooLarge
        if not member.eof:
            raise zlib.error("it ends too early")
        rest = member.unused_data
    return found


def unsnap(payload: Any) -> bytes:
    """Return what snappy compressed, in blocks or not; raises ``TooLarge``, or what cramjam raises."""
    import cramjam

    blocks = list(_blocks(bytes(payload)))
    if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > UNPACKED_MAX:
        raise TooLarge
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _blocks(payload: bytes) -> Iterator[bytes]:
    if not payload.startswith(_XERIAL):
        yield payload
        return
    at = _XERIAL_BYTES
    while at < len(payload):
        begin = at + 4
        at = begin + int.from_bytes(payload[at:begin])
        yield payload[begin:at]


def _into(module: str) -> Callable[[Any], bytes]:
    def unpack(payload: Any) -> bytes:
        import cramjam

        # One byte more than may be: whoever fills it has too much, or fails to.
        room = bytearray(UNPACKED_MAX + 1)
        try:
            size = getattr(cramjam, module).decompress_into(bytes(payload), room)
        except cramjam.DecompressionError as error:
            if "whole buffer" in str(error):
                raise TooLarge from None
            raise
        return bytes(memoryview(room)[:size])

    return unpack


_UNPACK: dict[str, Callable[[Any], bytes]] = {
    "gzip_decode": gunzip, "snappy_decode": unsnap, "lz4_decode": _into("lz4"), "zstd_decode": _into("zstd"),
}  # fmt: skip
