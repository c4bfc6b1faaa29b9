"""What `act` uses to stop variations in flagd clients: publish a decision, see it served, say so."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc

from guardian.flagdoc import COMMAND, Document, Overlay, inlined, overlay_version
from guardian.names import rollout_key
from guardian.ports import Applied, FlagCommand, FlagState, StoreCapabilities, StoreUnavailable, UnknownFlag
from streams.stores.base import holds, other_environment, plan, read_state
from streams.stores.flagd.proto import sync_pb2, sync_pb2_grpc

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)
_RECORD_POLL_S = 0.01


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class FlagdStore:
    """
    The flag store of one environment, behind a flagd-sync server at *sync_target* (``host:port``).

    *publish_overlay* writes a record to the compacted flag-state topic, from which the server takes it;
    *read_overlay* gives the newest record known for a key (``environment|flag_key``). It must know the whole
    topic before the first command: a record that is planned without the one before it would take back what that
    one decided. Commands to one flag run one after the other.
    """

    capabilities = StoreCapabilities(
        can_kill_variation=True,
        can_set_share=True,
        needs_full_document=True,
        has_compare_and_set=False,
        requires_approval=False,
        typical_propagation_ms=10.0,
    )

    def __init__(
        self,
        publish_overlay: Callable[[dict[str, Any]], Awaitable[None]],
        read_overlay: Callable[[str], dict[str, Any] | None],
        sync_target: str,
        *,
        environment: str = "production",
        deadline_s: float = 2.0,
        credentials: grpc.ChannelCredentials | None = None,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        self.environment, self.sync_target, self.deadline_s = environment, sync_target, deadline_s
        self._publish_overlay, self._read_overlay, self._now_ms = publish_overlay, read_overlay, now_ms
        self._credentials = credentials
        self._channel: Any = None
        self._newest: dict[str, Overlay] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, environment: str, flag_key: str) -> FlagState:
        """See `guardian.ports.FlagStore.read`: what the server serves now."""
        if environment != self.environment:
            raise UnknownFlag(other_environment(self.environment, environment))
        async with self._bounded("nothing was sent"):
            request = sync_pb2.FetchAllFlagsRequest()
            response = await self._stub().FetchAllFlags(request, wait_for_ready=True)
        document = json.loads(response.flag_configuration)
        return read_state(document, environment, flag_key, self._known(rollout_key(environment, flag_key)))

    async def apply(self, command: FlagCommand) -> Applied:
        """See `guardian.ports.FlagStore.apply`; ``applied`` means that the server was seen to serve it."""
        if command.environment != self.environment:
            return Applied("failed", "", other_environment(self.environment, command.environment), None)
        async with self._locks[rollout_key(command.environment, command.flag_key)]:
            return await self._apply(command)

    async def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _apply(self, command: FlagCommand) -> Applied:
        key = rollout_key(command.environment, command.flag_key)
        wanted: Overlay | None = None
        loop = asyncio.get_running_loop()
        until = loop.time() + self.deadline_s
        async with self._documents() as documents:
            async with self._bounded("nothing was sent", until):
                document = await anext(documents)
                known = await self._known_as_served(key, document, command.flag_key)
                planned = plan(document, known, command, self._now_ms())
            if isinstance(planned, Applied):
                return planned
            async with self._bounded("unknown outcome; read back before sending again", until):
                await self._publish_overlay(dict(planned))
                async for document in documents:
                    answer = self._answer(document, planned, command)
                    if answer is not None:
                        break
        return answer
