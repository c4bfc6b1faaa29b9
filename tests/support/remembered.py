"""A store without a place for the guardian's record, with a dictionary for the topic that holds it."""

from __future__ import annotations

import json
from typing import Any

from streams.stores.shares.backend import Backend
from streams.stores.shares.noted import Noted, noted_key


def remembered(backend: Backend, environment: str = "production", store: str = "bought") -> Noted:
    """*backend* with a memory of its own; of two records with one version the first counts, as in the topic."""
    topic: dict[str, dict[str, Any]] = {}

    async def publish(record: dict[str, Any]) -> None:
        key = noted_key(record["environment"], record["flag_key"], record["store"])
        known = topic.get(key)
        if known is None or record["version"] > known["version"]:
            topic[key] = json.loads(json.dumps(record))

    return Noted(backend, publish, topic.get, environment=environment, store=store)
