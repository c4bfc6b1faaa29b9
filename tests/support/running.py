"""``guardian run`` as a process, asked over HTTP how it is."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from tests.support.movers import until


class Guardian:
    """``guardian run`` with *settings*, as a process; its health is asked over HTTP."""

    def __init__(self, directory: Path, *arguments: str, settings: dict[str, Any] | None = None) -> None:
        config = directory / "guardian.yaml"
        content = {"health": {"port": 0}, "policies": ["config/policies"], **(settings or {})}
        config.write_text(yaml.safe_dump(content))
        self.said = directory / "said"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.apps.cli", "run", "--config", str(config), *arguments],
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    async def get(self, path: str) -> tuple[int, str]:
        address = await until(self._address, within_s=40, what="it says where its health is served")
        async with aiohttp.ClientSession() as session, session.get(f"{address}{path}") as response:
            return response.status, await response.text()

    async def readyz(self) -> tuple[int, dict[str, Any]]:
        status, text = await self.get("/readyz")
        return status, json.loads(text)

    async def until(self, condition: Callable[[int, dict[str, Any]], Any], what: str, within_s: float = 40) -> Any:
        """What *condition* makes of ``/readyz`` once that is true."""
        deadline_s = time.monotonic() + within_s
        while not (found := condition(*(await self.readyz()))):
            assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}\n{self.said.read_text()}"
            await asyncio.sleep(0.1)
        return found

    def _address(self) -> str:
        assert self.process.poll() is None, self.said.read_text()
        found = re.search(r"address=(http://\S+)/readyz", self.said.read_text())
        return found[1] if found else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
