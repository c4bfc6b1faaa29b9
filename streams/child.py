"""
One processor as a process of its own, started by the supervisor.

The supervisor talks to it over two pipes. On one comes a line, ``go``, once Kafka has the topics (what must be
imported is imported meanwhile), with the settings that only the supervisor knows; when that pipe ends, the supervisor
is gone, and the child ends too, however the supervisor died. On the other the child says once a second how it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from streams.loops import new_loop
from streams.status import Status

DRAIN_S = 3.0
HEARTBEAT_S = 1.0
NAME_IN_PS = Path("/proc/self/comm")

log = structlog.get_logger()


def live(name: str, config: str | None, said: Connection, told: Connection) -> None:
    """Run processor *name* until told to end; the exit code is 0 only if it was told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; the supervisor decides
    with contextlib.suppress(OSError):
        NAME_IN_PS.write_text(f"guardian-{name}")
    status = Status(name, said.fileno())
    status.ready(False, "importing")

    from streams import telemetry, wiring
    from streams.settings import load_settings

    settings = load_settings(config)
    telemetry.configure(name, as_json=settings.log.json_lines, level=settings.log.level)
    processor = wiring.processor(name)
    status.ready(False, "waiting for the supervisor")
    overrides = _wait_for_go(told.fileno())
    threading.Thread(target=_end_with_supervisor, args=(told.fileno(),), daemon=True).start()
    _run(_until_told(processor(with_overrides(settings, overrides), status), status))


def with_overrides(settings: Any, overrides: dict[str, dict[str, Any]]) -> Any:
    """Settings with some fields of some sections replaced."""
    sections = {name: getattr(settings, name).model_copy(update=fields) for name, fields in overrides.items()}
    return settings.model_copy(update=sections)


def _wait_for_go(told: int) -> dict[str, dict[str, Any]]:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(told, 65_536)
        if not more:
            _leave(1)
        line += more
    overrides: dict[str, dict[str, Any]] = json.loads(line)
    return overrides


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(work)


async def _until_told(work: Coroutine[Any, Any, None], status: Status) -> None:
    """Run *work*, and leave the process when it ends, without waiting for threads of libraries."""
    working = asyncio.ensure_future(work)
    ending = False

    def end() -> None:
        nonlocal ending
        ending = True
        _leave_for_sure(0)
        working.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    beating = asyncio.ensure_future(_beat(status))
    await asyncio.wait({working})
    beating.cancel()
    if ending:
        _leave(0)
    if not working.cancelled() and (error := working.exception()):
        log.error("processor_failed", reason=_reason(error), exc_info=error)
    _leave(1)


async def _beat(status: Status) -> None:
    # A loop that hangs says nothing: the supervisor takes a silent child for dead.
    while True:
        status.ready(status.is_ready, status.why, tasks=len(asyncio.all_tasks()))
        await asyncio.sleep(HEARTBEAT_S)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _end_with_supervisor(told: int) -> None:
    while os.read(told, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    _leave_for_sure(1)


def _leave_for_sure(code: int) -> None:
    # Libraries' threads may hang on a broker that is away, and would keep the process for ever.
    timer = threading.Timer(DRAIN_S, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _leave(code: int) -> None:
    os._exit(code)
