"""The flag-state topic as a dictionary, for stores that have no place for the guardian's record."""

from __future__ import annotations

import json
from typing import Any

from streams.flag_state import Records
from streams.stores.shares.backend import Backend
from streams.stores.shares.noted import Noted, noted_key


class Notes:
    """What guardians have noted of one store; of two records with one version the first counts."""

    def __init__(self) -> None:
        self.records = Records()

    def over(self, backend: Backend) -> Noted:
        """A guardian's view of a store, with the notes that all guardians share."""
        return Noted(backend, self.publish, self.records.get, environment="production", store="it")

    async def publish(self, record: dict[str, Any]) -> None:
        key = noted_key(record["environment"], record["flag_key"], record["store"])
        known = self.records.get(key)
        if known is None or record["version"] > known["version"]:
            self.records._records[key] = json.loads(json.dumps(record))
