"""The embedded broker in a process of its own, for as long as a context lasts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from streams.broker.embedded import BrokerFailed

READY_S = 10.0
END_S = 3.0


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """An embedded broker that runs: its address, and an event that is set should it end by itself."""

    bootstrap: str
    pid: int
    ended: asyncio.Event


@contextlib.asynccontextmanager
async def embedded_broker(topics: Mapping[str, int] | None = None) -> AsyncIterator[RunningBroker]:
    """
    Start the embedded broker with *topics* (name to partitions), and end it with the context.

    It ends with this process, too, however that dies.

    Raises:
        BrokerFailed: it does not start, or not within ``READY_S``.
    """
    arguments = [f"--topic={name}:{partitions}" for name, partitions in (topics or {}).items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "streams.broker",
        "--end-with-stdin",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A terminal's Ctrl-C reaches the whole process group; the broker outlives those who still drain to it.
        start_new_session=True,
    )
    ended = asyncio.Event()
    try:
        running = RunningBroker(await _address(process), process.pid, ended)
        watching = asyncio.ensure_future(_watch(process, ended))
        try:
            yield running
        finally:
            watching.cancel()
            await asyncio.wait({watching})
    finally:
        await _end(process)


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_S)
    except TimeoutError:
        raise BrokerFailed(f"the embedded broker did not start within {READY_S:g} s") from None
    if not line:
        raise BrokerFailed(f"the embedded broker ended at its start, with code {await process.wait()}")
    address: str = json.loads(line)["bootstrap"]
    return address


async def _watch(process: asyncio.subprocess.Process, ended: asyncio.Event) -> None:
    await process.wait()
    ended.set()


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), END_S)
    except TimeoutError:
        process.kill()
        await process.wait()
