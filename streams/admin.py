"""The topics that the guardian needs: made where they are missing, and checked where they are there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from guardian.errors import GuardianError
from streams.changelog import KEPT, changelog_topic
from streams.settings import Settings

log = structlog.get_logger()

RETRY_S = 1.0
APPEAR_S = 15.0
"""For how long new topics may take until every broker knows them."""
POLL_S = 0.1
CLOSE_S = 2.0
BROKERS_DEFAULT = -1
_POLICY, _COMPACT = "cleanup.policy", "compact"
MOCK = "mockCluster"
"""How librdkafka's mock, the embedded broker, begins the ids of its clusters."""


class TopicsError(GuardianError):
    """Topics that are missing and cannot be made, or that are not as they must be; the text names each."""


async def ensure_topics(settings: Settings, *, inputs: bool = False) -> int:
    """
    Make the guardian's topics that are missing; return how many partitions the journal has.

    With *inputs* the users' event topics are made, too. Topics that are there already stay as they are. Kafka is
    waited for, for as long as that takes.

    Raises:
        TopicsError: a topic cannot be made, or does not suit: the topics of one rollout need the same number of
            partitions, and those that hold the newest state must be compacted.
    """
    wanted = dict(settings.topics.own) | {changelog_topic(settings): KEPT}
    if inputs:
        wanted |= {name: {} for name in settings.topics.inputs}
    while True:
        try:
            async with _admin(settings) as admin:
                is_mock = str((await admin.describe_cluster())["cluster_id"]).startswith(MOCK)
                if not is_mock:  # which makes a topic when it is asked for it, and in no other way
                    await _make(admin, settings, wanted)
                partitions = await _appeared(admin, wanted)
                if not is_mock:
                    await _check_compacted(admin, wanted)
                return _journal_partitions(settings, partitions)
        except KafkaError as error:
            log.warning("kafka_not_reached", bootstrap=settings.kafka.bootstrap, reason=str(error))
            await asyncio.sleep(RETRY_S)


@contextlib.asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.kafka.client_options(), client_id="guardian-admin")
    try:
        await admin.start()
        yield admin
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(admin.close(), CLOSE_S)


async def _make(admin: AIOKafkaAdminClient, settings: Settings, wanted: Mapping[str, Mapping[str, str]]) -> None:
    # Asking for all topics, not for these: with auto-creation, asking for one would make it with the wrong settings.
    there = set(await admin.list_topics())
    missing = {name: kept for name, kept in wanted.items() if name not in there}
    if not missing:
        return
    answer = await admin.create_topics([_new(name, settings, kept) for name, kept in missing.items()])
    refused = []
    for one in answer.to_object()["topic_errors"]:
        name, error = one["topic"], for_code(one["error_code"])
        if not one["error_code"]:
            log.info("topic_made", topic=name, partitions=settings.partitions, kept=missing[name])
        elif error.retriable:
            raise error(one["error_message"])
        elif error is not TopicAlreadyExistsError:  # another worker was quicker
            hint = "; Create on it, or on the cluster, is not granted" if error is TopicAuthorizationFailedError else ""
            refused.append(f"{name}: cannot be made: {one['error_message'] or error.__name__}{hint}")
    if refused:
        raise TopicsError("; ".join(refused))


def _new(name: str, settings: Settings, kept: Mapping[str, str]) -> NewTopic:
    replicas = settings.replication or BROKERS_DEFAULT
    # aiokafka takes "the brokers' default" for an assignment by hand, and wants to see one, if an empty one.
    by_hand: dict[int, list[int]] | None = {} if replicas == BROKERS_DEFAULT else None
    return NewTopic(name, settings.partitions, replicas, replica_assignments=by_hand, topic_configs=dict(kept))


async def _check_compacted(admin: AIOKafkaAdminClient, wanted: Mapping[str, Mapping[str, str]]) -> None:
    """Else Kafka would delete a rollout's newest state, and with it its kills, when it gets old."""
    names = [name for name, kept in wanted.items() if kept.get(_POLICY) == _COMPACT]
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs={_POLICY: None}) for name in names]
    wrong = []
    for answer in await admin.describe_configs(resources):
        for code, message, _, name, *entries in answer.resources:
            if code:
                log.warning("topic_settings_not_readable", topic=name, reason=message or for_code(code).__name__)
                continue
            policy = {entry[0]: entry[1] for entry in entries[0]}.get(_POLICY, "")
            if _COMPACT not in policy:
                wrong.append(f"{name}: has {_POLICY}={policy}; set it to {_COMPACT}, or its old records are lost")
    if wrong:
        raise TopicsError("; ".join(wrong))


async def _appeared(admin: AIOKafkaAdminClient, wanted: Mapping[str, Any]) -> dict[str, int]:
    """How many partitions each topic has, once all of them are known to the cluster."""
    deadline_s = asyncio.get_running_loop().time() + APPEAR_S
    while True:
        described = await admin.describe_topics(list(wanted))
        missing = {one["topic"]: for_code(one["error_code"]) for one in described if one["error_code"]}
        if not missing:
            return {one["topic"]: len(one["partitions"]) for one in described}
        hopeless = not any(error.retriable for error in missing.values())
        if hopeless or asyncio.get_running_loop().time() > deadline_s:
            raise TopicsError("; ".join(f"{name}: {error.__name__}" for name, error in missing.items()))
        await asyncio.sleep(POLL_S)


def alike(settings: Settings) -> tuple[str, ...]:
    """The topics that need as many partitions as each other: a rollout's records lie in the same one of each."""
    topics = settings.topics
    return (
        topics.journal,
        topics.rollouts,
        topics.decisions,
        topics.receipts,
        topics.flag_state,
        topics.incidents,
        changelog_topic(settings),
    )


def _journal_partitions(settings: Settings, partitions: Mapping[str, int]) -> int:
    journal = partitions[settings.topics.journal]
    different = [f"{name} has {partitions[name]}" for name in alike(settings) if partitions[name] != journal]
    if different:
        said = ", ".join(different)
        raise TopicsError(f"{settings.topics.journal} has {journal} partitions, but {said}; give all the same number")
    return journal
