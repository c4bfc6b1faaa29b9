"""The adapter never claims what it has not seen, and never loses what was decided before."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from guardian.ports import CommandKind, FlagCommand, StoreUnavailable
from streams.stores.flagd.adapter import FlagdStore
from streams.stores.flagd.server import FlagdStoreServer
from tests.streams.stores.support import connect, kill_record, treated, version

_ids = itertools.count()
KEY = "production|checkout-v2"


class Topic:
    """The compacted flag-state topic between adapter and server; *delivers* says whether the server reads it."""

    def __init__(self, server: FlagdStoreServer) -> None:
        self.server = server
        self.records: dict[str, dict[str, Any]] = {}
        self.delivers = True

    async def publish(self, record: dict[str, Any]) -> None:
        record = json.loads(json.dumps(record))
        self.records[f"{record['environment']}|{record['flag_key']}"] = record
        if self.delivers:
            self.server.apply_overlay(record)


@pytest.fixture
def topic(server: FlagdStoreServer) -> Topic:
    return Topic(server)


@pytest.fixture
async def store(topic: Topic) -> AsyncIterator[FlagdStore]:
    store = FlagdStore(topic.publish, topic.records.get, topic.server.target, now_ms=lambda: 1234)
    yield store
    await store.close()


def command(kind: CommandKind = "kill", variation: str = "treatment", share: float | None = None) -> FlagCommand:
    number = next(_ids)
    return FlagCommand(f"c{number}", f"d{number}", "checkout-v2", "production", kind, variation, "control", share)


async def test_what_is_published_is_the_whole_decision(store: FlagdStore, topic: Topic):
    """
    A record holds the flag, what is decided, by which command and when; its version counts up.
    """
    kill = command()
    await store.apply(kill)
    await store.apply(command("resume", share=0.2))

    record = topic.records[KEY]
    assert ("checkout-v2", "production", 2, {}) == tuple(
        record[name] for name in ("flag_key", "environment", "version", "killed")
    )
    assert ({"treatment": 0.2}, False, 1234) == (record["shares"], record["off"], record["changed_at_ms"])
    assert [kill.command_id, record["command_id"]] == record["recent_command_ids"]


async def test_a_kill_that_is_not_seen_served_is_an_unknown_outcome(topic: Topic):
    """
    Published but not served in time raises StoreUnavailable; the same command again ends as applied, once served.
    """
    store = FlagdStore(topic.publish, topic.records.get, topic.server.target, deadline_s=0.2)
    topic.delivers = False
    kill = command()

    with pytest.raises(StoreUnavailable, match="unknown outcome; read back before sending again") as unknown:
        await store.apply(kill)
    topic.delivers = True
    applied = await store.apply(kill)

    assert unknown.value.retryable
    assert ("applied", "1+g1") == (applied.status, applied.version)
    await store.close()


async def test_nothing_is_sent_while_the_server_does_not_answer(topic: Topic):
    """
    Without an answer from the server nothing is published, and the error says so.
    """
    store = FlagdStore(topic.publish, topic.records.get, topic.server.target, deadline_s=0.3)
    await topic.server.stop()

    with pytest.raises(StoreUnavailable, match="nothing was sent"):
        await store.apply(command())
    with pytest.raises(StoreUnavailable, match="could not be read"):
        await store.read("production", "checkout-v2")

    assert {} == topic.records
    await store.close()


async def test_a_publisher_that_fails_is_an_unknown_outcome(server: FlagdStoreServer):
    """
    When the record could not be published, it may or may not have been written: read back.
    """

    async def fail(_: dict[str, Any]) -> None:
        raise RuntimeError("broker is gone")

    store = FlagdStore(fail, lambda _: None, server.target)

    with pytest.raises(StoreUnavailable, match=r"broker is gone.*unknown outcome"):
        await store.apply(command())
    await store.close()


async def test_a_record_older_than_what_is_served_is_never_built_on(topic: Topic):
    """
    While the adapter's view of the topic lags behind, nothing is sent: it would take back what came between.
    """
    store = FlagdStore(topic.publish, topic.records.get, topic.server.target, deadline_s=0.2)
    topic.server.apply_overlay(kill_record(4))

    with pytest.raises(StoreUnavailable, match="older than what is served; nothing was sent"):
        await store.apply(command("resume"))
    assert {} == topic.records

    topic.records[KEY] = kill_record(4)
    assert "1+g5" == (await store.apply(command("resume"))).version
    await store.close()


async def test_another_record_that_came_first_is_a_conflict(topic: Topic):
    """
    Of two records with one version the first counts; who published the other is told, and decides again.

    The record in force is written once more, as compaction would else keep the one that was too late.
    """
    theirs = kill_record(2, command_id="theirs")
    written: list[dict[str, Any]] = []

    async def publish_second(record: dict[str, Any]) -> None:
        topic.records[KEY] = theirs
        topic.server.apply_overlay(theirs)
        topic.server.apply_overlay(record)
        written.append(record)

    await topic.publish(kill_record(1))
    store = FlagdStore(publish_second, topic.records.get, topic.server.target)

    applied = await store.apply(command("resume"))

    assert ("conflict", "1+g2") == (applied.status, applied.version)
    assert applied.state is not None
    assert 0.0 == applied.state.weights["treatment"]
    assert theirs == written[-1]
    await store.close()


async def test_a_record_that_came_too_late_is_no_proof_of_itself(topic: Topic):
    """
    Reading one's own refused record back from the topic does not make it applied: what is served names another.
    """

    async def publish_second(record: dict[str, Any]) -> None:
        topic.server.apply_overlay(kill_record(2, command_id="theirs"))
        await topic.publish(record)

    await topic.publish(kill_record(1))
    store = FlagdStore(publish_second, topic.records.get, topic.server.target)

    assert "conflict" == (await store.apply(command("resume"))).status
    await store.close()


async def test_a_command_followed_at_once_by_a_newer_one_was_applied(topic: Topic):
    """
    What is served by the time it is read back may be newer; a record that builds on the command proves it.
    """

    async def publish_and_go_on(record: dict[str, Any]) -> None:
        newer = {**record, "version": record["version"] + 1, "command_id": "newer"}
        topic.records[KEY] = {**newer, "recent_command_ids": [*record["recent_command_ids"], "newer"]}
        topic.server.apply_overlay(topic.records[KEY])

    store = FlagdStore(publish_and_go_on, topic.records.get, topic.server.target)

    applied = await store.apply(command())

    assert ("applied", "1+g2") == (applied.status, applied.version)
    await store.close()


async def test_its_own_last_record_is_known_before_the_topic_brings_it(topic: Topic):
    """
    A second command builds on the first although the topic has not come back with it yet.
    """
    store = FlagdStore(topic.publish, lambda _: None, topic.server.target)

    answers = [await store.apply(command()), await store.apply(command("kill_flag", ""))]

    assert ["1+g1", "1+g2"] == [answer.version for answer in answers]
    assert ({"treatment": "control"}, True) == (topic.records[KEY]["killed"], topic.records[KEY]["off"])
    await store.close()


async def test_a_kill_is_seen_through_a_restart_of_the_server(base_path: Path, topic: Topic):
    """
    A server that restarts between publishing and serving delays the answer and does not change it.
    """
    port = topic.server.sync.port
    successors: list[FlagdStoreServer] = []

    async def publish(record: dict[str, Any]) -> None:
        await topic.server.stop()
        successor = FlagdStoreServer(base_path, port=port)
        successor.apply_overlay(record)
        await successor.start()
        successors.append(successor)

    store = FlagdStore(publish, topic.records.get, topic.server.target)

    applied = await store.apply(command())

    assert ("applied", "1+g1") == (applied.status, applied.version)
    await store.close()
    await successors[0].stop()


async def test_commands_to_one_flag_do_not_overtake_each_other(topic: Topic):
    """
    Two commands at the same time both count: neither record takes back what the other decided.
    """

    async def publish_slowly(record: dict[str, Any]) -> None:
        await asyncio.sleep(0.05)  # what a broker takes; long enough for both commands to have been planned
        await topic.publish(record)

    store = FlagdStore(publish_slowly, topic.records.get, topic.server.target)
    answers = await asyncio.gather(store.apply(command()), store.apply(command("kill_flag", "")))

    assert ["applied", "applied"] == [answer.status for answer in answers]
    assert ({"treatment": "control"}, True) == (topic.records[KEY]["killed"], topic.records[KEY]["off"])
    await store.close()


@pytest.mark.parametrize(
    ("targeting", "asked", "reason"),
    [
        ({"fractional": [["control", 1], ["treatment", {"var": "w"}]]}, ("set_share", 0.5), "in splits with fixed"),
        ({"if": [{"var": "staff"}, "treatment", None]}, ("set_share", 0.5), "cannot get a share of 0.5"),
        ({"fractional": [["other", 50], ["treatment", 50]]}, ("set_share", 0.6), "cannot get a share of 0.6"),
        ({"fractional": [["control", 1], ["treatment", {"var": "w"}]]}, ("pause", None), "cannot be held"),
    ],
)
async def test_a_share_that_rules_compute_is_not_claimed(
    store: FlagdStore, topic: Topic, targeting: Any, asked: tuple[CommandKind, float | None], reason: str
):
    """
    Where a share cannot be set or held, the answer is a failure with its reason, and nothing is published.
    """
    document = json.loads(topic.server.documents.text)
    document["flags"]["checkout-v2"] |= {
        "targeting": targeting,
        "variants": {"control": "a", "treatment": "b", "other": "c"},
    }
    assert [] == topic.server.documents.edit(json.dumps(document).encode())

    applied = await store.apply(command(asked[0], share=asked[1]))

    assert "failed" == applied.status
    assert reason in applied.detail
    assert {} == topic.records


async def test_applied_means_that_clients_have_it_or_get_it_at_once(
    store: FlagdStore, server: FlagdStoreServer, record_property: Callable[[str, object], None]
):
    """
    When the adapter says that a kill is applied, a connected client obeys it within half a second.
    """
    client = await connect(server.sync.port)
    took_ms = []
    for number in range(20):
        start_s = time.perf_counter()
        applied = await store.apply(command("kill" if number % 2 == 0 else "resume"))
        took_ms.append((time.perf_counter() - start_s) * 1000)
        until_s = time.monotonic() + 0.5
        while version(client) != applied.version:
            assert time.monotonic() < until_s, f"{applied.version} has not reached the client"
            await asyncio.sleep(0.001)
        assert (treated(client) == 0) == (number % 2 == 0)

    record_property("apply_median_ms", round(statistics.median(took_ms), 2))
    print(f"apply with read-back: median {statistics.median(took_ms):.2f} ms, max {max(took_ms):.2f} ms")
