"""
What each processor may do in Kafka: the one table that the documentation, ``guardian acls`` and the check at the start share.

Nothing else is needed. Whoever may write decisions or journal entries is the guardian; see docs/security.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from streams.changelog import changelog_topic
from streams.settings import Settings
from streams.stores.kinds import kind_of

Operation = Literal["Read", "Write", "Describe", "DescribeConfigs"]
Kind = Literal["topic", "group", "transactional-id"]


class Right(NamedTuple):
    """An operation on what is called so, or on all whose names begin so."""

    operation: Operation
    kind: Kind
    name: str
    is_prefix: bool = False

    def __str__(self) -> str:
        return f"{self.operation} on {self.kind} {self.name}{'*' if self.is_prefix else ''}"


def rights_of(processor: str, settings: Settings) -> tuple[Right, ...]:
    """
    Return what a processor needs under these settings, its supervisor included, each right once.

    Raises:
        KeyError: there is no such processor.
    """
    found = [*_OWN[processor](settings), *_supervisor(settings)]
    return tuple(dict.fromkeys(found))


def _supervisor(settings: Settings) -> Iterable[Right]:
    """``guardian run`` looks whether all topics are there and kept as they must be, and publishes policies."""
    own = {**settings.topics.own, changelog_topic(settings): {}}
    yield from (Right("Describe", "topic", name) for name in own)
    compacted = [name for name, kept in settings.topics.own.items() if kept.get("cleanup.policy") == "compact"]
    yield from (Right("DescribeConfigs", "topic", name) for name in (*compacted, changelog_topic(settings)))
    if settings.policies:
        yield from _topics("Read", settings.topics.rollouts)
        yield from _topics("Write", settings.topics.journal)


def _topics(operation: Operation, *names: str) -> Iterable[Right]:
    return (Right(operation, "topic", name) for name in names)


def _group(settings: Settings, processor: str) -> Right:
    return Right("Read", "group", f"{settings.kafka.group_prefix}-{processor}")


def _store(settings: Settings) -> Iterable[Right]:
    yield from _topics("Read", settings.topics.flag_state)
    yield from _topics("Write", settings.topics.journal)


def _observe(settings: Settings) -> Iterable[Right]:
    topics = settings.topics
    yield from _topics("Read", *topics.inputs, topics.rollouts)
    yield from _topics("Write", topics.journal, topics.dead_letters)
    yield _group(settings, "observe")
    yield Right("Write", "transactional-id", f"{settings.kafka.group_prefix}-observe-", is_prefix=True)


def _judge(settings: Settings) -> Iterable[Right]:
    topics, changelog = settings.topics, changelog_topic(settings)
    yield from _topics("Read", topics.journal, changelog)
    yield from _topics("Write", changelog, topics.decisions, topics.receipts, topics.rollouts, topics.dead_letters)
    yield from _topics("Write", topics.journal)
    yield _group(settings, "judge")


def _act(settings: Settings) -> Iterable[Right]:
    topics = settings.topics
    # Other stores keep what was decided by themselves, if they can.
    own = [topics.flag_state] if any(kind_of(one.kind).needs_flag_state for one in settings.targets.values()) else []
    yield from _topics("Read", topics.decisions, *own)
    yield from _topics("Write", *own, topics.receipts, topics.journal, topics.dead_letters)
    yield _group(settings, "act")


def _report(settings: Settings) -> Iterable[Right]:
    topics = settings.topics
    yield from _topics("Read", topics.decisions, topics.receipts, topics.incidents, topics.rollouts)
    yield from _topics("Write", topics.incidents)
    yield _group(settings, "report")


def _api(settings: Settings) -> Iterable[Right]:
    topics = settings.topics
    yield from _topics("Read", topics.rollouts, topics.decisions, topics.receipts)
    yield from _topics("Write", topics.journal)


_OWN: dict[str, Callable[[Settings], Iterable[Right]]] = {
    "store": _store,
    "observe": _observe,
    "judge": _judge,
    "act": _act,
    "report": _report,
    "api": _api,
}


def commands(settings: Settings, processors: Iterable[str], bootstrap: str) -> Iterable[str]:
    """Yield a line for Kafka's own ``kafka-acls`` for each right; each processor is ``User:<group prefix>-<name>``."""
    for processor in processors:
        who = f"User:{settings.kafka.group_prefix}-{processor}"
        for right in rights_of(processor, settings):
            pattern = " --resource-pattern-type prefixed" if right.is_prefix else ""
            what = f"--operation {right.operation} --{right.kind} '{right.name}'{pattern}"
            yield f"kafka-acls --bootstrap-server {bootstrap} --add --allow-principal '{who}' {what}"
