"""A broker in the process, a proxy that can be cut, and a reader: what the tests of this folder stand on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer


class Broker:
    """librdkafka's mock cluster: the real protocol on a real port, in memory."""

    def __init__(self) -> None:
        self._owner = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(self._owner.list_topics(timeout=5).brokers.values()))
        self.host, self.port = broker.host, broker.port

    @property
    def bootstrap(self) -> str:
        return f"{self.host}:{self.port}"


async def read(bootstrap: str, topic: str, number: int, within_s: float = 10) -> list[Any]:
    """Return ``number`` records of a topic (fewer when they don't come), in order within each partition."""
    return await read_until(bootstrap, topic, lambda records: len(records) >= number, within_s)


async def read_until(
    bootstrap: str, topic: str, enough: Callable[[list[Any]], bool], within_s: float = 10
) -> list[Any]:
    """Return a topic's records from the first on, as soon as they are ``enough``; after ``within_s`` what there is."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        await consumer.topics()
        partitions = await _eventually(lambda: _partitions(consumer, topic), within_s)
        consumer.assign([TopicPartition(topic, partition) for partition in partitions])
        await consumer.seek_to_beginning()
        records: list[Any] = []
        until_s = time.monotonic() + within_s
        while not enough(records) and time.monotonic() < until_s:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records.extend(batch)
        return records
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()
    consumer._client.add_topic(topic)
    return consumer.partitions_for_topic(topic) or set()


async def _eventually(look: Callable[[], Awaitable[Any]], within_s: float) -> Any:
    until_s = time.monotonic() + within_s
    while not (seen := await look()):
        if time.monotonic() > until_s:
            raise TimeoutError(f"not within {within_s} s")
        await asyncio.sleep(0.02)
    return seen


async def eventually(holds: Callable[[], Any], within_s: float = 10) -> Any:
    """Wait until ``holds()`` is true; ``TimeoutError`` when it does not come."""

    async def look() -> Any:
        return holds()

    return await _eventually(look, within_s)


def data_of(record: Any) -> dict[str, Any]:
    """Return the ``data`` of a CloudEvent record."""
    data: dict[str, Any] = json.loads(record.value)["data"]
    return data


class Proxy:
    """
    A way to the broker that can be cut and mended.

    The broker tells its clients its own address; in its answers the proxy puts
    its own port in place of the broker's, so that all traffic comes this way.
    A topic named in ``hidden`` is one that the broker does not know.
    """

    def __init__(self, broker: Broker, hidden: bytes = b"") -> None:
        self.broker = broker
        self.hidden = hidden
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections, reset those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self.broker.host, self.broker.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        ways = (_pump(reader, back, lambda raw: raw), _pump(there, writer, self._answer))
        await asyncio.gather(*ways)
        self._writers -= {writer, back}

    def _answer(self, raw: bytes) -> bytes:
        raw = raw.replace(self._address(self.broker.port), self._address(self.port))
        return raw.replace(self.hidden, self.hidden.swapcase()) if self.hidden else raw

    @staticmethod
    def _address(port: int) -> bytes:
        return b"127.0.0.1" + port.to_bytes(4, "big")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]) -> None:
    with contextlib.suppress(OSError):
        while raw := await reader.read(65_536):
            writer.write(change(raw))
            await writer.drain()
    writer.close()


async def proxied(broker: Broker) -> AsyncIterator[Proxy]:
    proxy = Proxy(broker)
    await proxy.open()
    yield proxy
    await proxy.cut()
