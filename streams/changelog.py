"""The topic in which ``judge`` keeps its snapshots: the changelog of its Faust table."""

from __future__ import annotations

from streams.settings import Settings

TABLE = "snapshots"
KEPT = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": str(180_000),
    "segment.bytes": str(16_777_216),
    "min.cleanable.dirty.ratio": "0.2",
}
"""
Topic settings. Compaction keeps the last record of a part, which a worker that woke up late may have written; by three
minutes later the newest one has been written again. Small segments are compacted soon, so that a recovery reads little.
"""


def changelog_topic(settings: Settings) -> str:
    """Its name, as Faust would give it: rights on the prefix of the consumer group cover it."""
    return f"{settings.kafka.group_prefix}-judge-{TABLE}-changelog"
