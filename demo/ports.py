"""Free ports of this machine."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
FIRST, LAST = 10_240, 32_767
"""Below those that Linux, macOS and Windows give to whoever asks for any: they are not taken between our look and our use."""

_given: set[int] = set()


def free_ports(number: int) -> list[int]:
    """Return so many ports that nobody listens on now, none of them twice in the life of this process."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(FIRST, LAST + 1), k=1_000):
        if len(found) == number:
            break
        if port not in _given and _is_free(port):
            found.append(port)
    if len(found) < number:
        raise OSError(f"{HOST} has no {number} free ports between {FIRST} and {LAST}")
    _given.update(found)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as looking:
        try:
            looking.bind((HOST, port))
        except OSError:
            return False
        return True
