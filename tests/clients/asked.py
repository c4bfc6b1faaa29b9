"""A client as a process: it reads a line of JSON, answers with one, and ends with its standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.clients.installed import NODE_NEWEST, NODE_PINNED, PYTHON_PINNED, java_command, node_modules, python_of

HERE = Path(__file__).parent
ANSWER_S = 40.0
"""Longer than any client waits for a version, so that it is the client that says so."""

KINDS = {
    "python 0.3.0": lambda: [str(python_of(PYTHON_PINNED)), str(HERE / "client.py"), "flagd"],
    "python 0.6.1": lambda: [sys.executable, str(HERE / "client.py"), "flagd"],
    "node 0.13.4": lambda: ["node", str(HERE / "client.cjs"), str(node_modules(NODE_PINNED)), "flagd"],
    "node 0.16.1": lambda: ["node", str(HERE / "client.cjs"), str(node_modules(NODE_NEWEST)), "flagd"],
    "java 0.11.15": lambda: [*java_command(), "flagd"],
    "ofrep python": lambda: [sys.executable, str(HERE / "client.py"), "ofrep"],
    "ofrep node": lambda: ["node", str(HERE / "client.cjs"), str(node_modules(NODE_PINNED)), "ofrep"],
    "ofrep web": lambda: ["node", str(HERE / "client.cjs"), str(node_modules(NODE_PINNED)), "web"],
}
"""How each client is started, but for the port."""


class Asked:
    """One client; ``kind`` is a name of ``KINDS``."""

    def __init__(self, kind: str, process: asyncio.subprocess.Process, said: Path) -> None:
        self.kind, self._process, self._said = kind, process, said

    async def treated(self, users: int, flag: str = "checkout-v2") -> set[int]:
        """Which of the users ``user-0`` and on get the treatment."""
        return set(await self._ask({"do": "treated", "users": users, "flag": flag}))

    async def sees(self, version: str, flag: str = "checkout-v2") -> float:
        """Wait until the flag's evaluation tells this version; the time when it first did, in seconds since the epoch."""
        seen_ms: float = await self._ask({"do": "see", "version": version, "flag": flag})
        return seen_ms / 1000

    async def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        await self._process.stdin.drain()
        return await self.answer()

    async def answer(self) -> Any:
        """The next line that it says, as it is meant; an error that it tells is raised."""
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            line = await self._process.stdout.readline()
        assert line, f"{self.kind} has ended: {self._said.read_text()[-2000:]}"
        said = json.loads(line)
        assert "error" not in said, f"{self.kind}: {said['error']}"
        return said["answer"]


@asynccontextmanager
async def asked(kind: str, port: int, said: Path) -> AsyncIterator[Asked]:
    """A client of this kind, ready, on our server at *port*; what it logs goes into the file *said*."""
    command = await asyncio.to_thread(KINDS[kind])
    with said.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, str(port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            limit=1 << 20,
        )  # fmt: skip
    client = Asked(kind, process, said)
    try:
        assert "ready" == await client.answer()
        yield client
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5.0):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
