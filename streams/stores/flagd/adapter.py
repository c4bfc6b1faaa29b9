"""What `act` uses to stop variations in flagd clients: publish a decision, see it served, say so."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import grpc

from guardian.flagdoc import COMMAND, Document, Overlay, inlined, overlay_version
from guardian.names import rollout_key
from guardian.ports import Applied, FlagCommand, FlagState, StoreCapabilities, StoreUnavailable, UnknownFlag
from streams.clock import now_ms
from streams.stores.base import done, holds, other_environment, plan, read_state, unknown
from streams.stores.flagd.proto import sync_pb2, sync_pb2_grpc

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)
_RECORD_POLL_S = 0.01
_RECONNECT_S = 0.05


class FlagdStore:
    """
    The flag store of one environment, behind a flagd-sync server at *sync_target* (``host:port``).

    *publish_overlay* writes a record to the compacted flag-state topic, from which the server takes it;
    *read_overlay* gives the newest record known for a key (``environment|flag_key``), of two with one version the
    first. It must know the whole topic before the first command: a record planned without the one before it
    would take back what that one decided. Commands to one flag run one after the other, each for *deadline_s*
    at most.
    """

    capabilities = StoreCapabilities(
        can_kill_variation=True,
        can_set_share=True,
        can_target_rings=True,
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
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.environment, self.sync_target, self.deadline_s = environment, sync_target, deadline_s
        self._publish_overlay, self._read_overlay, self._now_ms = publish_overlay, read_overlay, now_ms
        self._credentials = credentials
        self._channel: Any = None
        self._applied: dict[str, Overlay] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, environment: str, flag_key: str) -> FlagState:
        """See `guardian.ports.FlagStore.read`: what the server serves now."""
        if environment != self.environment:
            raise UnknownFlag(other_environment(self.environment, environment))
        async with self._bounded(["the flag document could not be read"]):
            document = await self._fetch()
        return read_state(document, environment, flag_key, self._known(rollout_key(environment, flag_key)))

    async def apply(self, command: FlagCommand) -> Applied:
        """See `guardian.ports.FlagStore.apply`; ``applied`` means that the server was seen to serve it."""
        if command.environment != self.environment:
            return unknown(command, other_environment(self.environment, command.environment))
        key = rollout_key(command.environment, command.flag_key)
        reached = ["the flag document could not be read; nothing was sent"]
        async with self._locks[key], self._bounded(reached):
            document = await self._fetch()
            reached.append("the record known here is older than what is served; nothing was sent")
            known = await self._caught_up(key, document["flags"].get(command.flag_key))
            planned = plan(document, known, command, self._now_ms())
            if isinstance(planned, Applied):
                return planned
            reached.append("unknown outcome; read back before sending again")
            await self._publish(planned)
            answer = await self._served(key, planned, command)
            if answer.status == "applied":
                self._applied[key] = planned
                if nothing := done(known, planned, command):
                    return replace(answer, status=nothing[0], detail=nothing[1])
            elif answer.status == "conflict":
                await self._restore(key, planned)
            return answer

    async def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _publish(self, overlay: Overlay) -> None:
        try:
            await self._publish_overlay(dict(overlay))
        except Exception as error:  # whatever the publisher raises, the record may or may not have been written
            raise StoreUnavailable(
                f"publishing the decision failed ({error!r}): unknown outcome; read back before sending again"
            ) from error

    async def _restore(self, key: str, refused: Overlay) -> None:
        """
        Write the record that is in force once more, after one that came too late.

        The server ignores the late one, but compaction keeps the last of a key: after a restart it would count.
        """
        in_force = self._read_overlay(key)
        if in_force and in_force["version"] >= refused["version"] and in_force != refused:
            await self._publish(cast("Overlay", in_force))

    async def _caught_up(self, key: str, flag: dict[str, Any] | None) -> Overlay | None:
        """The newest record of a flag, waiting until it is no older than the one that is served."""
        while True:
            known = self._known(key)
            if flag is None or overlay_version(flag) <= (known["version"] if known else 0):
                return known
            await asyncio.sleep(_RECORD_POLL_S)

    async def _served(self, key: str, planned: Overlay, command: FlagCommand) -> Applied:
        """Wait until the server serves *planned* or something newer, through restarts of the server."""
        while True:
            try:
                async with aclosing(self._stream()) as documents:
                    async for document in documents:
                        answer = self._answer(document, key, planned, command)
                        if answer is not None:
                            return answer
            except grpc.aio.AioRpcError:
                pass  # the deadline around this says when it is enough
            await asyncio.sleep(_RECONNECT_S)

    def _answer(self, document: Document, key: str, planned: Overlay, command: FlagCommand) -> Applied | None:
        flag = document["flags"].get(command.flag_key)
        if flag is None:
            return Applied("conflict", "", "a person took the flag out of the document meanwhile", None)
        version = overlay_version(flag)
        if version < planned["version"]:
            return None
        in_force, last_command = planned, flag["metadata"].get(COMMAND)
        if last_command != command.command_id:
            in_force = self._known(key) or planned
        is_ours = in_force.get("command_id") == last_command and (
            command.command_id in in_force.get("recent_command_ids", ())
        )
        state = read_state(document, command.environment, command.flag_key, in_force)
        evaluators = document.get("$evaluators")
        if is_ours and holds(inlined(flag, evaluators), command, in_force, evaluators):
            return Applied("applied", state.version, f"served as version {state.version}", state)
        detail = f"another change came first; served is version {state.version}"
        return Applied("conflict", state.version, detail, state)

    def _known(self, key: str) -> Overlay | None:
        records = [record for record in (self._read_overlay(key), self._applied.get(key)) if record]
        return cast("Overlay", max(records, key=lambda record: record["version"])) if records else None

    async def _fetch(self) -> Document:
        request = sync_pb2.FetchAllFlagsRequest(provider_id="guardian")
        response = await self._stub().FetchAllFlags(request, wait_for_ready=True)
        return cast("Document", json.loads(response.flag_configuration))

    async def _stream(self) -> AsyncGenerator[Document, None]:
        call = self._stub().SyncFlags(sync_pb2.SyncFlagsRequest(provider_id="guardian"), wait_for_ready=True)
        try:
            async for response in call:
                yield json.loads(response.flag_configuration)
        finally:
            call.cancel()

    def _stub(self) -> Any:
        if self._channel is None:
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(self.sync_target, options=_OPTIONS)
            else:
                self._channel = grpc.aio.secure_channel(self.sync_target, self._credentials, options=_OPTIONS)
        return sync_pb2_grpc.FlagSyncServiceStub(self._channel)

    @asynccontextmanager
    async def _bounded(self, reached: list[str]) -> AsyncIterator[None]:
        """Turn a passed deadline or a gRPC error into StoreUnavailable, saying how far things had got."""
        try:
            async with asyncio.timeout(self.deadline_s):
                yield
        except TimeoutError as error:
            why = f"flag sync at {self.sync_target}: {self.deadline_s:g} s have passed"
            raise StoreUnavailable(f"{why}: {reached[-1]}") from error
        except grpc.aio.AioRpcError as error:
            why = f"flag sync at {self.sync_target}: {error.code().name} {error.details()}"
            raise StoreUnavailable(f"{why}: {reached[-1]}") from error
