"""A client of Kafka outlives the connections that it loses, at whatever moment it loses them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from streams import reconnecting
from streams.loops import new_loop


@pytest.fixture
def mended(monkeypatch):
    """What a process does that runs on uvloop, and taken back afterwards."""
    pytest.importorskip("uvloop")
    monkeypatch.setattr("aiokafka.conn.AIOKafkaConnection", AIOKafkaConnection)
    monkeypatch.setattr(AIOKafkaClient, "_md_synchronizer", AIOKafkaClient._md_synchronizer)
    monkeypatch.setattr(GroupCoordinator, "_send_req", GroupCoordinator._send_req)
    reconnecting.mend()


def on_uvloop(work: Any) -> Any:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(asyncio.wait_for(work, 20.0))


async def just_lost(kind: type[AIOKafkaConnection]) -> AIOKafkaConnection:
    """A connection whose transport was closed a moment ago; nobody has noticed yet."""
    server = await asyncio.start_server(lambda _, writer: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    connection = kind(host, port)
    reader = asyncio.StreamReader()
    protocol: Any = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, host, port)
    connection._closed_fut = asyncio.get_running_loop().create_future()
    connection._reader, connection._writer = reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    connection._read_task = asyncio.ensure_future(asyncio.sleep(3600))
    transport.abort()
    await connection._writer.wait_closed()
    server.close()
    return connection


def test_a_request_over_a_connection_that_was_just_lost_fails_as_over_any_lost_one(mended):
    """Its error is one that aiokafka expects, where uvloop raises another one; so is that of the next request."""

    async def ask() -> list[str]:
        lost, as_it_was = await just_lost(reconnecting._Connection), await just_lost(AIOKafkaConnection)
        with pytest.raises(RuntimeError, match="closed"):  # why all this is there
            await as_it_was.send(ApiVersionRequest())
        said = []
        for _ in range(2):
            with pytest.raises(KafkaConnectionError) as error:
                await lost.send(ApiVersionRequest())
            said.append(str(error.value))
        return said

    first, second = on_uvloop(ask())
    assert "broken" in first and "No connection" in second


def test_the_view_of_the_cluster_is_renewed_after_any_failure(mended, monkeypatch):
    """An error that nobody expected while the view is renewed leaves nobody waiting, and the next renewal is made."""
    monkeypatch.setattr(reconnecting, "AGAIN_S", 0.01)
    fails = [RuntimeError("the handler is closed"), ValueError("anything")]

    async def update(client: AIOKafkaClient, *_: object) -> bool:
        if fails:
            raise fails.pop(0)
        return True

    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", update)

    async def renew() -> list[bool]:
        client = AIOKafkaClient(bootstrap_servers="127.0.0.1:9")
        task = asyncio.ensure_future(client._md_synchronizer())
        try:
            return [await client.force_metadata_update() for _ in range(3)]
        finally:
            task.cancel()

    assert [False, False, True] == on_uvloop(renew())


async def test_an_answer_that_is_an_error_does_not_say_that_nothing_is_committed(mended, monkeypatch):
    """
    A coordinator that has just moved answers with an error as a whole: it is asked again, and another one if it says so,
    until it tells what is committed.
    """
    at, moved = TopicPartition("journal", 0), []
    whole = [OffsetFetchResponse_v3(0, [], code) for code in (14, 16, 15)]
    answers = [*whole, OffsetFetchResponse_v3(0, [("journal", [(0, 42, "note", 0)])], 0)]

    class Client:
        async def send(self, *_: Any, **__: Any) -> Any:
            return answers.pop(0)

    coordinator: Any = GroupCoordinator.__new__(GroupCoordinator)
    coordinator.group_id, coordinator.coordinator_id, coordinator._retry_backoff_ms = "observe", 1, 1
    coordinator._client = Client()

    async def known() -> None:
        coordinator.coordinator_id = 1

    monkeypatch.setattr(coordinator, "ensure_coordinator_known", known, raising=False)
    monkeypatch.setattr(coordinator, "coordinator_dead", lambda: moved.append(1), raising=False)

    assert {at: (42, "note")} == await coordinator.fetch_committed_offsets([at])
    assert 2 == len(moved)
