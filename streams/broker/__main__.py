"""``python -m streams.broker``: the embedded broker as a process of its own, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

from streams.broker.embedded import EmbeddedBroker


def main(arguments: Sequence[str] | None = None) -> int:
    """Print ``{"bootstrap": "host:port"}`` once clients can connect, and serve until told to end; return 0."""
    parser = argparse.ArgumentParser(prog="python -m streams.broker", description=__doc__)
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="NAME:PARTITIONS",
        type=_topic,
        help="make this topic at the start (others have 4 partitions and appear when first asked for)",
    )
    parser.add_argument(
        "--end-with-stdin", action="store_true", help="end when stdin does: a parent that dies takes the broker along"
    )
    given = parser.parse_args(arguments)
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    with EmbeddedBroker() as broker:
        for name, partitions in given.topic:
            broker.create_topic(name, partitions)
        print(json.dumps({"bootstrap": broker.bootstrap}), flush=True)
        if given.end_with_stdin:
            threading.Thread(target=_tell_at_end_of_stdin, args=(told,), daemon=True).start()
        told.wait()
    return 0


def _topic(given: str) -> tuple[str, int]:
    name, _, partitions = given.rpartition(":")
    if not name or not partitions.isdigit() or int(partitions) < 1:
        raise argparse.ArgumentTypeError(f"{given!r}: write NAME:PARTITIONS, such as guardian.journal.v1:8")
    return name, int(partitions)


def _tell_at_end_of_stdin(told: threading.Event) -> None:
    with contextlib.suppress(OSError):
        # Not sys.stdin: its lock, held by a daemon thread, makes the interpreter abort when it ends.
        while os.read(0, 4096):
            pass
    told.set()


if __name__ == "__main__":
    sys.exit(main())
