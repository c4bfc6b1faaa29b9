"""
aiokafka on uvloop: a connection that was lost is a lost connection, and the view of the cluster is renewed all the same.

uvloop raises ``RuntimeError`` where something is written to a connection that was closed a moment ago; asyncio's own
loops say nothing, and aiokafka counts on that. It does not expect the error, so the task that keeps its view of the
cluster up to date ended by it, silently. From then on the client knew no new leader and found no coordinator: after a
broker's crash a worker read nothing any more, and waited for ever.

And aiokafka as such: a coordinator that cannot say now what is committed has not said that nothing is; and a consumer that is
stopped while a broker is away is closed to the end.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiokafka.client
import aiokafka.conn
import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    NotCoordinatorForGroupError,
    for_code,
)

log = structlog.get_logger()

OFFSET_FETCH = 9
AGAIN_S = 0.5
"""From one failure to keep the view of the cluster up to date to the next try."""


class _Connection(AIOKafkaConnection):
    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send as aiokafka does; where the connection is lost, that is the error."""
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


async def _synchronize(client: AIOKafkaClient) -> None:
    """Keep the view of the cluster up to date, whatever goes wrong at it once."""
    while True:
        try:
            await _md_synchronizer(client)
        except Exception as error:
            log.exception("cluster_view_not_renewed", reason=repr(error))
            # Whoever waits for it goes on, and asks again.
            waiting, client._md_update_fut = client._md_update_fut, None
            client._md_update_waiter = asyncio.get_running_loop().create_future()
            if waiting is not None and not waiting.done():
                waiting.set_result(False)
            await asyncio.sleep(AGAIN_S)


_md_synchronizer = AIOKafkaClient._md_synchronizer


async def _send_to_coordinator(coordinator: GroupCoordinator, request: Any) -> Any:
    """
    Send as aiokafka does; where the answer to what is committed is an error as a whole, that is the error.

    aiokafka looks for errors of single partitions alone, and takes such an answer, which holds none, for "nothing was ever
    committed": whoever began to read then, began at the beginning.
    """
    answer = await _send_req(coordinator, request)
    if getattr(answer, "API_KEY", None) == OFFSET_FETCH and (code := getattr(answer, "error_code", 0)):
        error = for_code(code)()
        if isinstance(error, NotCoordinatorForGroupError | GroupCoordinatorNotAvailableError):
            coordinator.coordinator_dead()
        raise error
    return answer


_send_req = GroupCoordinator._send_req


async def _fetch(fetcher: Fetcher, *request: Any) -> Any:
    """
    Fetch as aiokafka does; what is cancelled while it waits after an error has brought nothing, as at any other moment.

    A consumer that closes waits for the fetches that it has cancelled, and ended by such a one with all else left open.
    """
    try:
        return await _proc_fetch_request(fetcher, *request)
    except asyncio.CancelledError:
        return False


_proc_fetch_request = Fetcher._proc_fetch_request


def mend() -> None:
    """Let every client of this process that is made from now on be so."""
    aiokafka.conn.AIOKafkaConnection = _Connection
    AIOKafkaClient._md_synchronizer = _synchronize
    GroupCoordinator._send_req = _send_to_coordinator
    Fetcher._proc_fetch_request = _fetch
