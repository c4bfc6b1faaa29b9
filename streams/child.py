"""
One processor as a process of its own: ``python -m streams.child NAME [CONFIG]``, started by the supervisor.

The supervisor talks to it over two pipes. On stdin comes one line, ``go``, once Kafka has the topics (what must be
imported is imported meanwhile), with the settings that only the supervisor knows; when stdin ends, the supervisor is
gone, and the child ends too, however the supervisor died. On the file descriptor named by ``GUARDIAN_STATUS_FD`` the
child says once a second how it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from typing import Any

import structlog

from streams import telemetry, wiring
from streams.environment import STATUS_VARIABLE
from streams.settings import Settings, load_settings
from streams.status import Status

DRAIN_S = 3.0
HEARTBEAT_S = 1.0

log = structlog.get_logger()


def main(arguments: list[str]) -> int:
    """Run the processor named first until told to end; return the exit code: 0 only if it was told."""
    name, *config = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; the supervisor decides
    status = Status(name, int(os.environ[STATUS_VARIABLE]))
    status.ready(False, "starting")
    settings = load_settings(config[0] if config else None)
    telemetry.configure(name, as_json=settings.log.json_lines, level=settings.log.level)
    processor = wiring.processor(name)
    status.ready(False, "waiting for the supervisor")
    go = sys.stdin.buffer.readline()
    if not go:
        return 0
    settings = with_overrides(settings, json.loads(go))
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    return _run(_until_told(processor, settings, status))


def with_overrides(settings: Settings, overrides: dict[str, dict[str, Any]]) -> Settings:
    """Settings with some fields of some sections replaced."""
    sections = {name: getattr(settings, name).model_copy(update=fields) for name, fields in overrides.items()}
    return settings.model_copy(update=sections)


def _run(work: Any) -> int:
    try:
        import uvloop
    except ImportError:  # not to be had everywhere
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _until_told(processor: wiring.Processor, settings: Settings, status: Status) -> int:
    loop = asyncio.get_running_loop()
    working = asyncio.ensure_future(processor(settings, status))
    told = False

    def tell() -> None:
        nonlocal told
        told = True
        _leave_for_sure(0)
        working.cancel()

    loop.add_signal_handler(signal.SIGTERM, tell)
    beating = asyncio.ensure_future(_beat(status))
    await asyncio.wait({working})
    beating.cancel()
    if told:
        _leave(0)
    if not working.cancelled() and (error := working.exception()):
        log.error("processor_failed", reason=_reason(error), exc_info=error)
    _leave(1)


async def _beat(status: Status) -> None:
    # A loop that hangs says nothing: the supervisor takes a silent child for dead.
    while True:
        status.ready(status.is_ready, status.why)
        await asyncio.sleep(HEARTBEAT_S)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _end_with_supervisor() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    _leave_for_sure(1)


def _leave_for_sure(code: int) -> None:
    # Libraries' threads may hang on a broker that is away, and would keep the process for ever.
    timer = threading.Timer(DRAIN_S, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _leave(code: int) -> None:
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
