"""Faust: an agent over the topic, Faust's own JSON; with ``table``, its sums live in a Faust table."""

from __future__ import annotations

import sys
import tempfile
import uuid
from typing import Any

import faust

from bench.peers.plain import arguments

bootstrap, topic, sums = arguments()
app = faust.App(
    f"faust-{uuid.uuid4().hex[:8]}",
    broker=f"kafka://{bootstrap}",
    value_serializer="json",
    topic_partitions=4,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    datadir=tempfile.mkdtemp(),
)
events = app.topic(topic)
if "table" in sys.argv:
    arms = app.Table("arms", default=list, partitions=4)

    @app.agent(events)
    async def into_table(stream: Any) -> None:
        """Fold each event, and write what it changed to the table."""
        async for event in stream:
            before = sums.seen
            for flag, variation in event["data"]["flags"].items():
                key = f"{event['data']['environment']}|{flag}|{variation}"
                outcomes, errors = arms.get(key) or (0, 0)
                arms[key] = [outcomes + 1, errors + (event["data"]["outcome"] == "error")]
            sums.add(event)
            assert sums.seen == before + 1

else:

    @app.agent(events)
    async def into_memory(stream: Any) -> None:
        """Fold each event."""
        async for event in stream:
            sums.add(event)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--without-web", "--loglevel", "error"]
    app.main()
