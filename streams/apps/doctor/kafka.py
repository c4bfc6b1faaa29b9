"""Kafka: is it reached, are the topics there and kept as they must be, is all granted, are its records' clocks right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from guardian.numerals import duration
from streams.access import KNOCK_S, admin_client, missing_rights
from streams.admin import MOCK, alike
from streams.apps.doctor.checks import CHECK_S, SKEW_S, checked, together
from streams.changelog import KEPT, changelog_topic
from streams.findings import Finding
from streams.rights import rights_of
from streams.settings import Settings
from streams.topics import STAMPS

ASK_S = CHECK_S - 1.0
"""What Kafka may take for one answer: less than the check, so that its own words are heard."""
_ADDRESS = "is kafka.bootstrap right, is Kafka up, and may this machine reach it?"
_LOGIN = "see kafka.security: protocol, sasl_mechanism, username, password_file"
_TLS = "see kafka.security: protocol, ca_file, cert_file, key_file"

Topics = Mapping[str, int]
"""How many partitions each topic has that is there."""


async def look(settings: Settings, processors: Sequence[str]) -> list[Finding]:
    """All about Kafka that *processors* need; where it is not reached, that alone."""
    about = f"Kafka at {settings.kafka.bootstrap}"
    if settings.kafka.embedded:
        return [Finding("ok", about, "kafka.embedded is true: the broker lives within `guardian run`, which makes what it needs")]
    heard: list[str] = []
    client = admin_client(settings, heard)
    try:
        cluster = await asyncio.to_thread(_knock, client)
    except KafkaException as error:
        why = heard[0] if heard else error.args[0].str()
        return [Finding("error", about, f"not reached: {why}", _cure(why))]
    topics = {name: len(topic.partitions) for name, topic in cluster.topics.items()}
    is_mock = str(cluster.cluster_id).startswith(MOCK)
    return await together(
        checked(about, _reached(len(cluster.brokers))),
        checked("topics", _there(settings, topics)),
        checked("topics", _kept(settings, client, topics, is_mock=is_mock)),
        checked("rights in Kafka", _granted(settings, processors)),
        checked("clocks of records", _clocks(settings, client, topics)),
    )


def _knock(client: AdminClient) -> Any:
    try:
        return client.list_topics(timeout=KNOCK_S)
    finally:
        client.poll(0.0)


def _cure(why: str) -> str:
    said = why.lower()
    if "handshake" in said or "certificate" in said:
        return _TLS
    return _LOGIN if "authentication" in said else _ADDRESS


async def _reached(brokers: int) -> list[Finding]:
    return [Finding("ok", "Kafka", f"lets us in; {brokers} {'broker' if brokers == 1 else 'brokers'}")]


async def _there(settings: Settings, topics: Topics) -> list[Finding]:
    own = [*settings.topics.own, changelog_topic(settings)]
    same = alike(settings)
    journal = topics.get(settings.topics.journal)
    found = []
    for name in own:
        if name not in topics:
            count = journal or settings.partitions
            cure = f"`guardian run` makes it where Create is granted; else make it, with {count} partitions"
            found.append(Finding("warning", f"topic {name}", "is not there", cure))
        elif name in same and journal is not None and topics[name] != journal:
            said = f"has {topics[name]} partitions, but {settings.topics.journal} has {journal}"
            found.append(Finding("error", f"topic {name}", said, "give all topics of rollouts the same number"))
    for name in settings.topics.inputs:
        if name not in topics:
            cure = "make it, name the right one in topics: of the settings, or drop it there; or grant Describe on it"
            found.append(Finding("warning", f"topic {name}", "is not there, so that nothing is read from it", cure))
    there = sum(name in topics for name in (*own, *settings.topics.inputs))
    return [Finding("ok", "topics", f"{there} of {len(own) + len(settings.topics.inputs)} are there"), *found]


async def _kept(settings: Settings, client: AdminClient, topics: Topics, *, is_mock: bool) -> list[Finding]:
    if is_mock:
        return [Finding("ok", "topics", "an embedded broker keeps all it has for as long as it lives")]
    wanted = dict(settings.topics.own) | {changelog_topic(settings): KEPT}
    resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in wanted if name in topics}
    if not resources:
        return []
    answers = await asyncio.to_thread(client.describe_configs, list(resources.values()), request_timeout=ASK_S)
    found: list[Finding] = []
    for name, resource in resources.items():
        try:
            has = await asyncio.wrap_future(answers[resource])
        except KafkaException as error:
            cure = f"grant DescribeConfigs on topic {name}: `guardian acls`"
            found.append(Finding("warning", f"topic {name}", f"its settings cannot be read: {error.args[0].str()}", cure))
        else:
            is_set = {key: entry.value for key, entry in has.items()}
            found += [*_unfit(name, wanted[name], is_set), *_unstamped(name, wanted[name], is_set)]
    return found or [Finding("ok", "topics", "each is kept as it must be")]


def _unfit(name: str, wanted: Mapping[str, str], has: Mapping[str, str]) -> Iterator[Finding]:
    """What of a topic's settings loses records that are needed."""
    about, policy = f"topic {name}", has.get("cleanup.policy", "")
    if ("cleanup.policy" in wanted) and "compact" not in policy:
        cure = _set(name, "cleanup.policy=compact")
        yield Finding("error", about, f"has cleanup.policy={policy}, so that the newest state of old rollouts is lost", cure)
    if "retention.ms" in wanted:
        if "compact" in policy:
            cure = _set(name, "cleanup.policy=delete")
            said = f"has cleanup.policy={policy}, so that all but the last record of a rollout is lost"
            yield Finding("error", about, said, cure)
        kept_ms, meant_ms = int(has.get("retention.ms") or -1), int(wanted["retention.ms"])
        if 0 <= kept_ms < meant_ms:
            said = f"keeps records for {duration(kept_ms)}; {duration(meant_ms)} are meant"
            yield Finding("warning", about, said, _set(name, f"retention.ms={meant_ms}"))
    lag_ms, meant_ms = int(has.get("min.compaction.lag.ms") or 0), int(wanted.get("min.compaction.lag.ms", 0))
    if lag_ms < meant_ms:
        said = f"is compacted after {duration(lag_ms)}; {duration(meant_ms)} are meant, so that late records are seen"
        yield Finding("warning", about, said, _set(name, f"min.compaction.lag.ms={meant_ms}"))


def _unstamped(name: str, wanted: Mapping[str, str], has: Mapping[str, str]) -> Iterator[Finding]:
    """A clock that is ahead goes unnoticed where nobody else says when a record came."""
    if STAMPS in wanted and has.get(STAMPS) != wanted[STAMPS]:
        said = "carries its writers' times, so that one worker whose clock is ahead holds up verdicts until that time has come"
        yield Finding("warning", f"topic {name}", said, _set(name, f"{STAMPS}={wanted[STAMPS]}"))


def _set(name: str, to: str) -> str:
    return f"kafka-configs --alter --entity-type topics --entity-name {name} --add-config {to}"


async def _granted(settings: Settings, processors: Sequence[str]) -> list[Finding]:
    about = "rights in Kafka"
    if settings.kafka.security.protocol == "PLAINTEXT":
        return [Finding("ok", about, "kafka.security.protocol is PLAINTEXT: no name is shown, so there is nothing to ask")]
    found = []
    rights = {name: rights_of(name, settings) for name in processors}
    needed = list(dict.fromkeys(right for own in rights.values() for right in own))
    for right in await asyncio.to_thread(missing_rights, settings, needed, []):
        who = ", ".join(name for name, own in rights.items() if right in own)
        cure = "`guardian acls` prints the line that grants it; a processor under a name of its own needs its own config"
        found.append(Finding("error", about, f"not granted: {right} (for {who})", cure))
    return found or [Finding("ok", about, f"all that {', '.join(processors)} need, as far as Kafka tells")]


async def _clocks(settings: Settings, client: AdminClient, topics: Topics) -> list[Finding]:
    """Kafka tells its time to nobody who writes nothing; but no record can be stamped later than now."""
    names = [name for name in (settings.topics.journal, *settings.topics.inputs) if name in topics]
    asked = {TopicPartition(name, number): OffsetSpec.max_timestamp() for name in names for number in range(topics[name])}
    answers = await asyncio.to_thread(client.list_offsets, asked, request_timeout=ASK_S) if asked else {}
    found = []
    newest_ms: dict[str, int] = {}
    for place, answer in answers.items():
        try:
            told = await asyncio.wrap_future(answer)
        except KafkaException:
            continue  # what is not granted is told elsewhere; brokers before 3.0 do not tell
        newest_ms[place.topic] = max(newest_ms.get(place.topic, 0), told.timestamp)
    for name, at_ms in newest_ms.items():
        if (ahead_ms := at_ms - time.time_ns() // 1_000_000) > SKEW_S * 1000:
            cure = "let this machine and those that write there ask the same time server (chronyc tracking)"
            said = f"holds a record that is stamped {duration(ahead_ms)} from now"
            found.append(Finding("warning", f"topic {name}", said, cure))
    said = "no record is stamped later than now; a broker's own clock is told to nobody who writes nothing"
    return found or [Finding("ok", "clocks of records", said)]
