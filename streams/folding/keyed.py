"""
Unit hashes that nobody can tell whose they are without the salt: SipHash-1-3 over the plain hash, many at a time.

A plain hash of a user's id hides nothing: whoever has a list of users hashes them all and looks. Keyed, that takes the
salt. The plain hash stays below, as it is what costs; this adds one or two percent to a fold of thousands
(docs/decisions/0017-units-are-hashed-with-a-key.md).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]

KEY_BYTES = 16
_PERSON = b"guardian units"
_START = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
"""The constants of SipHash ("somepseudorandomlygeneratedbytes")."""
_LENGTH = np.uint64(8 << 56)
"""SipHash's last block of a message of 8 bytes."""
_END = np.uint64(0xFF)
_END_ROUNDS = 3
_TURNS = {turn: (np.uint64(turn), np.uint64(64 - turn)) for turn in (13, 16, 17, 21, 32)}


def unit_key(salt: str) -> bytes:
    """Return the key of a salt: the same salt always gives the same key, and an empty one none."""
    return hashlib.blake2b(salt.encode(), digest_size=KEY_BYTES, person=_PERSON).digest() if salt else b""


def keyed(units: Keys, key: bytes) -> Keys:
    """Return SipHash-1-3 of each unit's plain hash (as 8 bytes, little-endian); without a key the hashes as they are, 0 as 0."""
    if not key or not units.size:
        return units
    return np.where(units == 0, units, _siphash(units, key))


def _siphash(message: Keys, key: bytes) -> Keys:
    first, second = (int.from_bytes(half, "little") for half in (key[:8], key[8:]))
    state = [np.full(message.size, start ^ half, np.uint64) for start, half in zip(_START, (first, second) * 2, strict=True)]
    spare = np.empty(message.size, np.uint64)
    for block in (message, _LENGTH):
        state[3] ^= block
        _round(state, spare)
        state[0] ^= block
    state[2] ^= _END
    for _ in range(_END_ROUNDS):
        _round(state, spare)
    found: Keys = state[0] ^ state[1] ^ state[2] ^ state[3]
    return found


def _round(state: list[Keys], spare: Keys) -> None:
    """One SipRound, in place."""
    v0, v1, v2, v3 = state
    _half(v0, v1, 13, spare)
    _turn(v0, 32, spare)
    _half(v2, v3, 16, spare)
    _half(v0, v3, 21, spare)
    _half(v2, v1, 17, spare)
    _turn(v2, 32, spare)


def _half(into: Keys, value: Keys, turn: int, spare: Keys) -> None:
    into += value
    _turn(value, turn, spare)
    value ^= into


def _turn(value: Keys, turn: int, spare: Keys) -> None:
    """Rotate to the left by so many bits."""
    left, right = _TURNS[turn]
    np.left_shift(value, left, out=spare)
    value >>= right
    value |= spare
