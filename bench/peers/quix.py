"""Quix Streams: a dataframe over the topic, its own JSON, the fold as an update."""

from __future__ import annotations

import uuid

from quixstreams import Application  # type: ignore[import-not-found]

from bench.peers.plain import arguments

bootstrap, topic, sums = arguments()
app = Application(
    broker_address=bootstrap,
    consumer_group=f"quix-{uuid.uuid4().hex[:8]}",
    auto_offset_reset="earliest",
    loglevel="ERROR",
)
app.dataframe(app.topic(topic, value_deserializer="json")).update(sums.add)
app.run()
