"""The sync server on the wire, spoken to without any provider in between."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from streams.stores.flagd.proto import sync_pb2, sync_pb2_grpc
from streams.stores.flagd.server import FlagdStoreServer
from tests.streams.stores.support import eventually, kill_record, sample, write


@pytest.fixture
async def stub(server: FlagdStoreServer) -> AsyncIterator[Any]:
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        yield sync_pb2_grpc.FlagSyncServiceStub(channel)


def served(response: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(response.flag_configuration)
    return document


async def test_the_stream_begins_with_the_whole_document_and_goes_on_with_each_change(
    server: FlagdStoreServer, stub: Any
):
    """
    A stream brings the document at once and again after a change; a fetch brings the same one.
    """
    stream = stub.SyncFlags(sync_pb2.SyncFlagsRequest())
    assert sample() == served(await stream.read())

    server.apply_overlay(kill_record())

    changed = await stream.read()
    assert "1+g1" == served(changed)["flags"]["checkout-v2"]["metadata"]["version"]
    assert changed.flag_configuration == (await stub.FetchAllFlags(sync_pb2.FetchAllFlagsRequest())).flag_configuration
    assert (1, 2) == (server.sync.connected, server.sync.pushes)


async def test_metadata_is_empty_but_there(stub: Any):
    """
    GetMetadata answers with the field present: without it the Python provider's thread ends for good.
    """
    response = await stub.GetMetadata(sync_pb2.GetMetadataRequest())

    assert response.HasField("metadata")
    assert {} == dict(response.metadata)


@pytest.mark.parametrize(
    ("header", "body", "admitted"),
    [
        ("flagSetId=shop", "", True),
        ("", "flagSetId=shop", True),
        ("flagSetId=shop", "flagSetId=search", True),
        ("flagSetId=search", "", False),
        ("", "flagSetId=search", False),
        ("", "source=file:flags.json", False),
    ],
)
async def test_a_selector_is_read_from_header_and_body(stub: Any, header: str, body: str, admitted: bool):
    """
    The header counts, without it the body; what names no served flag set is an error that says which is served.
    """
    metadata = (("flagd-selector", header),) if header else ()
    fetch = stub.FetchAllFlags(sync_pb2.FetchAllFlagsRequest(selector=body), metadata=metadata)
    stream = stub.SyncFlags(sync_pb2.SyncFlagsRequest(selector=body), metadata=metadata)

    if admitted:
        assert served(await fetch) == served(await stream.read())
        return
    for call in (fetch, stream.read()):
        with pytest.raises(grpc.aio.AioRpcError, match="flagSetId=shop") as refused:
            await call
        assert grpc.StatusCode.NOT_FOUND == refused.value.code()


async def test_a_slow_client_delays_nobody_and_skips_what_was_replaced(server: FlagdStoreServer, base_path: Path):
    """
    A client that does not read gets, once it does, the newest document soon; others get every push meanwhile.
    """
    big = sample()
    big["flags"] |= {f"flag-{n}": big["flags"]["checkout-v2"] for n in range(2500)}
    write(base_path, big)
    await eventually(lambda: len(server.documents.document["flags"]) > 2500)
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(server.target, options=options) as slow_channel,
        grpc.aio.insecure_channel(server.target, options=options) as fast_channel,
    ):
        slow = sync_pb2_grpc.FlagSyncServiceStub(slow_channel).SyncFlags(sync_pb2.SyncFlagsRequest())
        await eventually(lambda: server.sync.connected == 1)
        fast = sync_pb2_grpc.FlagSyncServiceStub(fast_channel).SyncFlags(sync_pb2.SyncFlagsRequest())
        await fast.read()
        for number in range(1, 21):
            server.apply_overlay(kill_record(number))
            async with asyncio.timeout(20.0):  # not while the slow one reads nothing, if it had to wait for that
                version = served(await fast.read())["flags"]["checkout-v2"]["metadata"]["version"]
            assert f"1+g{number}" == version

        read = 0
        version = ""
        while version != "1+g20":
            version = served(await slow.read())["flags"]["checkout-v2"]["metadata"].get("version", "")
            read += 1
    assert read < 15  # of 21; what the transport buffers, some megabytes, was on its way already


async def test_stopping_with_open_streams_takes_less_than_a_second(base_path: Path):
    """
    Streams end with an error when the server stops, so that its clients go and find its successor: of a good end the
    official Node provider takes no notice, and never hears of a kill again.
    """
    server = FlagdStoreServer(base_path, port=0)
    await server.start()
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = sync_pb2_grpc.FlagSyncServiceStub(channel)
        streams = [stub.SyncFlags(sync_pb2.SyncFlagsRequest()) for _ in range(20)]
        await asyncio.gather(*(stream.read() for stream in streams))

        start_s = time.monotonic()
        await server.stop()

        assert time.monotonic() - start_s < 1.0
        assert {grpc.StatusCode.UNAVAILABLE} == {await stream.code() for stream in streams}
        assert 0 == server.sync.connected


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_five_hundred_clients_get_every_kill(server: FlagdStoreServer):
    """
    Five hundred clients, each on a connection of its own, all get to the newest of 20 decisions, and none is left over.
    """
    # Channels with the same target share a connection unless they differ.
    options = [[("grpc.use_local_subchannel_pool", 1), ("number", number)] for number in range(500)]
    channels = [grpc.aio.insecure_channel(server.target, options=one) for one in options]
    streams = [sync_pb2_grpc.FlagSyncServiceStub(one).SyncFlags(sync_pb2.SyncFlagsRequest()) for one in channels]
    await asyncio.gather(*(stream.read() for stream in streams))
    assert 500 == server.sync.connected

    async def newest(stream: Any, version: str) -> float:
        while served(await stream.read())["flags"]["checkout-v2"]["metadata"]["version"] != version:
            pass
        return time.perf_counter()

    last_ms = []
    for number in range(1, 21):
        began_s = time.perf_counter()
        server.apply_overlay(kill_record(number))
        reached_s = await asyncio.gather(*(newest(stream, f"1+g{number}") for stream in streams))
        last_ms.append((max(reached_s) - began_s) * 1000)

    print(f"the last of 500 clients: median {sorted(last_ms)[10]:.0f} ms, max {max(last_ms):.0f} ms")
    assert 500 * 21 == server.sync.pushes
    await asyncio.gather(*(channel.close() for channel in channels))
    await eventually(lambda: server.sync.connected == 0)


async def test_a_taken_port_is_an_error_that_names_it(server: FlagdStoreServer, base_path: Path):
    """
    Two servers never share a port unseen.
    """
    second = FlagdStoreServer(base_path, port=server.sync.port)

    with pytest.raises(OSError, match=f"127.0.0.1:{server.sync.port}"):
        await second.start()
    await second.stop()


def test_a_server_does_not_start_on_a_bad_document(tmp_path: Path):
    """
    A base document with problems is refused at once, with the file and all of them.
    """
    path = tmp_path / "flags.json"
    write(path, {"flags": {"a": {"state": "on", "variants": {}}}})

    with pytest.raises(ValueError) as refused:
        FlagdStoreServer(path)

    assert str(path) in str(refused.value)
    assert "flags.a.state" in str(refused.value)
    assert "flags.a.variants" in str(refused.value)
