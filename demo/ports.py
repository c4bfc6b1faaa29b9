"""Free ports of this machine."""

from __future__ import annotations

import socket
from contextlib import ExitStack

HOST = "127.0.0.1"


def free_ports(number: int) -> list[int]:
    """Return so many different ports that nobody listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for found in sockets:
            found.bind((HOST, 0))
        return [int(found.getsockname()[1]) for found in sockets]
