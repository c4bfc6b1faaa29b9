"""
A Kafka broker inside this process, in memory: librdkafka's mock cluster.

For the demo, for one machine without Kafka, and for quick tests. What it does not do stands in
``docs/decisions/0004-embedded-broker.md``; above all, it keeps only the last 5 MB of each partition, it shows records of
open and aborted transactions to everybody, and it does not fence off zombies.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any, Self

from confluent_kafka import cimpl

from guardian.errors import GuardianError

PARTITIONS = 4
"""Of a topic that was not made with ``create_topic``: librdkafka's own number."""

_OPTIONS = {
    b"test.mock.num.brokers": b"1",
    b"log_level": b"4",  # without the notice, at each start, that this is a mock
}
_PRODUCER = 0  # RD_KAFKA_PRODUCER
_ERROR_BYTES = 512


class BrokerFailed(GuardianError):
    """The embedded broker cannot be started, or refused a request."""


class EmbeddedBroker:
    """
    A broker for as long as the context lasts, or until ``close``; ``bootstrap`` is its address.

    Any Kafka client of this machine can use it, from any process. Topics appear when they are first asked for, with
    ``PARTITIONS`` partitions. A consumer group's first member is let in at once.

    Raises:
        BrokerFailed: librdkafka refused.
    """

    def __init__(self) -> None:
        self._rk = _new_client()
        self._cluster = _call("rd_kafka_handle_mock_cluster", ctypes.c_void_p, ctypes.c_void_p(self._rk))
        found: bytes = _call("rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, ctypes.c_void_p(self._cluster))
        self.bootstrap: str = found.decode()
        # A real broker waits 3 s for more members of a new group; here there are none to wait for.
        _call(
            "rd_kafka_mock_group_initial_rebalance_delay_ms", None, ctypes.c_void_p(self._cluster), ctypes.c_int32(0)
        )

    def create_topic(self, name: str, partitions: int) -> None:
        """
        Make a topic with so many partitions.

        Raises:
            BrokerFailed: the topic is there already, or its name or number cannot be.
        """
        error: int = _call(
            "rd_kafka_mock_topic_create",
            ctypes.c_int,
            ctypes.c_void_p(self._cluster),
            ctypes.c_char_p(name.encode()),
            ctypes.c_int(partitions),
            ctypes.c_int(1),
        )
        if error:
            said: bytes = _call("rd_kafka_err2str", ctypes.c_char_p, ctypes.c_int(error))
            raise BrokerFailed(f"topic {name!r} with {partitions} partitions: {said.decode()}")

    def close(self) -> None:
        """End the broker; all that it held is gone. A second call does nothing."""
        if self._rk:
            _call("rd_kafka_destroy", None, ctypes.c_void_p(self._rk))
            self._rk = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _new_client() -> int | None:
    conf = _call("rd_kafka_conf_new", ctypes.c_void_p)
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    for name, value in _OPTIONS.items():
        refused = _call(
            "rd_kafka_conf_set",
            ctypes.c_int,
            ctypes.c_void_p(conf),
            ctypes.c_char_p(name),
            ctypes.c_char_p(value),
            error,
            ctypes.c_size_t(_ERROR_BYTES),
        )
        if refused:
            raise BrokerFailed(f"librdkafka: {error.value.decode()}")
    client: int | None = _call(
        "rd_kafka_new",
        ctypes.c_void_p,
        ctypes.c_int(_PRODUCER),
        ctypes.c_void_p(conf),
        error,
        ctypes.c_size_t(_ERROR_BYTES),
    )
    if not client:
        raise BrokerFailed(f"librdkafka: {error.value.decode()}")
    return client


def _call(name: str, result: Any, *arguments: Any) -> Any:
    """Call a function of the librdkafka that confluent-kafka brings along; its Python binding offers none of these."""
    function = getattr(_LIBRARY, name)
    function.restype = result
    return function(*arguments)


# A symbol is looked for in the extension module and in the libraries that it is linked with.
_LIBRARY = ctypes.CDLL(cimpl.__file__)
