"""A real Alertmanager of a test's own, which tells a webhook of the test what it would tell people."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from demo.ports import free_ports
from tests.kafka.server import dies_with
from tests.support.alerts.api import FakeApi, serving
from tests.support.alerts.installed import alertmanager
from tests.support.started import end_process

READY_S = 30.0
_CONFIG = """
route: {{receiver: people, group_by: [alertname, flag_key, variant, environment], group_wait: 50ms, group_interval: 200ms,
  repeat_interval: 1h}}
receivers:
  - name: people
    webhook_configs: [{{url: "{url}/people", send_resolved: true}}]
"""


@dataclass
class People(FakeApi):
    """What Alertmanager tells people."""

    told: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request, body: bytes) -> web.Response:  # noqa: ARG002
        self.told.append(json.loads(body))
        return web.Response()

    @property
    def states(self) -> list[str]:
        return [one["status"] for one in self.told]


@dataclass
class RealAlertmanager:
    """The process, asked as its own page asks it."""

    workdir: Path
    people: People
    session: aiohttp.ClientSession
    url: str = field(default_factory=lambda: f"http://127.0.0.1:{free_ports(1)[0]}")
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, again on the same port with the same data; return once it is ready."""
        process = self._launch()
        async with asyncio.timeout(READY_S):
            while not await self._is_ready():
                assert process.poll() is None, self._log.read_text()[-2_000:]
                await asyncio.sleep(0.02)

    @property
    def _log(self) -> Path:
        return self.workdir / "alertmanager.log"

    def _launch(self) -> subprocess.Popen[bytes]:
        config = self.workdir / "alertmanager.yaml"
        config.write_text(_CONFIG.format(url=self.people.url))
        command = [
            alertmanager(), f"--config.file={config}", f"--storage.path={self.workdir / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}", "--cluster.listen-address=",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*dies_with(os.getpid()), *command], stdout=log, stderr=log)
        return self.process

    def stop(self) -> None:
        if self.process is not None:
            end_process(self.process)
            self.process = None

    async def alerts(self, **query: str) -> list[dict[str, Any]]:
        async with self.session.get(f"{self.url}/api/v2/alerts", params=query) as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found

    async def silence(self, **matching: str) -> None:
        """As a person on call does, for an hour."""
        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": name, "value": value, "isRegex": False} for name, value in matching.items()],
            "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(), "createdBy": "ada", "comment": "known",
        }  # fmt: skip
        async with self.session.post(f"{self.url}/api/v2/silences", json=silence) as answer:
            assert answer.status == 200, await answer.text()

    async def _is_ready(self) -> bool:
        try:
            async with self.session.get(f"{self.url}/-/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def real_alertmanager(workdir: Path, session: aiohttp.ClientSession) -> AsyncIterator[RealAlertmanager]:
    """Run one until the test ends."""
    people = People()
    async with serving(people):
        real = RealAlertmanager(workdir, people, session)
        try:
            await real.start()
            yield real
        finally:
            real.stop()
