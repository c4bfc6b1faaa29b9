"""The demo's processes: each with a log of its own, all ended with the director, however that ends."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

END_S = 6.0
TAIL_LINES = 15
PR_SET_PDEATHSIG = 1


class ChildFailed(RuntimeError):
    """A process of the demo did not do what it is there for; the text holds the end of its log."""


class Child:
    """One process; what it prints as lines of JSON can be read, all else goes to its log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    async def said(self, within_s: float) -> dict[str, Any]:
        """
        Return the next line of JSON.

        Raises:
            ChildFailed: it said nothing in time, or ended.

        """
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), within_s)
        except TimeoutError:
            raise ChildFailed(f"{self.name} said nothing within {within_s:g} s{self.tail()}") from None
        if not line:
            raise ChildFailed(f"{self.name} ended{self.tail()}")
        said: dict[str, Any] = json.loads(line)
        return said

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the lines of JSON until the process ends."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            yield json.loads(line)

    async def logged(self, event: str, within_s: float) -> dict[str, Any]:
        """
        Return the first line of its log, one of JSON, that is about ``event``.

        Raises:
            ChildFailed: there was none in time, or it ended.

        """
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            for line in self.log.read_text(errors="replace").splitlines():
                if event in line and line.startswith("{") and line.endswith("}"):
                    said: dict[str, Any] = json.loads(line)
                    if said.get("event") == event:
                        return said
            if self.process.returncode is not None:
                raise ChildFailed(f"{self.name} ended with code {self.process.returncode}{self.tail()}")
            await asyncio.sleep(0.05)
        raise ChildFailed(f"{self.name} did not say {event} within {within_s:g} s{self.tail()}")

    def tail(self) -> str:
        """Return the end of its log, as text to put behind a sentence."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:] if self.log.exists() else []
        return "; the end of its log:\n  " + "\n  ".join(lines or ["(empty)"])

    def signal_group(self, number: int) -> None:
        """Send a signal to the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Children:
    """All processes of the demo; leaving the context ends them, in the order opposite to their start."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            child.signal_group(signal.SIGTERM)
            if await _ended(child, END_S):
                child.signal_group(signal.SIGKILL)  # what it started and left behind
                continue
            child.signal_group(signal.SIGKILL)
            await _ended(child, END_S)

    async def start(
        self, name: str, *arguments: str, talks: bool = False, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start ``python *arguments``; one that ``talks`` prints lines of JSON to be read."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if talks else sink,
                stderr=sink,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                # A group of its own: a terminal's Ctrl-C reaches the director alone, which ends the rest in order.
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    async def watch(self) -> None:
        """
        Wait for ever.

        Raises:
            ChildFailed: a process ended by itself.

        """
        ends = {asyncio.create_task(child.process.wait()): child for child in self._children}
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
        child = ends[done.pop()]
        raise ChildFailed(f"{child.name} ended with code {child.process.returncode}{child.tail()}")


async def _ended(child: Child, within_s: float) -> bool:
    try:
        await asyncio.wait_for(child.process.wait(), within_s)
    except TimeoutError:
        return False
    return True


def _end_with_parent() -> Callable[[], None] | None:
    """On Linux a child gets SIGTERM when the director dies without a word; elsewhere nothing does that."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
