"""Hostile messages, made of a good one: for every decoder that takes bytes from elsewhere, and for whole topics of them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

DEPTH = 100_000
"""Brackets of what is nested too deep: far more than any stack has frames."""
HUGE = 10_000_000
"""Bytes of what is far too long."""
LONG = 4_000
"""Bytes of what is merely too long, so that millions can be had."""
_HERE = "\u2603here"


class Hostile(NamedTuple):
    """A message and in which way it is hostile; headers and key are those of its Kafka record."""

    kind: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None


_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")
_LETTERS = (b"x", b"\\u0000\\u0000", "\u00fc".encode())
_SURROGATES = ('"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d"')
_TYPES = ("true", "[]", "{}", '[{"a":1}]', '{"":{}}', "-3.5", "-7")
_FRAMES = (
    b"\x00", b"\x00\x00\x00\x00", b"\x00\x00\x00\x00\x07", b"\x00\x00\x00\x00\x07\x02\x06abc", b"\x01\x00\x00",
    b"Obj\x01\x04", b"PAR1",
)  # fmt: skip
_ENCODINGS = (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")


def hostile(good: Mapping[str, Any], dice: random.Random, *, huge: int = LONG, depth: int = DEPTH) -> Iterator[Hostile]:
    """
    Yield hostile variants of a good document without end, of every kind in turn; its ``type`` stays as it is.

    ``huge`` is the length of what is too long, ``depth`` that of what is nested too deep.
    """
    while True:
        for kind, make in _KINDS.items():
            yield make(kind, good, dice, huge if kind != "deep" else depth)


def kinds() -> tuple[str, ...]:
    """Return the names of all ways to be hostile, in the order in which they come."""
    return tuple(_KINDS)


def _with(good: Mapping[str, Any], dice: random.Random, content: bytes) -> bytes:
    """Return the document with one of its values replaced by these bytes."""
    # Another type is none of ours, which is no fault.
    paths = [path for path in _leaves(good) if path != ("type",)]
    document: dict[str, Any] = json.loads(json.dumps(good))
    *path, last = dice.choice(paths)
    place: Any = document
    for name in path:
        place = place[name]
    place[last] = _HERE
    return json.dumps(document).encode().replace(json.dumps(_HERE).encode(), content)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inside:
        if isinstance(one, Mapping | list) and one:
            yield from _leaves(one, (*path, name))
        else:
            yield (*path, name)


Make = Callable[[str, Mapping[str, Any], random.Random, int], Hostile]


def _replaced(choose: Callable[[random.Random, int], bytes]) -> Make:
    return lambda kind, good, dice, size: Hostile(kind, _with(good, dice, choose(dice, size)))


def _made(choose: Callable[[bytes, random.Random, int], bytes | None]) -> Make:
    return lambda kind, good, dice, size: Hostile(kind, choose(json.dumps(good).encode(), dice, size))


def _deep(dice: random.Random, depth: int) -> bytes:
    opened, closed = dice.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return opened * depth + b"1" + closed * depth * dice.randrange(2)


def _cut(plain: bytes, dice: random.Random, _: int) -> bytes:
    return plain[: dice.randrange(1, len(plain))]


def _flipped(plain: bytes, dice: random.Random, _: int) -> bytes:
    at = dice.randrange(len(plain))
    return plain[:at] + bytes([0x80 | dice.randrange(128)]) + plain[at + 1 :]


def _twice(plain: bytes, dice: random.Random, _: int) -> bytes:
    """The same keys again, with other values: the later ones are not right."""
    again = b",".join(json.dumps(name).encode() + b":[0]" for name in json.loads(plain))
    return plain[:-1] + b"," + again + b"}" if dice.randrange(2) else plain + plain


def _keys(plain: bytes, dice: random.Random, size: int) -> bytes:
    return b"{" + b",".join(b'"%d":%d' % (dice.getrandbits(40), number) for number in range(size // 24)) + b"}"


def _heavy(kind: str, good: Mapping[str, Any], dice: random.Random, size: int) -> Hostile:
    """Headers and a key that are long themselves."""
    value = _with(good, dice, b"[0]")
    headers = tuple((f"h{number}", dice.randbytes(size // 8)) for number in range(4))
    return Hostile(kind, value, (*headers, ("content-type", b"\xff"), ("n" * (size // 8), b"")), dice.randbytes(size // 4))


def _binary(kind: str, good: Mapping[str, Any], dice: random.Random, _: int) -> Hostile:
    """A CloudEvent in binary mode whose attributes are no text, or wrong."""
    wrong = dice.choice((b"\xff\xfe", b"", b"\xed\xa0\x80", b"2.0"))
    headers = (("ce_specversion", wrong), ("ce_type", b"dev.rolloutguardian.outcome.v1"), ("ce_sampledrate", b"9" * 5_000))
    return Hostile(kind, json.dumps(good.get("data", good)).encode(), headers)


_KINDS: dict[str, Make] = {
    "garbage": _made(lambda _, dice, size: dice.randbytes(dice.randrange(1, 200))),
    "deep": _replaced(_deep),
    "numbers": _replaced(lambda dice, _: dice.choice(_NUMBERS).encode()),
    "digits": _replaced(lambda dice, size: dice.choice((b"9", b"-9")) + b"9" * size),
    "huge": _replaced(lambda dice, size: b'"' + (dice.choice(_LETTERS) * size)[:size] + b'"'),
    "encoding": _replaced(lambda dice, _: b'"' + dice.choice(_ENCODINGS) + b'"'),
    "surrogates": _replaced(lambda dice, _: dice.choice(_SURROGATES).encode()),
    "types": _replaced(lambda dice, _: dice.choice(_TYPES).encode()),
    "frames": _made(lambda _, dice, size: dice.choice(_FRAMES)),
    "utf-16": _made(lambda plain, dice, _: plain.decode().encode(dice.choice(("utf-16", "utf-32", "utf-16-be")))),
    "zipped": _made(lambda plain, dice, size: gzip.compress(plain + b" " * size)),
    "cut": _made(_cut),
    "flipped": _made(_flipped),
    "twice": _made(_twice),
    "keys": _made(_keys),
    "control": _replaced(lambda dice, _: b'"' + bytes([dice.randrange(32)]) + b'"'),
    "empty": _made(lambda _, dice, size: dice.choice((b"", None, b" ", b"null", b"0", b'""', b"[]", b"{}"))),
    "heavy": _heavy,
    "binary": _binary,
}
