"""A broker to test on, and settings for it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest

from streams.settings import Settings

REAL_FIRST = pytest.mark.parametrize(
    "kafka",
    [pytest.param("real", marks=pytest.mark.kafka), pytest.param("embedded", marks=pytest.mark.long)],
    indirect=True,
)
"""For a test that takes long: on a real Kafka in `make test`, on the embedded broker in `make test-long` alone."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A broker to test on."""

    bootstrap: str
    embedded: bool

    def settings(self, **sections: object) -> Settings:
        """Settings for this broker with topics and a group prefix of their own, so that tests never meet."""
        prefix = f"t{uuid.uuid4().hex[:12]}"
        names = {name: _prefixed(value, prefix) for name, value in Settings().topic_names.model_dump().items()}
        kafka = {"bootstrap": self.bootstrap, "embedded": self.embedded, "group_prefix": prefix}
        return Settings.model_validate({"kafka": kafka, "topics": names, "partitions": 4, **sections})


def _prefixed(value: str | tuple[str, ...], prefix: str) -> object:
    return f"{prefix}.{value}" if isinstance(value, str) else [f"{prefix}.{one}" for one in value]
