"""When Kafka kept a record, where its topic is stamped by brokers and not by whoever writes (``message.timestamp.type``)."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord

from guardian.names import Millis

BY_BROKERS = 1
"""Kafka's number for a record that carries its broker's time."""


def kept_ms(record: ConsumerRecord) -> Millis | None:
    """Return when a record was kept, by its broker's clock; None where it carries its writer's time."""
    kept: Millis = record.timestamp
    return kept if record.timestamp_type == BY_BROKERS else None


def message_kept_ms(message: Any) -> Millis | None:
    """Return the same of a message as Faust hands it on, in seconds."""
    return round(message.timestamp * 1_000) if message.timestamp_type == BY_BROKERS else None
