"""
How a state is written down: its version, a checksum, and its plain values, made small.

The same state gives the same bytes on the same build of zlib; what a reader gets is the same on any.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

LEVEL = 1
"""Level 6 saves 2 % and takes twice the time."""
_HEAD = struct.Struct(">BI")
_NAMES = (
    "pause kill evidence literal hold alert step_back treatment control production enforce environment flag mode owner "
    "when then evaluate guardrails false_kills per_rollout per_day per_step min_units unit_cluster segments signals stages "
    "share for until name gain pair watches stories from_ms to_ms n_t x_t n_c x_c left_t left_c decay half_life_s dx dn "
    "account offered read peak crossed full fast rate t c is_coin is_nameless open alone past "
    "key document policy_hash offset status planned running holding paused stage stage_since_ms progress "
    "awaits ran_ms starts approved health moved moved_ms backs edited agreed looks look_ms sequence begun data_ms "
    "population epochs start_ms why arms shares waiting closed_ms by_exposures looked_ms lag decayed_ms counts learned_ms "
    "history failures fresh failed mixing units services cohort cohort_ms told reported newcomers hanging exposures "
    "outcomes company heard silent changes variations renewed open_epoch_ms control_rate left_rate remembered_ms estimates "
    "lines latency reports feedback:rating spoken rules first_ms asked_ms killed killed_at_ms judged_ms windows held outbox "
    "verify hindsights sources shown_ms to_show last_decision explanation"
)
WORDS = b"".join(bytes([0xA0 + len(name)]) + name.encode() for name in _NAMES.split())
"""
What is in nearly every state, as MessagePack writes it: a state is small, and would spend a fifth of itself on names.

Part of the format: what was written with it cannot be read with another one. New names need not be in it.
"""


def pack(version: int, body: bytes) -> bytes:
    """Return the version (1 byte), the CRC-32 of all the rest (4 bytes, big-endian), and the body, deflated."""
    packer = zlib.compressobj(LEVEL, wbits=-15, zdict=WORDS)
    small = packer.compress(body) + packer.flush()
    return _HEAD.pack(version, zlib.crc32(small, version)) + small


class NewerFormat(ValueError):
    """A newer version of the guardian wrote this, and it is whole: it is to be left to workers of that version."""


def version_of(raw: bytes) -> int:
    """Return the version of a written state; raises ValueError where there is none."""
    if not raw:
        raise ValueError("a snapshot of no bytes: its first one names its version")
    return raw[0]


def unpack(raw: bytes) -> bytes:
    """
    Return the body that ``pack`` was given.

    Raises:
        ValueError: it was cut, changed or never written by ``pack``.
    """
    return zlib.decompressobj(wbits=-15, zdict=WORDS).decompress(checked(raw))


def refused(raw: bytes, whose: str, known: Iterable[int]) -> ValueError:
    """
    Return what is wrong with a whole state whose version is none of those *known*: ``NewerFormat`` if it is a newer one.

    The head is the same in all versions, so that a damaged state is told from one that a newer version wrote.

    Raises:
        ValueError: it is damaged.
    """
    checked(raw)
    version, reads = version_of(raw), sorted(known)
    said = f"snapshot format {version}{whose}: this version reads {', '.join(map(str, reads))}"
    return NewerFormat(said) if version > reads[-1] else ValueError(said)


def checked(raw: bytes) -> bytes:
    """
    Return what follows the head, as it was written.

    Raises:
        ValueError: it was cut, changed or never written by ``pack``.
    """
    if len(raw) < _HEAD.size:
        raise ValueError(f"a damaged snapshot: it has at least {_HEAD.size} bytes, this one {len(raw)}")
    version, written = _HEAD.unpack_from(raw)
    small = raw[_HEAD.size :]
    if (found := zlib.crc32(small, version)) != written:
        raise ValueError(f"a damaged snapshot: its checksum was {written:08x}, and is {found:08x} now")
    return small
