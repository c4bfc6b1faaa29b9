"""
Asking Kafka, before any work begins, whether it lets us in and what we may do there.

The clients that work afterwards say "unable to bootstrap" whatever is wrong, and stand still where a right is missing.
librdkafka says which password, certificate or right it is, so it is asked first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from guardian.errors import GuardianError
from streams.rights import Right, rights_of
from streams.settings import Settings

log = structlog.get_logger()

ASK_S = 10.0
KNOCK_S = 3.0
RETRY_S = 1.0
_NOT_GRANTED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
_SAYS_NOTHING = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT)
_OPERATIONS = {"Read": "READ", "Write": "WRITE", "Describe": "DESCRIBE", "DescribeConfigs": "DESCRIBE_CONFIGS"}

Tell = Callable[[str], None]
"""Given why there is no answer yet."""


class NotGranted(GuardianError):
    """Kafka knows us, and does not let us do what we must; the text names each operation and where."""


async def check_access(settings: Settings, processors: Iterable[str], tell: Tell) -> None:
    """
    Return when Kafka lets us in and every right of *processors* is granted, as far as it tells; ``tell`` hears of each delay.

    Of topics that are not there it tells nothing, nor of the ids of transactions. Where no name is shown, nothing is asked.

    Raises:
        NotGranted: rights are missing.
    """
    if settings.kafka.security.protocol == "PLAINTEXT":
        return
    needed: dict[Right, list[str]] = {}
    for processor in processors:
        for right in rights_of(processor, settings):
            needed.setdefault(right, []).append(processor)
    while True:
        heard: list[str] = []
        try:
            missing = await asyncio.to_thread(missing_rights, settings, list(needed), heard)
            break
        except KafkaException as error:
            why = heard[0] if heard else error.args[0].str()
            log.warning("kafka_not_reached", bootstrap=settings.kafka.bootstrap, reason=why)
            tell(f"Kafka at {settings.kafka.bootstrap}: {why}")
            await asyncio.sleep(RETRY_S)
    if missing:
        who = settings.kafka.security.username or "the client's certificate"
        said = "; ".join(f"{right} (for {', '.join(needed[right])})" for right in missing)
        raise NotGranted(f"not granted to {who} at {settings.kafka.bootstrap}: {said}; `guardian acls` lists all that is needed")


def admin_client(settings: Settings, heard: list[str]) -> AdminClient:
    """A client of librdkafka's that says in *heard* why Kafka does not let it in."""

    def hear(error: KafkaError) -> None:
        if error.code() not in _SAYS_NOTHING:
            heard.append(error.str())

    return AdminClient({**settings.kafka.librdkafka_options(), "error_cb": hear, "log_level": 0})


def missing_rights(settings: Settings, rights: Sequence[Right], heard: list[str]) -> list[Right]:
    """
    Return the rights that are not granted, as far as Kafka tells. It blocks.

    Raises:
        KafkaException: there is no answer; *heard* may say why.
    """
    client = admin_client(settings, heard)
    try:
        client.list_topics(timeout=KNOCK_S)
    finally:
        client.poll(0.0)
    topics = sorted({right.name for right in rights if right.kind == "topic"})
    groups = sorted({right.name for right in rights if right.kind == "group"})
    told = {"include_authorized_operations": True, "request_timeout": ASK_S}
    granted = {
        "topic": _granted(client.describe_topics(TopicCollection(topics), **told)),
        "group": _granted(client.describe_consumer_groups(groups, **told)) if groups else {},
    }
    return [right for right in rights if _lacks(right, granted.get(right.kind, {}).get(right.name))]


def _granted(answers: Mapping[str, Future[Any]]) -> dict[str, set[str] | None]:
    """Return the operations that are granted, by name; None where nothing is known."""
    found: dict[str, set[str] | None] = {}
    for name, answer in answers.items():
        try:
            operations = answer.result(ASK_S).authorized_operations
        except KafkaException as error:
            code = error.args[0].code()
            if code in _NOT_GRANTED:
                found[name] = set()
            elif code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                found[name] = None
            else:
                raise
        else:
            found[name] = None if operations is None else {operation.name for operation in operations}
    return found


def _lacks(right: Right, granted: set[str] | None) -> bool:
    return granted is not None and _OPERATIONS[right.operation] not in granted
