"""A way to a server on which things go wrong: bytes that come late, or never, and connections that end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Literal, Self

from demo.ports import free_ports

Fault = Literal["none", "slow", "hole", "reset", "refuse"]
CHUNK = 65_536
SLOW_S = 0.3
_RESET_AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing sends a reset, and what was not sent yet is lost."""


class Proxy:
    """
    Passes what comes to its *port* on to *target*, and back, in a thread of its own.

    ``fault`` is what goes wrong from now on: ``slow`` holds every piece for 0.3 s, a ``hole`` swallows everything on open and new
    connections and says nothing (as when a packet filter drops it), ``reset`` ends all connections and lets none live, ``refuse``
    does the same and takes no new ones.
    """

    def __init__(self, target: int, port: int | None = None) -> None:
        self.port = port if port is not None else free_ports(1)[0]
        self._target = target
        self._fault: Fault = "none"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, fault: Fault) -> None:
        """Let this go wrong from now on; ``none`` heals. What a hole has swallowed is gone with its connections."""
        self._call(self._set(fault))

    def _call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._end_all()

    async def _set(self, fault: Fault) -> None:
        before, self._fault = self._fault, fault
        if fault == "refuse":
            await self._close()
        elif self._server is None:
            await self._listen()
        if fault in ("reset", "refuse") or before == "hole":
            self._end_all()

    def _end_all(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault == "reset":
            _reset(writer)
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        pair = {writer, back}
        self._open |= pair
        try:
            await asyncio.wait(
                {asyncio.ensure_future(self._pump(reader, back)), asyncio.ensure_future(self._pump(there, writer))},
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._open -= pair
            for one in pair:
                _reset(one)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(CHUNK):
                if self._fault == "slow":
                    await asyncio.sleep(SLOW_S)
                if self._fault == "hole":
                    continue
                sink.write(piece)
                await sink.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
    writer.close()
