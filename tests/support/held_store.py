"""A way to the flag store on which its answers can be held back: gRPC in, gRPC out, nothing made up in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc

from guardian.flagdoc import overlay_version
from streams.stores.flagd.proto import sync_pb2_grpc

ANSWER_S = 5.0


class HeldStore(sync_pb2_grpc.FlagSyncServiceServicer):
    """
    Passes calls on to the store on *store_port* and its answers back.

    After ``hold`` an answer in which the guardian has changed the flag stays here until ``release``; ``holding`` is
    set once there is one: by then the store serves what was asked of it. After ``hold`` with *changed* false it is an
    answer in which it has not: who gets it has sent nothing yet.
    """

    def __init__(self, store_port: int) -> None:
        self.holding = threading.Event()
        self._released = threading.Event()
        self._flag, self._changed = "", True
        self._channel = grpc.insecure_channel(f"127.0.0.1:{store_port}", options=[("grpc.max_reconnect_backoff_ms", 200)])
        self._store = sync_pb2_grpc.FlagSyncServiceStub(self._channel)
        self._server = grpc.server(ThreadPoolExecutor(16))
        sync_pb2_grpc.add_FlagSyncServiceServicer_to_server(self, self._server)
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")

    def hold(self, flag: str, *, changed: bool = True) -> None:
        self.holding.clear()
        self._released.clear()
        self._flag, self._changed = flag, changed

    def release(self) -> None:
        self._flag = ""
        self._released.set()

    def FetchAllFlags(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        answer = self._store.FetchAllFlags(request, wait_for_ready=True, timeout=ANSWER_S)
        self._pass(answer, context)
        return answer

    def SyncFlags(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802 - the protocol's name
        call = self._store.SyncFlags(request, wait_for_ready=True)
        context.add_callback(call.cancel)
        try:
            for answer in call:
                self._pass(answer, context)
                yield answer
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def _pass(self, answer: Any, context: Any) -> None:
        flag = self._flag
        if not flag or bool(overlay_version(json.loads(answer.flag_configuration)["flags"][flag])) != self._changed:
            return
        self.holding.set()
        while context.is_active() and not self._released.wait(0.05):
            pass

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._channel.close()
        self._server.stop(0.2).wait()
