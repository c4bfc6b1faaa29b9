"""
A `flagd.sync.v1` server: official flagd providers connect to it as to flagd itself.

On ``SyncFlags`` a client gets the whole document at once, then again after each change. Each stream is a task
of its own that sends the newest document when its client can take one: a slow client skips what was replaced
meanwhile and delays nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc

from streams.stores.flagd.callers import Callers
from streams.stores.flagd.documents import Documents, follow
from streams.stores.flagd.file import FlagFile
from streams.stores.flagd.proto import sync_pb2, sync_pb2_grpc

if TYPE_CHECKING:
    from streams.stores.flagd.ofrep import OfrepServer

STOP_GRACE_S = 0.5
_OPTIONS = (
    # Two servers on one port would each get some of the clients, and nobody would see it.
    ("grpc.so_reuseport", 0),
    # A client that vanished without a word is noticed within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients may ask as often as they like: the official Python provider pings every millisecond unless told
    # otherwise, and a server that hangs up on it would blind it for as long as it takes to connect again.
    ("grpc.http2.min_ping_interval_without_data_ms", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


class FlagSyncServer(sync_pb2_grpc.FlagSyncServiceServicer):
    """
    Serves *documents* on ``host:port``; port 0 takes a free one, to be read from ``port`` after ``start``.

    Without *credentials* the connection is neither encrypted nor authenticated, as flagd's own is by default.
    """

    def __init__(
        self, host: str, port: int, documents: Documents, *, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self.host, self.port = host, port
        self.connected = 0
        """How many clients are connected now."""
        self.pushes = 0
        """How many documents were sent to streams."""
        self._documents, self._credentials = documents, credentials
        self._wakes: set[asyncio.Event] = set()
        self._stopping = False
        self._server: Any = None

    async def start(self) -> None:
        """
        Open the port.

        Raises:
            OSError: it cannot be had.
        """
        self._server = grpc.aio.server(options=_OPTIONS)
        sync_pb2_grpc.add_FlagSyncServiceServicer_to_server(self, self._server)
        address = f"{self.host}:{self.port}"
        try:
            if self._credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            await self.stop()
            raise OSError(f"flag sync cannot listen on {address}: {error}") from error
        await self._server.start()

    async def stop(self) -> None:
        """End all streams and close the port, within a second. Clients keep the document that they have."""
        self._stopping = True
        for wake in self._wakes:
            wake.set()
        # Let go of here: gRPC wants its loop once more when the server is forgotten, and later that may be closed.
        server, self._server = self._server, None
        if server is not None:
            await server.stop(STOP_GRACE_S)

    async def SyncFlags(self, request: Any, context: Any) -> None:  # noqa: N802 - the protocol's name
        """Send the document, and again after each change, until either side ends it."""
        wake = asyncio.Event()
        forget: Callable[[], None] = self._documents.subscribe(wake.set)
        self._wakes.add(wake)
        self.connected += 1
        sent = -1
        try:
            while not self._stopping:
                wake.clear()
                if sent == self._documents.revision:
                    await wake.wait()
                    continue
                await self._admit(request, context)
                sent = self._documents.revision
                await context.write(sync_pb2.SyncFlagsResponse(flag_configuration=self._documents.text))
                self.pushes += 1
            # An error, not a good end: after that the official Node provider never connects again.
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops; come back")
        finally:
            self.connected -= 1
            self._wakes.discard(wake)
            forget()

    async def FetchAllFlags(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Answer with the document."""
        await self._admit(request, context)
        return sync_pb2.FetchAllFlagsResponse(flag_configuration=self._documents.text)

    async def GetMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 - the protocol's
        """
        Answer with metadata that is empty, but there.

        The call is deprecated, and still made by the Python and Java providers at each connect. An answer
        without the field ends the former's thread for good; UNIMPLEMENTED makes the latter try three times, and
        some fail.
        """
        response = sync_pb2.GetMetadataResponse()
        response.metadata.SetInParent()
        return response

    async def _admit(self, request: Any, context: Any) -> None:
        """
        Refuse a client whose selector does not name the flag set that is served.

        An error, not an empty document: with that the client would start, find no flag, and serve the
        defaults of its code without a word. Java and Rust send the selector in the body alone, others in the
        header too.
        """
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        selector = headers.get("flagd-selector") or request.selector
        served = f"flagSetId={self._documents.flag_set_id}"
        if selector and selector != served:
            said = f"; the selector for what is served here is {served!r}" if self._documents.flag_set_id else ""
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no flag set fits the selector {selector!r}{said}")


class FlagdStoreServer:
    """
    The flagd store as a process runs it: a base file that is watched, overlays, and what they make by three faces.

    Those are the sync server; with *file*, a file that is kept to what is served; with *ofrep_port*, answers to
    *callers* over OFREP on that port (0: any free one).

    Feed it the whole compacted flag-state topic through ``apply_overlay`` **before** ``start``: served
    without its overlays, a killed variation would come back to life. Until ``start`` clients keep what they
    have.

    Raises:
        OSError: the base file cannot be read.
        ValueError: the base file has problems; the text holds each of them.
    """

    def __init__(
        self,
        base_path: Path | str,
        *,
        host: str = "127.0.0.1",
        port: int = 8015,
        environment: str = "production",
        poll_s: float = 0.2,
        credentials: grpc.ServerCredentials | None = None,
        file: Path | str | None = None,
        ofrep_port: int | None = None,
        callers: Callers | None = None,
    ) -> None:
        self._path, self._poll_s = Path(base_path), poll_s
        self._raw = self._path.read_bytes()
        try:
            self.documents = Documents(self._raw, environment=environment)
        except ValueError as error:
            raise ValueError(f"{base_path}:\n{error}") from error
        self.sync = FlagSyncServer(host, port, self.documents, credentials=credentials)
        self.file = FlagFile(file, self.documents) if file else None
        self.ofrep: OfrepServer | None = None
        if ofrep_port is not None:
            # Here, as only this face evaluates flags, and what it needs for that takes a while to load.
            from streams.stores.flagd.ofrep import OfrepServer

            self.ofrep = OfrepServer(host, ofrep_port, self.documents, callers or Callers())
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def target(self) -> str:
        """Where clients connect, as ``host:port``; known once started."""
        return f"{self.sync.host}:{self.sync.port}"

    @property
    def problems(self) -> list[str]:
        """What keeps an edit, or a decision, from being served, or from the file; empty if nothing does."""
        unwritten = [self.file.problem] if self.file and self.file.problem else []
        return [*self.documents.problems, *unwritten]

    def apply_overlay(self, record: dict[str, Any]) -> bool:
        """Take one record of the flag-state topic; see `Documents.apply_overlay`."""
        return self.documents.apply_overlay(record)

    async def start(self) -> None:
        """Serve, and follow the base file. Raises OSError if a port cannot be had."""
        await self.sync.start()
        if self.ofrep is not None:
            try:
                await self.ofrep.start()
            except OSError:
                await self.sync.stop()
                raise
        following = follow(self._path, self.documents, last=self._raw, poll_s=self._poll_s)
        self._tasks.append(asyncio.create_task(following, name="flagd-base-file"))
        if self.file is not None:
            self._tasks.append(asyncio.create_task(self.file.run(), name="flagd-file"))

    async def stop(self) -> None:
        """Stop within two seconds; clients keep the document that they have."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sync.stop()
        if self.ofrep is not None:
            await self.ofrep.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
