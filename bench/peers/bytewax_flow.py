"""Bytewax: a dataflow from the topic, batches of a thousand, JSON and fold in one step."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bytewax import operators as op  # type: ignore[import-not-found]
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.testing import TestingSink, run_main  # type: ignore[import-not-found]

from bench.peers.plain import arguments

bootstrap, topic, sums = arguments()


def fold(messages: list[KafkaSourceMessage[Any, Any]]) -> Iterable[None]:
    """Fold a batch."""
    for message in messages:
        sums.add(json.loads(message.value))
    return []


flow = Dataflow("bench")
read = op.input("read", flow, KafkaSource([bootstrap], [topic], tail=False, batch_size=1000))
op.output("nowhere", op.flat_map_batch("fold", read, fold), TestingSink([]))
run_main(flow)
# A partition's reader may end before the last event of another.
sums.end()
