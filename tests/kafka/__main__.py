"""``python -m tests.kafka [DIRECTORY]``: a real Kafka until SIGTERM or Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests.kafka import NoKafkaError, running_kafka


def main() -> int:
    """Print ``{"bootstrap": "host:port"}`` once clients can connect, and serve; 1 if no Kafka can be had."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    with tempfile.TemporaryDirectory(prefix="guardian-kafka-") as made:
        workdir = Path(sys.argv[1] if len(sys.argv) > 1 else made)
        try:
            with running_kafka(workdir) as bootstrap:
                print(json.dumps({"bootstrap": bootstrap}), flush=True)
                told.wait()
        except NoKafkaError as error:
            print(f"No Kafka can be had here: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
